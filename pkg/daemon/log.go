package daemon

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
)

// about identifies a notice.
type about struct {
	code  notice.Code
	about string
}

// notices are those that were logged and still apply, with their texts.
type notices struct {
	log   *slog.Logger
	shown map[about]string
	heard []notice.Notice // since the last outcome
}

// Notice receives a notice of the fence.
func (d *Daemon) Notice(n notice.Notice) { d.notices.heard = append(d.notices.heard, n) }

// update logs the notices that are new and, if now has all of them, those that no
// longer apply. A note is a single event: it is logged once and not kept.
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
		// The text of an alarm may have a number that keeps changing.
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
		ns.log.Info("over", "about", key.about, "what", text)
	}
	ns.shown = shown
}

func (ns *notices) warn(n notice.Notice) {
	switch {
	case n.Code == notice.NameFailed:
		ns.log.Warn("a name has failed; its known addresses are kept", "failure", n.Text)
	case n.Severity == notice.Alarm:
		ns.log.Warn("alarm", "about", n.About, "text", n.Text, "way_out", n.WayOut)
	default:
		ns.log.Warn(n.Text)
	}
}

// report logs the outcome of a reconciliation or of answers, and reports whether
// anything was changed.
func (d *Daemon) report(ctx context.Context, o fence.Outcome, err error) bool {
	d.notices.update(o.Notices, err == nil)
	switch {
	case fence.IsLocked(err):
		d.log.Info("wait for another run", "error", err)
		return false
	case err != nil:
		if ctx.Err() == nil && d.failure != err.Error() {
			d.failure = err.Error()
			d.log.Error("reconcile the fence", "error", err)
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

// setStatus sends the status to systemd if it has changed.
func (d *Daemon) setStatus(text string) {
	if d.status != text {
		d.status = text
		d.notify("STATUS=" + text)
	}
}

// changes logs each change of a table that was there: who is allowed now, and who is not
// any more, with the reasons.
func (d *Daemon) changes(p *plan.Plan) {
	if !p.Have.Exists || !p.Want.Exists {
		return // all of it is new, or gone
	}
	for _, c := range p.Changes {
		switch {
		case c.Allowed() && c.Action == plan.Add:
			d.log.Info("allowed", "address", c.Value, "reason", cmp.Or(c.Reason, "it was removed"))
		case c.Allowed():
			d.log.Info("not allowed any more", "address", c.Value, "reason", c.Reason)
		default:
			d.log.Info("change", "action", c.Action, "kind", c.Kind, "name", c.Name, "value", c.Value, "reason", c.Reason, "rules", strings.Join(c.Rules, "; "))
		}
	}
}
