package daemon

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
)

// about tells notices apart.
type about struct {
	code  notice.Code
	about string
}

// notices are what has been logged and holds still, by its text.
type notices struct {
	log   *slog.Logger
	shown map[about]string
	heard []notice.Notice // since the last outcome
}

// Notice takes a notice of the fence.
func (d *Daemon) Notice(n notice.Notice) { d.notices.heard = append(d.notices.heard, n) }

// update logs what is new among what holds now, and, if that is all there is, what
// does not hold any more. A note is an event: it is logged, and holds no longer.
func (ns *notices) update(now []notice.Notice, whole bool) {
	now = append(ns.heard, now...)
	ns.heard = nil
	shown := map[about]string{}
	for _, n := range now {
		key := about{n.Code, n.About}
		if n.Severity == notice.Note {
			ns.log.Info(n.Text)
			continue
		}
		old, ok := ns.shown[key]
		// The text of an alarm counts what goes on.
		if again := ok && (old == n.Text || n.Severity == notice.Alarm); !again && shown[key] != n.Text {
			ns.warn(n)
		}
		shown[key] = n.Text
	}
	for key, text := range ns.shown {
		if _, holds := shown[key]; holds {
			continue
		}
		if !whole {
			shown[key] = text
			continue
		}
		ns.log.Info("over", "what", text)
	}
	ns.shown = shown
}

func (ns *notices) warn(n notice.Notice) {
	switch {
	case n.Code == notice.NameFailed:
		ns.log.Warn("a name has failed; what is known of it stays", "failure", n.Text)
	case n.Severity == notice.Alarm:
		ns.log.Warn("alarm", "about", n.About, "text", n.Text, "way_out", n.WayOut)
	default:
		ns.log.Warn(n.Text)
	}
}

// report logs what has come of a look or of answers, and says whether anything was
// done.
func (d *Daemon) report(ctx context.Context, o fence.Outcome, err error) bool {
	d.notices.update(o.Notices, err == nil)
	switch {
	case fence.IsLocked(err):
		d.log.Info("wait for another run", "error", err)
		return false
	case err != nil:
		if ctx.Err() == nil && d.failure != err.Error() {
			d.failure = err.Error()
			d.log.Error("keep the fence as it should be", "error", err)
		}
		return false
	}
	d.failure = ""
	if o.Idle != "" {
		if d.status != o.Idle {
			d.log.Warn(o.Idle)
		}
		d.setStatus(o.Idle)
		return false
	}
	if o.New {
		d.log.Info("keep a generation in force", "generation", o.Generation)
	}
	text := fmt.Sprintf("generation %d, %s", o.Generation, o.Size)
	if o.Failures > 0 {
		text += ", " + notice.Count(o.Failures, "failure")
	}
	if o.Alarms > 0 {
		text += ", " + notice.Count(o.Alarms, "alarm")
	}
	d.setStatus(text)
	return true
}

// setStatus tells systemd how it goes, if that is not as before.
func (d *Daemon) setStatus(text string) {
	if d.status != text {
		d.status = text
		d.notify("STATUS=" + text)
	}
}
