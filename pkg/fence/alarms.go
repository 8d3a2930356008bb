package fence

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// lookFor collects the inputs for the alarms of a site. newest is its generation, have
// what the kernel holds. What cannot be read is treated as not known.
func lookFor(ctx context.Context, f *session, kernel backend.Kernel, s *site.Site, newest *journal.Entry, have *ruleset.State) site.Look {
	l := site.Look{
		Now: f.Now(), Words: f.Words, Place: kernel.Describe().Place, Table: have,
		Generation: newest.Number, Made: newest.Time, File: policyFile(f.PolicyFile), Earlier: f.records().notices(),
		Proxied: f.proxied,
	}
	if f.Folder != nil {
		l.Folder, l.Unwritable = f.StateDir, f.Folder(f.StateDir).Unwritable()
	}
	if accepted, err := f.siteOf(newest, s.Memory); err == nil {
		l.Accepted = accepted
	}
	if have != nil && have.Exists {
		var err error
		if l.Counters, err = kernel.Counters(ctx); err != nil {
			f.Log.Info("read counters", "error", err)
		}
		stale, err := kernel.Stale(ctx)
		if err != nil {
			f.Log.Info("read which phones fail to log in", "error", err)
		}
		for _, p := range stale {
			l.Stale = append(l.Stale, netip.AddrPortFrom(p.Address, p.Port))
		}
		l.Counts = f.records().counts()
		l.Before = f.Classifier.Before(have.Classifier.Interfaces())
	}
	return l
}

// records are what earlier runs have found, so that a user hears what is new.
type records struct{ *session }

func (f *session) records() records { return records{f} }

// counts returns what an earlier run has found in the counters that must not grow.
func (f records) counts() site.Counts {
	var counts site.Counts
	if err := journal.Read(f.Journal, journal.CountsFile, &counts); err != nil {
		f.Log.Info("read earlier counts", "error", err)
		return nil
	}
	return counts
}

// keepCounts stores what a look has found in the counters that must not grow, and returns
// it. The lock is held.
func (f records) keepCounts(l site.Look) site.Counts {
	next := l.Counts.Next(l.Counters, l.Now.Time)
	if len(l.Counts) == 0 && len(next) == 0 || maps.Equal(l.Counts, next) {
		return next
	}
	if err := journal.Write(f.Journal, journal.CountsFile, next); err != nil {
		f.Log.Info("save the counts", "error", err)
	}
	return next
}

// policyFile reads the policy file. It returns nil if none is known.
func policyFile(path string) *site.File {
	if path == "" {
		return nil
	}
	found := &site.File{Path: path}
	found.Text, found.Changed, found.Unread = readPolicyFile(path)
	return found
}

func readPolicyFile(path string) (text string, changed time.Time, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may be a pipe
	if err != nil {
		return "", time.Time{}, reason(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", time.Time{}, reason(err)
	case !info.Mode().IsRegular():
		return "", time.Time{}, errors.New("it is not a file")
	}
	var content strings.Builder
	content.Grow(int(min(info.Size(), policy.MaxSize))) // read without growing, for it may be large
	if _, err := io.Copy(&content, io.LimitReader(file, policy.MaxSize+1)); err != nil {
		return "", time.Time{}, reason(err)
	}
	changed = info.ModTime()
	// A file that was moved or copied here may have kept an older time, and a link may
	// lead to another file now.
	for _, i := range append(linksTo(path), info) {
		if status, ok := i.Sys().(*syscall.Stat_t); ok && time.Unix(status.Ctim.Unix()).After(changed) {
			changed = time.Unix(status.Ctim.Unix())
		}
	}
	return content.String(), changed, nil
}

// linksTo returns the symbolic links among the parts of a path.
func linksTo(path string) []os.FileInfo {
	var links []os.FileInfo
	for at := path; ; at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && info.Mode()&os.ModeSymlink != 0 {
			links = append(links, info)
		}
		if at == filepath.Dir(at) {
			return links
		}
	}
}

// reason is an error without the path, which is said beside it.
func reason(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}

// notices returns the notices of earlier runs. Without them all notices are new.
func (f records) notices() notice.Record {
	var record notice.Record
	if err := journal.Read(f.Journal, journal.NoticesFile, &record); err != nil {
		f.Log.Warn("read earlier notices; all count as new", "error", err)
		return nil
	}
	return record
}

// keep stores the notices that were found and returns those that are new to the user.
// The lock is held. Notices that cannot be stored are shown again next time.
func (f records) keep(found []notice.Notice) (news []notice.Notice) {
	before := f.notices()
	next, news := before.Next(found, f.Now().Time, true)
	f.write(before, next)
	return news
}

// keepAlarms stores the present alarms without showing them to the user. The lock is
// held.
func (f records) keepAlarms(alarms []site.Alarm) {
	before := f.notices()
	isAlarm := func(r notice.Recorded) bool { return r.Code == notice.Standing }
	next, _ := before.Next(alarmNotices(alarms), f.Now().Time, false)
	f.write(before, append(next, slices.DeleteFunc(slices.Clone(before), isAlarm)...))
}

func (f records) write(before, next notice.Record) {
	if len(before) == 0 && len(next) == 0 || reflect.DeepEqual(before, next) {
		return
	}
	if err := journal.Write(f.Journal, journal.NoticesFile, next); err != nil {
		f.Log.Info("save the notices", "error", err)
	}
}

func alarmNotices(alarms []site.Alarm) []notice.Notice {
	var notices []notice.Notice
	for _, a := range alarms {
		notices = append(notices, a.Notice())
	}
	return notices
}
