package cli_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/lab"
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

// TestEventsWithLeastRights: a user with only the capabilities of the service's unit learns
// what was dropped, and keeps it in a file that others may not read.
func TestEventsWithLeastRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scanner, scanner4, _ := w.stranger(t, 1)
	s := newUnprivilegedSite(t, w.pbx, staticPolicy)
	s.must(t, 0, "apply")
	r := serve(t, s)
	untilListens(t, r)
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	r.until(t, "the scanner is named", func() bool { return s.dropped(t)[scanner4].Signature == "sipvicious-callee" })
	info, err := os.Stat(filepath.Join(s.state(), "events.db"))
	labtest.Must(t, err)
	if info.Mode() != 0o640 {
		t.Errorf("the file has the mode %v", info.Mode())
	}
	r.end(t)
}

// TestEventsKeep: with events.keep 0s nothing is reported and nothing kept, and the service
// follows when a policy says otherwise.
func TestEventsKeep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scanner, scanner4, _ := w.stranger(t, 1)
	s := newSite(t, w.pbx, staticPolicy+"events: {keep: 0s}\n")
	s.must(t, 0, "apply")
	r := serve(t, s)
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	r.until(t, "the scanner is dropped", func() bool { return s.dropped(t)[scanner4].Packets > 0 })
	s.write(t, staticPolicy)
	s.must(t, 0, "apply")
	untilListens(t, r)
	if d := s.dropped(t)[scanner4]; d.Signature != "" {
		t.Errorf("with events.keep 0s dropped says %+v", d)
	}
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	r.until(t, "the scanner is named", func() bool { return s.dropped(t)[scanner4].Signature == "sipvicious-callee" })
	s.write(t, staticPolicy+"events: {keep: 0s}\n")
	s.must(t, 0, "apply")
	r.until(t, "what was kept is removed", func() bool { return len(s.kept(t)) == 0 })
	if d := s.dropped(t)[scanner4]; d.Packets == 0 || d.Signature != "" {
		t.Errorf("with events.keep 0s again dropped says %+v", d)
	}
	r.end(t)
}

// TestEventsOfAFlood: packets of a million forged sources take the service little memory
// and disk, do not keep it from putting the fence back, and hide nobody who came before;
// also where another rule reports every packet.
func TestEventsOfAFlood(t *testing.T) {
	// Ours report one packet of a source a minute, and not more than 8,192.
	for name, rules := range map[string]string{"as the rules report": "", "every packet reported": `table inet everything {
	chain prerouting {
		type filter hook prerouting priority raw - 20; policy accept;
		udp dport 5060 log prefix "unknown" group 5060 snaplen 1024
	}
}
`} {
		t.Run(name, func(t *testing.T) { testEventsOfAFlood(t, name, rules) })
	}
}

func testEventsOfAFlood(t *testing.T, name, rules string) {
	w := newWorld(t)
	scanner, scanner4, _ := w.stranger(t, 1)
	flooder, _, _ := w.stranger(t, 2)
	s := newSite(t, w.pbx, staticPolicy)
	s.must(t, 0, "apply")
	labtest.Rules(t, w.pbx, rules)
	r := serve(t, s)
	untilListens(t, r)
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	r.until(t, "the scanner is kept", func() bool { return s.dropped(t)[scanner4].Signature != "" })
	before, cpu := peakMemory(t, r.cmd.Process.Pid), r.cpu(t)
	began := time.Now()
	invite := lab.Message("INVITE", "192.0.2.66", pbx4, "x")
	parts := 10
	for part := range parts {
		labtest.Must(t, labtest.Forge(flooder, pbx4+":5060", invite, million()/parts, func(i int) netip.Addr {
			return anybody(i + part*million()/parts)
		}))
		if part == parts/2 {
			labtest.Run(t, w.pbx, "nft", "delete", "table", "inet", "ringfence")
			r.until(t, "the fence is back during the flood", func() bool { return strings.Contains(fence(t, s), "chain prerouting") })
		}
	}
	took := time.Since(began)
	r.until(t, "the flood is kept", func() bool { return len(s.kept(t)) > 1000 })
	spent := r.cpu(t) - cpu
	grown := peakMemory(t, r.cmd.Process.Pid) - before
	info, err := os.Stat(filepath.Join(s.state(), "events.db"))
	labtest.Must(t, err)
	records := len(s.kept(t))
	listed := s.dropped(t)[scanner4].Signature != ""
	labtest.Report(t, "P14", fmt.Sprintf("%d packets of strangers in %s, while run runs, %s", million(), took.Round(time.Millisecond), name), 1,
		"%d records, %d KiB of disk, %d KiB more memory, %s of CPU, the scanner before them listed: %v", records, info.Size()>>10, grown>>10, spent, listed)
	if info.Size() > 32<<20 || grown > 100<<20 || records > 10_000 {
		t.Error("that is too much")
	}
	if !listed {
		t.Error("the scanner is not listed any more")
	}
	r.end(t)
	if strings.Contains(r.log(), "level=ERROR") {
		t.Errorf("the service says\n%s", r.log())
	}
}

// TestEventsOnAFullDisk: a disk without room does not end the service, which says so, and
// writes what it has kept in memory when there is room again.
func TestEventsOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scanner, scanner4, _ := w.stranger(t, 1)
	s := newSite(t, w.pbx, staticPolicy)
	labtest.Must(t, os.MkdirAll(s.state(), 0o750))
	labtest.Must(t, unix.Mount("tmpfs", s.state(), "tmpfs", 0, "size=2m"))
	t.Cleanup(func() { labtest.Must(t, unix.Unmount(s.state(), 0)) })
	s.must(t, 0, "apply")
	r := serve(t, s)
	untilListens(t, r)
	ballast := filepath.Join(s.state(), "ballast")
	fill(t, ballast)
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	r.until(t, "it says that there is no room", func() bool {
		return strings.Contains(r.log(), "who was dropped is not kept: ") && strings.Contains(r.log(), "no space left on device")
	})
	if kept := s.kept(t); len(kept) != 0 {
		t.Errorf("%v is kept on a full disk", kept)
	}
	labtest.Must(t, os.Remove(ballast))
	r.until(t, "what came meanwhile is kept", func() bool { return s.dropped(t)[scanner4].Signature == "sipvicious-callee" })
	r.until(t, "it says that this is over", func() bool {
		_, after, said := strings.Cut(r.log(), "msg=over")
		for said && !strings.Contains(after, "who was dropped is not kept") {
			_, after, said = strings.Cut(after, "msg=over")
		}
		return said
	})
	r.end(t)
}

// cpu is the time that the service has worked for.
func (s *service) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	labtest.Must(t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, err := strconv.Atoi(fields[11])
	labtest.Must(t, err)
	system, err := strconv.Atoi(fields[12])
	labtest.Must(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
