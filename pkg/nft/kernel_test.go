package nft_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestSecondPlanIsEmpty also loads the listing of nft, and our own text, as
// another program would: both must be the same table again.
func TestSecondPlanIsEmpty(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := compiled(t, everything)
	if p := apply(t, h, want); p.Empty() {
		t.Fatal("the first apply did nothing")
	}
	if p := difference(t, h, want); !p.Empty() {
		t.Fatalf("the second plan is not empty: %+v", p.Changes)
	}
	for name, text := range map[string]string{"nft's listing": list(t, h), "our text": want.String()} {
		labtest.Run(t, h, "nft", "delete", "table", "inet", "ringfence")
		labtest.Rules(t, h, text)
		if p := difference(t, h, want); !p.Empty() {
			t.Errorf("after loading %s the plan is not empty: %+v", name, p.Changes)
		}
	}
	if p := apply(t, h, &ruleset.State{}); p.Empty() {
		t.Error("taking down did nothing")
	}
	if out := labtest.Run(t, h, "nft", "list", "ruleset"); out != "" {
		t.Errorf("after taking down there is left:\n%s", out)
	}
}

// TestVRF: the rules of a host with a VRF are the same when they are read again.
func TestVRF(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := compiledFor(t, "", ruleset.Host{Engine: "bpf", Interfaces: []ruleset.Interface{{Name: "eth0", VRF: "red"}, {Name: "red", Kind: "vrf"}}})
	apply(t, h, want)
	if p := difference(t, h, want); !p.Empty() || !strings.Contains(list(t, h), `iifname "red" return`) {
		t.Errorf("the second plan is %+v, the table\n%s", p.Changes, list(t, h))
	}
}

func TestStalePlan(t *testing.T) {
	h := labtest.Host(t, "pbx")
	p := difference(t, h, compiled(t, everything))
	labtest.Rules(t, h, "add table inet other")
	err := h.Do(func() error { return new(nft.Kernel).Commit(t.Context(), p) })
	if !errors.Is(err, plan.ErrStale) {
		t.Errorf("a stale plan gave %v", err)
	}
	if out := labtest.Run(t, h, "nft", "list", "tables"); strings.Contains(out, "ringfence") {
		t.Error("a stale plan was done")
	}
}

// TestFailedPlan: one step that the kernel refuses voids all.
func TestFailedPlan(t *testing.T) {
	h := labtest.Host(t, "pbx")
	apply(t, h, compiled(t, everything))
	before := list(t, h)
	p := difference(t, h, compiled(t, everything+"dns: {servers: [192.0.2.53]}\n"))
	// The plan believes that there is one address more to delete than there is.
	blocked := p.Have.Sets["blocked4"]
	blocked.Elements = append(blocked.Elements, ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix("203.0.113.9/32")})...)
	p.Have.Sets["blocked4"] = blocked
	err := h.Do(func() error { return new(nft.Kernel).Commit(t.Context(), p) })
	if err == nil || !strings.Contains(err.Error(), "NFT_MSG_DELSETELEM") {
		t.Errorf("got %v, want an error that names the message", err)
	}
	if diff := cmp.Diff(before, list(t, h)); diff != "" {
		t.Errorf("a failed plan changed the table: %s", diff)
	}
}

// TestFailedNewTable: a table is made in two transactions, and if the kernel refuses
// the second nothing is left of the first.
func TestFailedNewTable(t *testing.T) {
	h := labtest.Host(t, "pbx")
	p := difference(t, h, compiled(t, everything))
	if n := nft.Transactions(p); n != 2 {
		t.Fatalf("a new table takes %d transactions, want 2", n)
	}
	hooked := p.Want.Chains["prerouting"]
	hooked.Rules = append(hooked.Rules, ruleset.NewRule(ruleset.Verdict{Kind: ruleset.Jump, Chain: "nowhere"}))
	p.Want.Chains["prerouting"] = hooked
	err := h.Do(func() error { return new(nft.Kernel).Commit(t.Context(), p) })
	if err == nil || !strings.Contains(err.Error(), "NFT_MSG_NEWRULE") {
		t.Errorf("got %v, want an error that names the message", err)
	}
	if tables := labtest.Run(t, h, "nft", "list", "tables"); tables != "" {
		t.Errorf("a failed plan left %s", tables)
	}
}

// TestCutShort: a run that ended between the two transactions of a new table has left
// one without hooks. The next run sees what is missing, and adds it.
func TestCutShort(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := compiled(t, everything)
	p := difference(t, h, want)
	labtest.In(t, h, func() error { return new(nft.Kernel).CommitFirst(t.Context(), p) })
	if rules := list(t, h); strings.Contains(rules, "hook") {
		t.Errorf("the first transaction has made a hook:\n%s", rules)
	}
	if p = difference(t, h, want); p.Empty() {
		t.Error("nothing is found missing")
	}
	apply(t, h, want)
	if p := difference(t, h, want); !p.Empty() {
		t.Errorf("after another run there is left to do: %v", p.Changes)
	}
}

