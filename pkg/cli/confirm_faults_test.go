package cli_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// lateness is how long after their deadlines changes were undone.
type lateness struct {
	worst time.Duration
	late  int // by more than 2 s
	of    int
}

func (l *lateness) add(deadline time.Time) {
	d := time.Since(deadline)
	l.worst = max(l.worst, d)
	l.of++
	if d > 2*time.Second {
		l.late++
	}
}

func (l *lateness) report(t *testing.T, fault string, times int) {
	t.Helper()
	labtest.Report(t, "P1", labtest.Over(fault, backendOf(t)), times, "0 fences left standing; %d were made, %d stood more than 2 s after the deadline, the longest %.1f s",
		l.of, l.late, l.worst.Seconds())
}

// deadline returns that of the change that waits for a confirmation, and whether there is
// one.
func (s *site) deadline(t *testing.T) (time.Time, bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.state(), "journal", "unconfirmed.json"))
	if os.IsNotExist(err) {
		return time.Time{}, false
	}
	labtest.Must(t, err)
	var mark struct {
		Content struct {
			Made   struct{ Time time.Time }
			Window string
		}
	}
	labtest.Must(t, json.Unmarshal(data, &mark))
	window, err := time.ParseDuration(mark.Content.Window)
	labtest.Must(t, err)
	return mark.Content.Made.Time.Add(window), true
}

// stands reports whether an unconfirmed change fences anything.
func (s *site) stands(t *testing.T) bool {
	t.Helper()
	return s.fenced(t) && s.with(t, "192.0.2.0/24")
}

// aboutToConfirm is a site with one policy in force and another in its file.
func aboutToConfirm(t *testing.T) *site {
	t.Helper()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	t.Cleanup(func() { killWatchdogs(t, s) })
	s.must(t, 0, "apply")
	s.write(t, otherStatic)
	return s
}

// TestConfirmKilled: SIGKILL of the command at any time leaves no unconfirmed fence.
func TestConfirmKilled(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmKilled)
}

func confirmKilled(t *testing.T) {
	t.Parallel()
	s := aboutToConfirm(t)
	var undone lateness
	times := labtest.Count(10, 500)
	defer func() { undone.report(t, "SIGKILL of apply --confirm at a random time", times) }()
	start := time.Now()
	s.must(t, 2, "diff", "--offline")
	lasts := 3 * time.Since(start) // about as long as apply
	for range times {
		s.stopped(t, syscall.SIGKILL, time.Duration(rand.Int64N(int64(lasts))), "apply", "--confirm=1s")
		deadline, pending := s.deadline(t)
		labtest.Until(t, "what was confirmed is in force", func() bool {
			_, still := s.deadline(t)
			return !still && s.with(t, "203.0.113.0/24") && s.fenced(t)
		})
		if pending {
			undone.add(deadline)
		}
		// The policy file is newer than what is in force, which is an alarm.
		if r := s.plan(t, 4, "refresh"); r.Generation != 1 || r.Changed {
			t.Fatalf("in force is %+v", r)
		}
	}
}

// TestConfirmEverythingKilled: while anything of ringfence is alive, it undoes the change;
// if nothing is, the kernel opens the fence, and the next run puts back what was there
// before.
func TestConfirmEverythingKilled(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmEverythingKilled)
}

func confirmEverythingKilled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name              string
		service, watchdog bool // what is killed
		repeat            int
	}{
		{"the service while it runs beside the watchdog", true, false, labtest.Count(1, 100)},
		{"the watchdog beside the service", false, true, labtest.Count(1, 20)},
		{"everything of ringfence's", true, true, labtest.Count(2, 100)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := aboutToConfirm(t)
			var undone lateness
			defer func() { undone.report(t, "SIGKILL of "+test.name, test.repeat) }()
			for range test.repeat {
				daemon := serve(t, s)
				s.must(t, 0, "apply", "--confirm=1s")
				deadline, pending := s.deadline(t)
				killAfter := time.NewTimer(time.Duration(rand.Int64N(int64(time.Second))))
				<-killAfter.C
				if test.watchdog {
					killWatchdogs(t, s)
				}
				if test.service {
					labtest.Must(t, daemon.cmd.Process.Kill())
					<-daemon.ended
				}
				labtest.Until(t, "the change is undone, or the fence is open", func() bool { return !s.stands(t) })
				if pending {
					undone.add(deadline)
				}
				if !test.service || !test.watchdog {
					labtest.Until(t, "what was before is in force", func() bool { return s.fenced(t) && s.with(t, "203.0.113.0/24") })
				}
				if test.service {
					s.must(t, 4, "refresh") // the policy file is newer
					if !s.fenced(t) || !s.with(t, "203.0.113.0/24") {
						t.Errorf("in force is\n%s", s.ruleset(t))
					}
				} else {
					daemon.end(t)
				}
			}
		})
	}
}

// TestConfirmHangUp: a terminal that hangs up while it is asked takes the command with
// it, and the change is undone.
func TestConfirmHangUp(t *testing.T) {
	t.Parallel()
	eachBackend(t, confirmHangUp)
}

func confirmHangUp(t *testing.T) {
	t.Parallel()
	s := aboutToConfirm(t)
	var undone lateness
	times := labtest.Count(3, 100)
	defer func() { undone.report(t, "its terminal hangs up", times) }()
	for range times {
		cmd, master := onTerminal(t, s, "apply", "--yes", "--confirm=2s")
		said := make([]byte, 1<<16)
		var text strings.Builder
		for !strings.Contains(text.String(), "Is your phone registered?") {
			n, err := master.Read(said)
			labtest.Must(t, err)
			text.Write(said[:n])
		}
		deadline, pending := s.deadline(t)
		labtest.Must(t, master.Close())
		cmd.Wait() // its status does not matter
		labtest.Until(t, "the change is undone", func() bool {
			_, still := s.deadline(t)
			return !still && s.with(t, "203.0.113.0/24")
		})
		if pending {
			undone.add(deadline)
		}
	}
}
