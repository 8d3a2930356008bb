package cli_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// heard is what a program has written so far.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
	end  chan struct{}
}

// hear reads until there is no more.
func hear(r io.Reader) *heard {
	h := &heard{end: make(chan struct{})}
	go func() {
		defer close(h.end)
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			h.mu.Lock()
			h.text.Write(buf[:n])
			h.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return h
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func (h *heard) has(text string) func() bool {
	return func() bool { return strings.Contains(h.String(), text) }
}

// TestWatchOnTerminal: who is dropped comes onto the screen, keys ban after a question, the
// screen follows the size of the terminal, and at the end that is as it was before.
func TestWatchOnTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger, stranger4, _ := w.stranger(t, 1)
	s := newSite(t, w.pbx, staticPolicy)
	s.must(t, 0, "apply")
	for _, by := range []string{"q", "SIGINT"} {
		cmd, master := onTerminal(t, s, "watch")
		screen := hear(master)
		size := func(rows, columns uint16) {
			raw, err := master.SyscallConn()
			labtest.Must(t, err)
			labtest.Must(t, raw.Control(func(fd uintptr) {
				err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
			}))
			labtest.Must(t, err)
		}
		press := func(key string) {
			_, err := master.WriteString(key)
			labtest.Must(t, err)
		}
		size(20, 100)
		until(t, "the screen is there", screen.has("q: end"))
		ask(t, stranger, stranger4, pbx4, "REGISTER", "a phone")
		until(t, "the stranger is seen", screen.has(stranger4))
		if by == "q" {
			press("b")
			until(t, "it asks", screen.has("Ban "+stranger4+"? y or n"))
			if bans := s.must(t, 0, "bans").stdout; strings.Contains(bans, stranger4) {
				t.Errorf("without an answer there is a ban: %s", bans)
			}
			press("y")
			until(t, "it says so", screen.has("is banned for 1h."))
			if bans := s.must(t, 0, "bans").stdout; !strings.Contains(bans, stranger4) {
				t.Errorf("the bans are %s", bans)
			}
			size(10, 40)
			until(t, "the screen is narrower", screen.has(", by la…"))
			press("q")
		} else {
			labtest.Must(t, cmd.Process.Signal(os.Interrupt))
		}
		err := cmd.Wait()
		<-screen.end
		master.Close()
		if err != nil {
			t.Errorf("after %s it ends with %v:\n%q", by, err, screen)
		}
		for _, restored := range []string{"\x1b[?1049l", "\x1b[?25h"} {
			if !strings.Contains(screen.String(), restored) {
				t.Errorf("after %s the terminal is not as before: no %q in\n%q", by, restored, screen)
			}
		}
	}
}

// TestWatchInPipe: a pipe gets a line for each source of which packets have come since the
// beginning, with what the daemon has heard of it, and nothing in it is harmful.
func TestWatchInPipe(t *testing.T) {
	t.Parallel()
	eachBackend(t, watchInPipe)
}

func watchInPipe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	early, early4, _ := w.stranger(t, 1)
	late, late4, _ := w.stranger(t, 2)
	s := newSite(t, w.pbx, staticPolicy)
	s.must(t, 0, "apply")
	ask(t, early, early4, pbx4, "REGISTER", "a phone")
	until(t, "the early one is dropped", func() bool { return strings.Contains(s.must(t, 0, "dropped").stdout, early4) })
	var tally events.Tally
	tally.Add(events.Drop{Time: time.Now(), Source: netip.MustParseAddr(late4), Port: 5060, Protocol: "udp", Reason: "unknown", Method: "INVITE", UserAgent: hostile})
	_, err := (&events.Store{Path: s.state() + "/events.db", Keep: time.Hour}).Write(&tally, time.Now())
	labtest.Must(t, err)

	for _, form := range []string{"text", "json"} {
		cmd := s.command(t, "watch", "-o", form)
		out, err := cmd.StdoutPipe()
		labtest.Must(t, err)
		labtest.Must(t, s.host.Start(cmd))
		lines := make(chan string, 100)
		go func() {
			defer close(lines)
			for scanner := bufio.NewScanner(out); scanner.Scan(); {
				lines <- scanner.Text()
			}
		}()
		// What it sees first is not new, and when that was is not known: packets come until
		// there is a line.
		tick := time.NewTicker(100 * time.Millisecond)
		var line string
		for line == "" {
			select {
			case line = <-lines:
			case <-tick.C:
				ask(t, late, late4, pbx4, "INVITE", "x")
			}
		}
		tick.Stop()
		labtest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
		for more := range lines {
			line += "\n" + more
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ends with %v", err)
		}
		if strings.Contains(line, early4) || !strings.Contains(line, late4) || strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("the lines are\n%s", line)
		}
		if form == "text" {
			continue
		}
		for object := range strings.Lines(line) {
			labtest.Must(t, describes("watch", object))
			var got struct {
				Method, UserAgent string
				More, Packets     uint64
			}
			labtest.Must(t, json.Unmarshal([]byte(object), &got))
			if got.Method != "INVITE" || got.More == 0 || got.Packets < got.More {
				t.Errorf("the object is %s", object)
			}
		}
	}
}
