package cli_test

import (
	"encoding/json"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// statusParts are parts of what status prints.
type statusParts struct {
	Allowed  []struct{ Address, Why string }
	Counters map[string]uint64
	Alarms   []struct {
		Name, Text string
		WayOut     string `json:"way_out"`
	}
}

func (s *site) status(t *testing.T) (parts statusParts) {
	t.Helper()
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &parts))
	return parts
}

// TestAllowByHand: an address that somebody allows gets in at once, for as long as he
// says and until he ends it, whatever happens to the rules meanwhile; nobody else does.
func TestAllowByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	phone, phone4, phone6 := w.stranger(t, 1)
	other, other4, _ := w.stranger(t, 2)
	pbx := listen(t, w.pbx, 5060, pbx4, pbx6)
	s := newSite(t, w.pbx, staticPolicy)
	s.must(t, 0, "apply")

	// verdict sends a packet and returns the counter of the rule that has judged it.
	verdict := func(from *lab.Namespace, address, to string) (by string) {
		t.Helper()
		before, heard := s.status(t).Counters, pbx.From(address)
		ask(t, from, address, to, "OPTIONS", "a phone")
		until(t, "the packet of "+address+" is judged", func() bool {
			for name, n := range s.status(t).Counters {
				if n > before[name] {
					by = name
				}
			}
			return by != ""
		})
		if by == "allowed_by_hand" {
			until(t, "the packet of "+address+" is heard", func() bool { return pbx.From(address) > heard })
		} else if pbx.From(address) > heard {
			t.Errorf("a packet of %s that was %s is heard", address, by)
		}
		return by
	}
	passes := func(after string) {
		t.Helper()
		for address, to := range map[string]string{phone4: pbx4, phone6: pbx6} {
			if by := verdict(phone, address, to); by != "allowed_by_hand" {
				t.Errorf("after %s, %s is judged by %s", after, address, by)
			}
		}
		if by := verdict(other, other4, pbx4); by != "dropped_unknown" {
			t.Errorf("after %s, somebody else is judged by %s", after, by)
		}
		if diff := s.must(t, 0, "diff"); diff.stdout != "No changes.\n" {
			t.Errorf("after %s, diff says %s", after, diff.stdout)
		}
	}

	if by := verdict(phone, phone4, pbx4); by != "dropped_unknown" {
		t.Fatalf("a stranger is judged by %s", by)
	}
	s.must(t, 0, "allow", phone4)
	s.must(t, 0, "allow", phone6, "--for", "30m")
	passes("allow")
	s.must(t, 0, "refresh")
	passes("refresh")
	s.write(t, staticPolicy+"bans: {size: 100}\nports: {udp: [5060], tcp: [5060]}\n")
	s.must(t, 0, "apply")
	passes("apply")
	s.must(t, 0, "rollback")
	s.write(t, staticPolicy)
	passes("rollback")
	labtest.Run(t, w.pbx, "nft", "flush", "ruleset")
	s.must(t, 0, "refresh")
	passes("flush and refresh")
	s.must(t, 0, "down")
	s.must(t, 0, "up")
	passes("down and up")
	labtest.Run(t, w.pbx, "nft", "add table inet ringfence { flags dormant; }")
	s.must(t, 0, "refresh")
	passes("a table made dormant, and refresh")
	labtest.Run(t, w.pbx, "nft", "flush", "set", "inet", "ringfence", "allowed4")
	s.must(t, 0, "refresh")
	passes("a set flushed, and refresh")

	// A network of this side does not come from outside.
	labtest.Run(t, w.pbx, "ip", "link", "add", "lan", "type", "bridge")
	labtest.Must(t, w.pbx.AddAddress("lan", "192.168.77.1/24"))
	labtest.Run(t, w.pbx, "ip", "link", "set", "lan", "up")
	labtest.Must(t, phone.AddAddress("lo", "192.168.77.7/32"))
	s.must(t, 0, "refresh")
	s.must(t, 0, "allow", "192.168.77.7")
	if by := verdict(phone, "192.168.77.7", pbx4); by != "dropped_spoofed" {
		t.Errorf("a forged packet from the LAN is judged by %s", by)
	}
	s.must(t, 0, "disallow", "192.168.77.7")

	// What ends, ends at once, also while there is no table to take it out of.
	s.must(t, 0, "disallow", phone4)
	if by := verdict(phone, phone4, pbx4); by != "dropped_unknown" {
		t.Errorf("after disallow the packet is judged by %s", by)
	}
	s.must(t, 0, "down")
	s.must(t, 0, "disallow", phone6)
	s.must(t, 0, "up")
	if by := verdict(phone, phone6, pbx6); by != "dropped_unknown" {
		t.Errorf("after disallow without a table the packet is judged by %s", by)
	}
	s.must(t, 0, "allow", phone4, "--for", "1s")
	until(t, "the second is over", func() bool { return len(s.status(t).Allowed) == 0 })
	s.must(t, 0, "refresh")
	if by := verdict(phone, phone4, pbx4); by != "dropped_unknown" {
		t.Errorf("after its time the packet is judged by %s", by)
	}
}

// TestAllowTheBanned: an address that is banned gets in while it is allowed by hand, and is banned
// again after that.
func TestAllowTheBanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	phone, phone4, _ := w.stranger(t, 1)
	pbx := listen(t, w.pbx, 5060, pbx4)
	s := newSite(t, w.pbx, staticPolicy+"unknown: {action: accept}\n")
	s.must(t, 0, "apply")
	grows := func(counter string) {
		t.Helper()
		before := s.status(t).Counters[counter]
		ask(t, phone, phone4, pbx4, "OPTIONS", "a phone")
		until(t, counter+" counts the packet", func() bool { return s.status(t).Counters[counter] > before })
	}
	s.must(t, 0, "ban", phone4)
	grows("dropped_banned")
	if n := pbx.From(phone4); n != 0 {
		t.Errorf("%d packets of a banned phone are heard", n)
	}
	s.must(t, 0, "allow", phone4)
	grows("allowed_by_hand")
	until(t, "the phone is heard", func() bool { return pbx.From(phone4) == 1 })
	s.must(t, 0, "disallow", phone4)
	grows("dropped_banned")
}
