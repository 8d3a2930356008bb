package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"

	"github.com/ringfence/ringfence/pkg/host"
)

// files watches files that are written to, replaced, made or removed, also by way of
// symbolic links and folders that come later.
type files struct {
	paths   []string
	inotify *fsnotify.Watcher
	// parts are the names whose change may be one of a file's, each with that file, by
	// the folder that is watched for them.
	parts map[string]map[string]string
}

func newFiles(paths []string) (*files, error) {
	inotify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	f := &files{inotify: inotify}
	for _, path := range paths {
		if path, err = filepath.Abs(path); err == nil {
			f.paths = append(f.paths, path)
		}
	}
	if err := f.update(); err != nil {
		inotify.Close()
		return nil, err
	}
	return f, nil
}

func (f *files) close() { f.inotify.Close() }

// update watches what leads to the files now, also if that changes meanwhile.
func (f *files) update() error {
	for {
		parts := f.leading()
		for folder := range parts {
			// A folder that was made again has lost its watch; one that still has it keeps it.
			err := f.inotify.Add(folder)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("watch folder %s: %w", folder, err)
			}
		}
		for folder := range f.parts {
			if parts[folder] == nil {
				_ = f.inotify.Remove(folder) // or it has gone
			}
		}
		f.parts = parts
		if reflect.DeepEqual(f.leading(), parts) {
			return nil
		}
	}
}

// leading are the parts that there should be.
func (f *files) leading() map[string]map[string]string {
	parts := map[string]map[string]string{}
	for _, path := range f.paths {
		for _, part := range leading(path) {
			folder := filepath.Dir(part)
			if parts[folder] == nil {
				parts[folder] = map[string]string{}
			}
			parts[folder][filepath.Base(part)] = path
		}
	}
	return parts
}

// leading are the names that lead to a file: itself, every symbolic link on the way,
// and the first that is not there.
func leading(path string) []string {
	const most = 40 // symbolic links, as in path_resolution(7)
	var found []string
	at, rest := "/", strings.Split(strings.TrimPrefix(path, "/"), "/")
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		if err != nil {
			return append(found, next)
		}
		rest = rest[1:]
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		found = append(found, next)
		target, err := os.Readlink(next)
		if links++; err != nil || links > most {
			return found
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(at, target)
		}
		at, rest = "/", append(strings.Split(strings.TrimPrefix(filepath.Clean(target), "/"), "/"), rest...)
	}
	return append(found, at)
}

// run reports changes until the files are closed.
func (f *files) run(report func(host.Change)) {
	seen := f.states()
	for {
		var changed []string
		says := "has changed"
		select {
		case e, ok := <-f.inotify.Events:
			if !ok {
				return
			}
			changed = f.changedBy(e)
		case _, ok := <-f.inotify.Errors:
			if !ok {
				return
			}
			// More has happened than the kernel could report.
			changed, says = slices.Clone(f.paths), "may have changed"
		}
		if err := f.update(); err != nil {
			return
		}
		// An event may be about a part that leads to a file no longer, if more has
		// happened since: so the files are looked at too.
		now := f.states()
		for _, path := range f.paths {
			if now[path] != seen[path] && !slices.Contains(changed, path) {
				changed = append(changed, path)
			}
		}
		seen = now
		for _, path := range changed {
			report(host.Change{What: path + " " + says, Path: path})
		}
	}
}

// changedBy is the file that an event is about, nothing if it is about none.
func (f *files) changedBy(e fsnotify.Event) []string {
	if e.Op == fsnotify.Chmod {
		return nil // which the states show, if it is more than a time
	}
	for _, inside := range f.parts[e.Name] {
		return []string{inside} // the folder has gone, or was moved
	}
	if path, ours := f.parts[filepath.Dir(e.Name)][filepath.Base(e.Name)]; ours {
		return []string{path}
	}
	return nil
}

// states say of each file what it is, so that another one, or another content, differs.
// So does another folder in the place of the one that a file was missing in: the report
// that the first was moved is lost if the second is watched before it is read.
func (f *files) states() map[string]string {
	states := map[string]string{}
	for _, path := range f.paths {
		for _, part := range leading(path) {
			states[path] += part // also if it is missing: which one is missing is news
			if info, err := os.Lstat(filepath.Dir(part)); err == nil {
				states[path] += fmt.Sprintf(" %d", inode(info))
			}
			if info, err := os.Lstat(part); err == nil {
				states[path] += fmt.Sprintf(" %d %o %d %d\n", inode(info), info.Mode(), info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return states
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