// TestBansSurvive: a set that is made again keeps what it held, and for how long.
func TestBansSurvive(t *testing.T) {
	h := labtest.Host(t, "pbx")
	apply(t, h, compiled(t, "unknown: {action: accept}"))
	labtest.Rules(t, h, "add element inet ringfence banned4 { 198.51.100.1 timeout 1h, 198.51.100.2 timeout 1h expires 10m }\n"+
		"add element inet ringfence banned6 { 2001:db8::1 timeout 1h }")
	apply(t, h, compiled(t, "unknown: {action: accept}\nbans: {size: 1000}"))
	for _, test := range []struct {
		set  string
		left map[string]time.Duration
	}{
		{"banned4", map[string]time.Duration{"198.51.100.1": time.Hour, "198.51.100.2": 10 * time.Minute}},
		{"banned6", map[string]time.Duration{"2001:db8::1": time.Hour}},
	} {
		out := labtest.Run(t, h, "nft", "list", "set", "inet", "ringfence", test.set)
		if !strings.Contains(out, "size 1000") {
			t.Errorf("the size has not changed:\n%s", out)
		}
		for address, left := range test.left {
			// Both are what was left when the set was made again, rounded by nft to
			// milliseconds.
			found := regexp.MustCompile(address + ` timeout (\S+) expires ([^\s,]+)`).FindStringSubmatch(out)
			if found == nil {
				t.Errorf("the ban of %s is gone:\n%s", address, out)
				continue
			}
			for _, text := range found[1:] {
				if got, err := time.ParseDuration(text); err != nil || got > left || got < left*9/10 {
					t.Errorf("%s is banned for %s, want what is left of %s:\n%s", address, text, left, out)
				}
			}
		}
	}
}

// TestBansByHand bans, bans again, lists and unbans; what is known of the kernel
// stays known, and the fence is the same for every plan.
func TestBansByHand(t *testing.T) {
	h, cookies := labtest.Host(t, "pbx"), haveCookies(t)
	k := &nft.Kernel{}
	addr := netip.MustParseAddr
	do := func(f func() error) {
		t.Helper()
		labtest.In(t, h, f)
	}
	ban := func(address string, left time.Duration, comment string) error {
		var err error
		do(func() error {
			err = k.Ban(t.Context(), nft.Banned{Address: addr(address), Left: left, Comment: comment})
			return nil
		})
		return err
	}
	if err := ban("198.51.100.1", time.Hour, ""); !errors.Is(err, nft.ErrNoFence) {
		t.Errorf("a ban without a fence is %v", err)
	}
	want := compiled(t, "unknown: {action: accept}\nbans: {size: 3}")
	apply(t, h, want)
	do(func() error {
		s, err := k.Observe(t.Context())
		if err == nil && cookies {
			k.Known, err = nft.Here(s.GenID, s)
		}
		return err
	})
	for _, b := range []struct {
		address, comment string
		left             time.Duration
	}{
		{"198.51.100.2", "by admin", time.Hour},
		{"198.51.100.1", "", time.Minute},
		{"2001:db8::1", "by admin", 48 * time.Hour},
		{"198.51.100.2", "by root", 10 * time.Hour},
	} {
		labtest.Must(t, ban(b.address, b.left, b.comment))
	}
	labtest.Rules(t, h, "add element inet ringfence banned4 { 198.51.100.3 timeout 5m }")
	var bans []nft.Banned
	do(func() (err error) { bans, err = k.Bans(t.Context()); return err })
	var got []string
	for _, b := range bans {
		got = append(got, fmt.Sprintf("%s %s %s", b.Address, b.Left.Round(time.Minute), b.Comment))
	}
	if diff := cmp.Diff([]string{"198.51.100.1 1m0s ", "198.51.100.2 10h0m0s by root", "198.51.100.3 5m0s ", "2001:db8::1 48h0m0s by admin"}, got); diff != "" {
		t.Error(diff)
	}
	if out := list(t, h); !regexp.MustCompile(`198\.51\.100\.2 timeout 10h expires (10h|9h59m)`).MatchString(out) || !strings.Contains(out, `comment "by root"`) {
		t.Errorf("nft lists the ban as\n%s", out)
	}
	if err := ban("198.51.100.4", time.Hour, ""); !errors.Is(err, nft.ErrFull) {
		t.Errorf("a ban too many is %v", err)
	}
	if p := difference(t, h, want); !p.Empty() {
		t.Errorf("a ban is a difference: %+v", p.Changes)
	}
	for address, want := range map[string]bool{"198.51.100.1": true, "2001:db8::1": true, "198.51.100.9": false} {
		var was bool
		do(func() (err error) { was, err = k.Unban(t.Context(), addr(address)); return err })
		if was != want {
			t.Errorf("%s was banned: %t, want %t", address, was, want)
		}
	}
	labtest.Must(t, ban("198.51.100.4", time.Hour, ""))
	// A set that is made again keeps who has banned whom.
	apply(t, h, compiled(t, "unknown: {action: accept}\nbans: {size: 4}"))
	if out := list(t, h); !strings.Contains(out, `comment "by root"`) {
		t.Errorf("after another size\n%s", out)
	}
}

