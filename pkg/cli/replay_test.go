package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// capture captures what comes and goes by an interface of a host, until stop is called.
func capture(t *testing.T, h *lab.Namespace, link string) (file string, stop func()) {
	t.Helper()
	labtest.Need(t, "tcpdump")
	file = filepath.Join(t.TempDir(), link+".pcap")
	cmd := daemon(t, h, "listening on", "tcpdump", "-n", "-U", "-Z", "root", "-i", link, "-w", file)
	return file, func() {
		t.Helper()
		// What is still in the kernel's buffer comes before the capture ends.
		labtest.Must(t, cmd.Process.Signal(syscall.SIGINT))
		until(t, "tcpdump has ended", func() bool { return cmd.Process.Signal(syscall.Signal(0)) != nil })
	}
}

// replayed is what replay says.
type replayed struct {
	Packets, Untold int
	Own, Silenced   []string
	Text            string
	Lines           []string
	Sources         []struct {
		Address, Verdict, Reason, Signature string
		Packets, Dropped                    int
		Registered, Answered                bool
	}
	Unknown []string `json:"unknown_names"`
	Error   *string
}

// replay replays what is in force, or the policy file while that is another one.
func (s *site) replay(t *testing.T, status int, args ...string) (r replayed) {
	t.Helper()
	o := s.must(t, status, append([]string{"replay", "-o", "json"}, args...)...)
	labtest.Must(t, json.Unmarshal([]byte(o.stdout), &r))
	return r
}

const replayPolicy = "version: 1\nproviders: [{name: acme, addresses: [" + edge1 + "]}]\n"

// TestReplay captures what real phones, a server of the provider that no policy lists, and
// real scanners do at a real PBX. A policy would silence the first two, replay says which
// they are, and with the lines that it prints they pass.
func TestReplay(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "sipp", "svmap", "svcrack")
	w := newWorld(t)
	labtest.StartKamailio(t, w.pbx, "udp:"+pbx4+":5060", "tcp:"+pbx4+":5060", "udp:["+pbx6+"]:5060", "tcp:["+pbx6+"]:5060")
	s := newSite(t, w.pbx, replayPolicy)
	var phones []sipp
	for i, transport := range []string{"un", "tn", "un"} {
		h, v4, v6 := w.stranger(t, i)
		phone := sipp{from: h, addresses: []string{v4}, to: pbx4 + ":5060", transport: transport, phones: 1, rate: 1}
		if i == 2 {
			phone.addresses, phone.to = []string{v6}, "["+pbx6+"]:5060"
		}
		phones = append(phones, phone)
	}
	scanner, scanner4, _ := w.stranger(t, 3)
	cracker, cracker4, _ := w.stranger(t, 4)
	file, stop := capture(t, w.pbx, "eth0")
	cooked, stopCooked := capture(t, w.pbx, "any")
	for _, p := range phones {
		if p.run(t) != 1 {
			t.Fatal("a phone does not get through to the PBX")
		}
	}
	labtest.Run(t, w.provider, "sipp", "-sn", "uac", "-s", "echo", "-m", "2", "-i", edge2, "-nostdin", "-timeout", "60", pbx4+":5060")
	var group sync.WaitGroup
	for h, command := range map[*lab.Namespace]string{scanner: "svmap " + pbx4, cracker: "svcrack -u 100 -r 1-20 " + pbx4} {
		group.Go(func() {
			args := strings.Fields(command)
			labtest.TryInput(t, h, "", args[0], args[1:]...) // the status says what was found
		})
	}
	group.Wait()
	stop()
	stopCooked()

	want := []string{phones[0].addresses[0], phones[1].addresses[0], phones[2].addresses[0], edge2}
	slices.Sort(want)
	for _, capture := range []string{file, cooked} {
		r := s.replay(t, 0, capture)
		slices.Sort(r.Silenced)
		if !slices.Equal(r.Silenced, want) || !strings.HasPrefix(r.Text, "3 of your phones, and "+edge2+", which looks like a server of acme, would be silenced") {
			t.Errorf("%s: silenced are %q, want %q: %s", capture, r.Silenced, want, r.Text)
		}
		if len(r.Unknown) > 0 || !slices.Equal(r.Own, []string{pbx4, pbx6}) && !slices.Equal(r.Own, []string{pbx6, pbx4}) {
			t.Errorf("%s: %+v", capture, r)
		}
		found := 0
		for _, source := range r.Sources {
			if source.Address == scanner4 && source.Signature != "" || source.Address == cracker4 {
				found++
				if source.Verdict != "dropped" || source.Dropped != source.Packets || source.Packets == 0 || source.Registered {
					t.Errorf("of a scanner: %+v", source)
				}
			}
		}
		if found != 2 {
			t.Errorf("the scanners are not among %+v", r.Sources)
		}
	}

	// A host that the capture is not of takes it as well, and the lines let them in.
	elsewhere := newSite(t, labtest.Host(t, "elsewhere"), replayPolicy)
	r := elsewhere.replay(t, 0, file)
	if len(r.Silenced) != 4 || !slices.Contains(r.Own, pbx4) {
		t.Errorf("elsewhere: %+v", r)
	}
	text := s.must(t, 0, "replay", file).stdout
	for _, says := range []string{"dropped: unknown", "3 of your phones", "  trusted:", "  providers:", "its registration was accepted"} {
		if !strings.Contains(text, says) {
			t.Errorf("the text lacks %q:\n%s", says, text)
		}
	}
	t.Log(text)
	damagedCapture(t, s, file)

	// What is in force, first in monitor mode.
	s.write(t, replayPolicy+"mode: monitor\n")
	s.must(t, 0, "apply")
	if r := s.replay(t, 0, file); len(r.Silenced) != 4 || !strings.HasSuffix(r.Text, "would be silenced in mode enforce") {
		t.Errorf("in monitor mode: %+v", r)
	}
	// What another program has put into the table counts too.
	labtest.Rules(t, s.host, "insert rule inet ringfence sip ip saddr 192.0.2.2 counter name allowed_trusted accept")
	if r := s.replay(t, 0, file); len(r.Silenced) != 3 {
		t.Errorf("with a rule of another program: %+v", r)
	}
	s.write(t, "version: 1\n"+strings.Join(r.Lines, "\n")+"\n")
	s.must(t, 0, "apply")
	if r := s.replay(t, 0, file); len(r.Silenced) != 0 || r.Text != "" || len(r.Lines) != 0 {
		t.Errorf("with the lines that were printed: %+v", r)
	}
	for _, p := range phones {
		if p.run(t) != 1 {
			t.Error("a phone that the lines name does not get through")
		}
	}
}

// damagedCapture: of a capture that ends too early, what is there is judged before the error.
func damagedCapture(t *testing.T, s *site, file string) {
	t.Helper()
	whole, err := os.ReadFile(file)
	labtest.Must(t, err)
	cut := filepath.Join(t.TempDir(), "cut.pcap")
	labtest.Must(t, os.WriteFile(cut, whole[:len(whole)*2/3], 0o600))
	o := s.must(t, 1, "replay", cut)
	if !strings.Contains(o.stdout, "dropped: unknown") || !strings.Contains(o.stderr, "the capture ends within it") {
		t.Errorf("of a damaged capture:\n%s%s", o.stdout, o.stderr)
	}
	if r := s.replay(t, 1, cut); r.Error == nil || r.Packets == 0 {
		t.Errorf("of a damaged capture: %+v", r)
	}
}
