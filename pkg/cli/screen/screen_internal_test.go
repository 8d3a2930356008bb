package screen

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/clipperhouse/displaywidth"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/fence"
)

// sources are n of them, the first one last.
func sources(n int) fence.Drops {
	var d fence.Drops
	for i := range n {
		d.Sources = append(d.Sources, fence.Dropped{
			Dropped: backend.Dropped{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Packets: uint64(i), Last: time.Now().Add(-time.Duration(i) * time.Minute)},
			Reason:  "unknown", Text: "unknown: never allowed",
		})
	}
	return d
}

// shows is the screen after what was given to it.
func shows(m *model, all ...any) string {
	for _, msg := range all {
		m.update(msg)
	}
	return strings.Join(m.lines(), "\n")
}

func newModel(t *testing.T) *model {
	t.Helper()
	return newModelOf(t.Context(), Actions{Since: "1h"})
}

// cursor is the line that the cursor is on.
func cursor(screen string) string {
	for line := range strings.Lines(screen) {
		if strings.HasPrefix(line, "> ") {
			return strings.Fields(line)[1]
		}
	}
	return ""
}

// TestCursor: the cursor stays at the top until somebody moves it, then with its source.
func TestCursor(t *testing.T) {
	m := newModel(t)
	shows(m, size{80, 12})
	if got := cursor(shows(m, result{drops: sources(30)})); got != "192.0.2.0" {
		t.Errorf("it begins at %s", got)
	}
	newer := sources(30)
	newer.Sources = append([]fence.Dropped{{Dropped: backend.Dropped{Address: netip.MustParseAddr("198.51.100.1"), Last: time.Now()}}}, newer.Sources...)
	if got := cursor(shows(m, result{drops: newer})); got != "198.51.100.1" {
		t.Errorf("a newer source comes, and it is at %s", got)
	}
	if got := cursor(shows(m, key("j"), key("j"))); got != "192.0.2.1" {
		t.Errorf("after two downs it is at %s", got)
	}
	if got := cursor(shows(m, result{drops: sources(30)})); got != "192.0.2.1" {
		t.Errorf("others come and go, and it is at %s", got)
	}
	for step, want := range map[string]string{"G": "192.0.2.29", "g": "192.0.2.0"} {
		if got := cursor(shows(m, key(step))); got != want {
			t.Errorf("after %s it is at %s", step, got)
		}
	}
	if got := shows(m, result{}); !strings.Contains(got, "Nobody yet.") || cursor(got) != "" {
		t.Errorf("without sources:\n%s", got)
	}
}

// TestSort: s goes through the orders at once, and what was read for another order does not
// change that.
func TestSort(t *testing.T) {
	m := newModel(t)
	shows(m, size{80, 12}, result{drops: sources(30)})
	for i, want := range []string{"192.0.2.29", "192.0.2.0", "192.0.2.0"} {
		if got := cursor(shows(m, key("s"))); got != want {
			t.Errorf("order %d begins with %s, want %s", i+1, got, want)
		}
	}
	shows(m, key("s"))
	if got := cursor(shows(m, result{drops: sources(30)})); got != "192.0.2.29" {
		t.Errorf("after a read it begins with %s", got)
	}
}

// TestAsk: nothing is done before y, and it is done to the source that the question named.
func TestAsk(t *testing.T) {
	var banned []netip.Addr
	m := newModelOf(t.Context(), Actions{Ban: func(_ context.Context, a netip.Addr) (string, error) {
		banned = append(banned, a)
		return a.String() + " is banned", nil
	}, Allow: func(context.Context, netip.Addr) (string, error) {
		return "", errors.New("refused\nby a guard")
	}})
	run := func(text string) string {
		if do := m.update(key(text)); do != nil {
			m.update(do())
		}
		return shows(m)
	}
	shows(m, size{80, 12})
	run("b")
	shows(m, result{drops: sources(3)})
	if got := run("b"); !strings.Contains(got, "Ban 192.0.2.0? y or n") {
		t.Errorf("b asks:\n%s", got)
	}
	if got := run("x"); len(banned) > 0 || !strings.Contains(got, "Nothing was changed.") {
		t.Errorf("x bans %v:\n%s", banned, got)
	}
	run("b")
	shows(m, result{drops: fence.Drops{Sources: sources(3).Sources[1:]}}) // another is on top now
	if got := run("y"); len(banned) != 1 || banned[0].String() != "192.0.2.0" || !strings.Contains(got, "192.0.2.0 is banned") {
		t.Errorf("y bans %v:\n%s", banned, got)
	}
	run("a")
	if got := run("y"); !strings.Contains(got, "error: refused; by a guard") {
		t.Errorf("an error is shown as:\n%s", got)
	}
}

// TestFits: whatever the size is and whatever others have sent, no line is longer than the
// screen, there are not more lines than it has, and nothing moves its cursor.
func TestFits(t *testing.T) {
	evil := "\x1b[2J\x1b]0;x\a\r\n\t\u202e\xff漢漢漢" + strings.Repeat("long ", 40)
	d := sources(40)
	for i := range d.Sources {
		d.Sources[i].UserAgent, d.Sources[i].Called, d.Sources[i].Method, d.Sources[i].Text = evil, evil, evil, evil
	}
	d.Sources[3].Address = netip.MustParseAddr("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff")
	m := newModel(t)
	for _, width := range []int{1, 10, 30, 33, 39, 40, 80, 200} {
		for _, height := range []int{1, 2, 5, 7, 8, 24, 60} {
			screen := shows(m, size{width, height}, result{drops: d})
			lines := strings.Split(screen, "\n")
			if len(lines) > height {
				t.Errorf("%d lines on %d", len(lines), height)
			}
			for _, line := range lines {
				if n := displaywidth.String(line); n > width {
					t.Errorf("%d columns on %d: %q", n, width, line)
				}
				for _, r := range line {
					if !unicode.IsPrint(r) {
						t.Fatalf("the screen has %q", r)
					}
				}
			}
			if width >= 30 && !strings.HasSuffix(screen, "q: end") {
				t.Errorf("on %d columns and %d lines nothing says how to end:\n%s", width, height, screen)
			}
			if height >= 5 && width >= 40 && cursor(screen) != "192.0.2.0" {
				t.Errorf("on %d columns and %d lines the cursor is not seen:\n%s", width, height, screen)
			}
		}
	}
}

// TestReadFails: what cannot be read at the beginning is the end, later it is only shown.
func TestReadFails(t *testing.T) {
	m := newModel(t)
	if m.update(result{err: errors.New("no permission")}); m.failure == nil || !m.over {
		t.Errorf("it goes on after %v", m.failure)
	}
	m = newModel(t)
	shows(m, size{80, 12}, result{drops: sources(3)})
	if got := shows(m, result{err: errors.New("the table is gone")}); m.failure != nil || !strings.Contains(got, "error: the table is gone") || cursor(got) != "192.0.2.0" {
		t.Errorf("it shows:\n%s", got)
	}
}
