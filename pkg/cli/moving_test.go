package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// rezone changes a zone of a running named, and waits until it says so.
func rezone(t *testing.T, w *world, named *exec.Cmd, zone, content, serial string) {
	t.Helper()
	path := filepath.Join(filepath.Dir(named.Args[len(named.Args)-1]), zone)
	labtest.Must(t, os.WriteFile(path, []byte(strings.Replace(content, "hostmaster 1", "hostmaster "+serial, 1)), 0o644))
	// named looks at the file's time in seconds.
	labtest.Must(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	labtest.Must(t, named.Process.Signal(syscall.SIGHUP))
	until(t, "named has read "+zone, func() bool {
		out, _ := labtest.TryInput(t, w.pbx, "", "dig", "+short", "@"+nameServer, zone, "SOA")
		return strings.Contains(out, " "+serial+" ")
	})
}

// seen is what status says of the addresses of the first provider.
type seen struct {
	Address string
	Missing string `json:"missing_since"`
}

func (s *site) seen(t *testing.T) (all []seen, failures int) {
	t.Helper()
	var report struct {
		Providers []struct{ Addresses []seen }
		Refresh   struct{ Failures []any }
	}
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &report))
	return report.Providers[0].Addresses, len(report.Refresh.Failures)
}

// TestRunFollowsRealZones: the service follows a real name server whose zones
// change, and goes by what it knows when there is none.
func TestRunFollowsRealZones(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	s := newSite(t, w.pbx, pbxPolicy+"  refresh: {min: 1s, max: 1s}\n  hold: 1s\n")
	s.must(t, 0, "apply")
	r := serve(t, s)
	allows := func(addresses ...string) func() bool {
		slices.Sort(addresses)
		return func() bool { return slices.Equal(s.allowed(t), addresses) }
	}
	holds := func(what string, f func() bool) {
		t.Helper()
		r.until(t, what, f)
	}

	// The registrar fails over to a standby site, and the old one is gone after hold.
	moved := strings.Replace(zoneNet, "edge A "+edge1, "edge A 198.51.100.77", 1)
	rezone(t, w, server, "net.example", moved, "2")
	holds("the standby site is in", func() bool { return slices.Contains(s.allowed(t), "198.51.100.77") })
	holds("the old site is out", allows("198.51.100.77", edge2, edge6))

	// A type of record is dropped: its addresses are missing, and stay for days.
	dropped := strings.Replace(moved, "edge AAAA "+edge6+"\n", "", 1)
	rezone(t, w, server, "net.example", dropped, "3")
	missing := func(address string) func() bool {
		return func() bool {
			all, failures := s.seen(t)
			return failures == 0 && slices.ContainsFunc(all, func(a seen) bool { return a.Address == address && a.Missing != "" })
		}
	}
	holds("the AAAA address is missing", missing(edge6))

	// So is a service, and its target.
	rezone(t, w, server, "acme.example", strings.Replace(zoneAcme, "_sip._tcp.sip SRV 20 50 5060 edge2.net.example.\n", "", 1), "2")
	holds("a target that SRV does not name any more is out", allows("198.51.100.77", edge6))

	// The name server dies, and comes back.
	kill(t, server)
	holds("failures are told", func() bool { _, failures := s.seen(t); return failures > 0 })
	holds("and told to systemd", func() bool { return strings.Contains(r.status(), " failures") })
	if !allows("198.51.100.77", edge6)() {
		t.Errorf("without a name server: %v", s.allowed(t))
	}
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": moved})
	// The service comes back to it within half a minute; a user who does not want to
	// wait refreshes, and both go on from there.
	s.must(t, 0, "refresh")
	holds("all is well again", func() bool {
		all, failures := s.seen(t)
		return failures == 0 && len(all) == 3 && allows("198.51.100.77", edge2, edge6)() && !strings.Contains(r.status(), "failure")
	})
	r.end(t)
	if got := s.allowed(t); len(got) != 3 {
		t.Errorf("after the end: %v", got)
	}
}