func TestCounters(t *testing.T) {
	h := labtest.Host(t, "pbx")
	read := func() map[string]uint64 {
		var c map[string]uint64
		labtest.In(t, h, func() (err error) { c, err = new(nft.Kernel).Counters(t.Context()); return err })
		return c
	}
	if c := read(); len(c) != 0 {
		t.Errorf("without a table there are counters: %v", c)
	}
	labtest.Rules(t, h, "table inet ringfence {\ncounter dropped_unknown { packets 7 bytes 100 }\ncounter allowed_provider { }\nquota q { 1 mbytes }\n}")
	if diff := cmp.Diff(map[string]uint64{"dropped_unknown": 7, "allowed_provider": 0}, read()); diff != "" {
		t.Error(diff)
	}
}

// TestReadDuringChanges: counters and bans are read whole while rules change all the time.
func TestReadDuringChanges(t *testing.T) {
	h := labtest.Host(t, "pbx")
	const many = 2000
	var rules strings.Builder
	rules.WriteString("table inet ringfence {\nset banned4 { type ipv4_addr; flags timeout, dynamic; timeout 1h; size 65535; elements = { ")
	for n := range many {
		fmt.Fprintf(&rules, "198.51.%d.%d, ", 1+n/250, 1+n%250)
	}
	rules.WriteString("} }\n")
	for n := range many {
		fmt.Fprintf(&rules, "counter c%d { }\n", n)
	}
	labtest.Rules(t, h, rules.String()+"}")
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for range labtest.Count(50, 1000) {
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader("table inet other { }\ndelete table inet other\n")
			if err := h.Start(cmd); err != nil || cmd.Wait() != nil {
				t.Errorf("change other rules: %v", err)
				return
			}
		}
	}()
	for reading := true; reading; {
		select {
		case <-changed:
			reading = false
		default:
		}
		labtest.In(t, h, func() error {
			counters, err := new(nft.Kernel).Counters(t.Context())
			bans, bansErr := new(nft.Kernel).Bans(t.Context())
			if err := errors.Join(err, bansErr); err != nil || len(counters) != many || len(bans) != many {
				return fmt.Errorf("%d counters and %d bans: %w", len(counters), len(bans), err)
			}
			return nil
		})
	}
}

// TestRemovedAddressIsForgotten: with allow_replies, a connection that this
// host opened must not keep a removed provider allowed.
func TestRemovedAddressIsForgotten(t *testing.T) {
	pbx, provider := labtest.Host(t, "pbx"), labtest.Host(t, "provider")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth0", Addresses: []string{"192.0.2.10/24"}},
		lab.End{Host: provider, Interface: "eth0", Addresses: []string{"192.0.2.1/24"}})
	with := compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.1]}]\nunknown: {allow_replies: true}")
	without := compiled(t, "interfaces: [eth0]\nproviders: [{name: a, addresses: [192.0.2.99]}]\nunknown: {allow_replies: true}")
	apply(t, pbx, with)

	var phone, registrar *net.UDPConn
	labtest.In(t, pbx, func() (err error) {
		phone, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.10:5060")))
		return err
	})
	labtest.In(t, provider, func() (err error) {
		registrar, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:5060")))
		return err
	})
	defer phone.Close()
	defer registrar.Close()
	ask := func(text string) { send(t, phone, "192.0.2.1:5060", text) }
	answer := func(text string) { send(t, registrar, "192.0.2.10:5060", text) }

	ask("REGISTER")
	if got := receive(t, registrar); got != "REGISTER" {
		t.Fatalf("the registrar got %q", got)
	}
	apply(t, pbx, without)
	// The answer comes too late: the address was removed while the connection
	// was open.
	answer("200 OK")
	// A reply that passes afterwards shows that the first one would have been
	// here by now.
	ask("REGISTER again")
	if got := receive(t, registrar); got != "REGISTER again" {
		t.Fatalf("the registrar got %q", got)
	}
	answer("200 OK again")
	if got := receive(t, phone); got != "200 OK again" {
		t.Errorf("the phone got %q: the connection of a removed address was not forgotten", got)
	}
}

func send(t *testing.T, from *net.UDPConn, to, text string) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte(text), netip.MustParseAddrPort(to)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, at *net.UDPConn) string {
	t.Helper()
	at.SetReadDeadline(labtest.Deadline())
	buf := make([]byte, 2000)
	n, err := at.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
