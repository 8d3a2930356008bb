package cli_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// droppedSource is one of those that dropped prints.
type droppedSource struct {
	Address, Reason, Text     string
	Method, Called, Signature string
	UserAgent                 string `json:"user_agent"`
	Port                      uint16
	Packets                   uint64
	First                     *time.Time
	Last                      time.Time
}

// dropped are those that dropped prints, by address.
func (s *site) dropped(t *testing.T, args ...string) map[string]droppedSource {
	t.Helper()
	var list []droppedSource
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, append([]string{"dropped", "-o", "json"}, args...)...).stdout), &list))
	found := map[string]droppedSource{}
	for _, d := range list {
		found[d.Address] = d
	}
	return found
}

// TestDroppedWithoutDaemon: a remote phone, a server that the provider has not listed and a
// scanner are named with what they have sent, in monitor mode too, over every back end; and
// nothing that happens to the rules makes that forgotten.
func TestDroppedWithoutDaemon(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		for _, mode := range []string{"enforce", "monitor"} {
			t.Run(mode, func(t *testing.T) { testDropped(t, mode) })
		}
	})
}

func testDropped(t *testing.T, mode string) {
	w := newWorld(t)
	phone, phone4, _ := w.stranger(t, 1)
	server, _, server6 := w.stranger(t, 2)
	scanner, scanner4, _ := w.stranger(t, 3)
	pbx := listen(t, w.pbx, 5060, pbx4, pbx6)
	s := newSite(t, w.pbx, staticPolicy+"mode: "+mode+"\n")
	s.must(t, 0, "apply")
	if out := s.must(t, 0, "dropped").stdout; !strings.HasPrefix(out, "Nobody w") {
		t.Errorf("before anything was sent, dropped says %q", out)
	}
	began := time.Now().Add(-2 * time.Second) // ipset keeps whole seconds
	for range 3 {
		ask(t, phone, phone4, pbx4, "REGISTER", "Yealink SIP-T46S")
	}
	ask(t, server, server6, pbx6, "INVITE", "acme edge 2")
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	ask(t, w.provider, edge1, pbx4, "OPTIONS", "acme")
	until(t, "all three are dropped", func() bool { return len(s.dropped(t)) == 3 && s.dropped(t)[phone4].Packets == 3 })
	until(t, "the provider is heard", func() bool { return pbx.From(edge1) > 0 })

	found := s.dropped(t)
	if found[phone4].Packets != 3 || found[server6].Packets != 1 || found[scanner4].Packets == 0 {
		t.Errorf("dropped says %+v", found)
	}
	for _, d := range found {
		reason, text := "unknown", "unknown: never allowed"
		if d.Address == scanner4 {
			reason, text = "signature", "it sent what a scanner sends"
		}
		if d.Reason != reason || d.Text != text {
			t.Errorf("%s was dropped for %q, %q", d.Address, d.Reason, d.Text)
		}
		if d.Last.Before(began) || d.Last.After(time.Now()) || d.First != nil && d.First.After(d.Last) {
			t.Errorf("the last packet of %s came at %s, the first one at %v", d.Address, d.Last, d.First)
		}
	}
	if heard := pbx.From(phone4, server6, scanner4); (heard > 0) != (mode == "monitor") {
		t.Errorf("in mode %s, %d packets of strangers are heard", mode, heard)
	}
	for _, command := range []string{"dropped", "status"} {
		out := s.must(t, 0, command).stdout
		if !strings.Contains(out, phone4) || strings.Contains(out, "would be dropped") != (mode == "monitor") {
			t.Errorf("in mode %s, %s says\n%s", mode, command, out)
		}
	}
	if out := s.must(t, 0, "dropped").stdout; !strings.Contains(out, "  3 packets  last ") {
		t.Errorf("dropped says\n%s", out)
	}
	s.keepsDropped(t, mode, server6)
}

// keepsDropped changes the rules: who was dropped stays known.
func (s *site) keepsDropped(t *testing.T, mode, server6 string) {
	t.Helper()
	before := s.dropped(t)
	same := func(after string) {
		t.Helper()
		now := s.dropped(t)
		if !slices.Equal(slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(before))) {
			t.Fatalf("after %s, dropped has %v, before %v", after, now, before)
		}
		for a, d := range now {
			if d.Packets < before[a].Packets || d.Last.Before(before[a].Last.Add(-2*time.Second)) {
				t.Errorf("after %s, dropped says %+v of %s, before %+v", after, d, a, before[a])
			}
		}
	}
	s.write(t, staticPolicy+"mode: "+mode+"\nunknown: {action: accept, allow_replies: true}\n")
	s.must(t, 0, "apply")
	same("an apply")
	s.must(t, 0, "rollback")
	same("a rollback")
	s.must(t, 0, "refresh")
	same("a refresh")

	// Who was a provider's yesterday.
	s.write(t, staticPolicy+"mode: "+mode+"\ntrusted: {addresses: ['"+server6+"']}\n")
	s.must(t, 0, "apply")
	if d := s.dropped(t)[server6]; !strings.HasPrefix(d.Text, "unknown: never allowed; it is allowed now: trusted") {
		t.Errorf("of an address that is allowed now, dropped says %q", d.Text)
	}
	s.write(t, staticPolicy+"mode: "+mode+"\n")
	s.must(t, 0, "apply")
	if d := s.dropped(t)[server6]; !strings.HasPrefix(d.Text, "was allowed until ") || !strings.HasSuffix(d.Text, " as trusted") {
		t.Errorf("of an address that was allowed before, dropped says %q", d.Text)
	}
	if diff := s.must(t, 0, "diff", "--full"); diff.stdout != "No changes.\n" {
		t.Errorf("diff says\n%s", diff.stdout)
	}
}

// TestDroppedInAFlood: more forged sources than can be kept hide nobody who came before
// them, and let nothing through.
func TestDroppedInAFlood(t *testing.T) {
	const room = 65535
	eachBackend(t, func(t *testing.T) {
		w := newWorld(t)
		scanner, scanner4, _ := w.stranger(t, 1)
		flooder, _, _ := w.stranger(t, 2)
		sink := sinkOf(t, w.pbx, pbx4)
		s := newSite(t, w.pbx, staticPolicy)
		s.must(t, 0, "apply")
		ask(t, scanner, scanner4, pbx4, "REGISTER", "a scanner")
		until(t, "the scanner is dropped", func() bool { return s.dropped(t)[scanner4].Packets == 1 })
		forged := max(million(), room+5000)
		labtest.Must(t, labtest.Forge(flooder, pbx4+":5060", lab.Message("INVITE", "192.0.2.66", pbx4, "x"), forged, anybody))
		ask(t, scanner, scanner4, pbx4, "INVITE", "a scanner")
		until(t, "the scanner is dropped again", func() bool { return s.dropped(t)[scanner4].Packets == 2 })
		// ipset divides a set into regions, and each may hold a few more than its share.
		// nftables leaves out some while it makes the table of the set larger.
		if n := len(s.dropped(t)); n < room/2 || n > room+room/50 {
			t.Errorf("after %d forged sources, %d are kept, want about %d", forged, n, room)
		}
		if n := s.status(t).Counters["dropped_unknown"]; n < uint64(forged) {
			t.Errorf("of %d forged packets, %d are dropped", forged, n)
		}
		w.call(t, sink, 100)
		if n := sink.Received('I') + sink.Received('R'); n != 0 {
			t.Errorf("%d packets of strangers arrived", n)
		}
	})
}
