package cli_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// kept are the records that the service has written.
func (s *site) kept(t *testing.T) []events.Record {
	t.Helper()
	var list []events.Record
	err := events.Read(filepath.Join(s.state(), "events.db"), time.Time{}, time.Time{}, func(r events.Record) error {
		list = append(list, r)
		return nil
	})
	if err != nil && !errors.Is(err, events.ErrBusy) {
		t.Fatal(err)
	}
	return list
}

// TestDroppedWithDaemon: while the service runs, dropped says what the three have sent: a
// remote phone, a server that the provider has not listed, and a scanner; over every back
// end, in monitor mode too, and still after the service has ended.
func TestDroppedWithDaemon(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		for _, mode := range []string{"enforce", "monitor"} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				testEvents(t, mode)
			})
		}
	})
}

func testEvents(t *testing.T, mode string) {
	w := newWorld(t)
	phone, phone4, _ := w.stranger(t, 1)
	server, _, server6 := w.stranger(t, 2)
	scanner, scanner4, _ := w.stranger(t, 3)
	s := newSite(t, w.pbx, staticPolicy+"mode: "+mode+"\n")
	s.must(t, 0, "apply")
	r := serve(t, s)
	untilListens(t, r)
	ask(t, phone, phone4, pbx4, "REGISTER", "Yealink SIP-T46S")
	ask(t, server, server6, pbx6, "INVITE", "acme edge 2")
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	want := map[string]string{
		phone4:   "REGISTER of %s by Yealink SIP-T46S, 5060",
		server6:  "INVITE of %s by acme edge 2, 5060",
		scanner4: "OPTIONS of 100 by friendly-scanner, 5060, sipvicious-callee",
	}
	said := func() map[string]string {
		found := map[string]string{}
		for a, d := range s.dropped(t) {
			found[a] = d.sent()
		}
		return found
	}
	r.until(t, "dropped says what they have sent", func() bool {
		found := said()
		for a, text := range want {
			if strings.Contains(text, "%s") { // whom lab.Message calls
				text = fmt.Sprintf(text, s.dropped(t)[a].Called)
			}
			if found[a] != text {
				return false
			}
		}
		return true
	})
	before := said()
	r.end(t)
	if got := said(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("after the end dropped says %v, before %v", got, before)
	}
	if strings.Contains(r.log(), "level=ERROR") {
		t.Errorf("the service says\n%s", r.log())
	}
	counts, err := events.Counts(filepath.Join(s.state(), "events.db"), time.Time{}, time.Time{})
	labtest.Must(t, err)
	if !strings.Contains(fmt.Sprint(counts), "dropped_unknown") {
		t.Errorf("no counter is kept: %v", counts)
	}
}

// sent is what is known of what a source has sent.
func (d droppedSource) sent() string {
	text := fmt.Sprintf("%s of %s by %s, %d", d.Method, d.Called, d.UserAgent, d.Port)
	if d.Signature != "" {
		text += ", " + d.Signature
	}
	return text
}

// untilListens waits until the service reads what is dropped: only one program can.
func untilListens(t *testing.T, r *service) {
	t.Helper()
	r.until(t, "it listens", func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/netfilter/nfnetlink_log", r.cmd.Process.Pid))
		labtest.Must(t, err)
		return strings.HasPrefix(strings.TrimSpace(string(data)), "5060 ")
	})
}
