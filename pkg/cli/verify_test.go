package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// verified is what verify says.
type verified struct {
	OK, Signatures   bool
	Without          string
	Tried, Addresses int
	Packets          []struct{ Who, Source, Interface, Protocol, Kind, Result, Policy, Reason string }
	NotCopied        []string `json:"not_copied"`
}

func (s *site) verify(t *testing.T, status int) (v verified) {
	t.Helper()
	o := s.must(t, status, "verify", "-o", "json")
	labtest.Must(t, json.Unmarshal([]byte(o.stdout), &v))
	if v.OK != (status == 0) {
		t.Errorf("exit status %d, and ok is %t", status, v.OK)
	}
	return v
}

// results are what becomes of a kind of packet from an address, each once.
func (v verified) results(source, protocol, kind string) string {
	found := map[string]bool{}
	var all []string
	for _, p := range v.Packets {
		if p.Source == source && p.Protocol == protocol && p.Kind == kind && !found[p.Result] {
			found[p.Result] = true
			all = append(all, p.Result)
		}
	}
	return strings.Join(all, " ")
}

const verifyPolicy = `version: 1
interfaces: [eth0]
providers: [{name: acme, addresses: [203.0.113.5, 198.51.100.128/26, "2001:db8:113::5"]}]
trusted: {addresses: [192.168.1.0/24]}
bans: {addresses: [192.0.2.77]}
`

// TestVerify: packets through a copy of the rules pass as the policy says, in every back
// end; what another program has changed is found, and the host itself is left alone.
func TestVerify(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		w := newWorld(t)
		s := newSite(t, w.pbx, verifyPolicy)
		s.must(t, 1, "verify")
		s.must(t, 0, "apply")
		s.must(t, 0, "allow", "192.0.2.9")
		before, links := dump(t, w.pbx), labtest.Run(t, w.pbx, "ip", "address")
		v := s.verify(t, 0)
		for _, test := range []struct{ source, protocol, kind, want string }{
			{"203.0.113.5", "udp", "call", "pass"},
			{"203.0.113.5", "tcp", "connection", "pass"},
			{"203.0.113.5", "udp", "scan", "pass"},
			{"198.51.100.129", "udp", "call", "pass"},
			{"2001:db8:113::5", "udp", "call", "pass"},
			{"2001:db8:113::5", "tcp", "connection", "pass"},
			{"192.168.1.1", "udp", "call", "pass"},
			{"192.0.2.9", "udp", "call", "pass"},
			{"192.0.2.77", "udp", "call", "drop"},
			{"192.0.2.77", "tcp", "connection", "drop"},
			{"192.0.2.66", "udp", "call", "drop"},
			{"192.0.2.66", "tcp", "connection", "drop"},
			{"2001:db8:2::66", "udp", "call", "drop"},
			{"2001:db8:2::66", "tcp", "connection", "drop"},
		} {
			if test.kind == "scan" && !v.Signatures {
				test.want = ""
			}
			if got := v.results(test.source, test.protocol, test.kind); got != test.want {
				t.Errorf("%s, %s, %s: %q, want %q", test.source, test.protocol, test.kind, got, test.want)
			}
		}
		if dump(t, w.pbx) != before || labtest.Run(t, w.pbx, "ip", "address") != links {
			t.Error("the host is not as it was before")
		}
		if out := s.must(t, 0, "verify").stdout; !strings.Contains(out, "All is as the policy says.") {
			t.Errorf("verify says\n%s", out)
		}

		// The policy in force lets nobody in who is not listed, and everybody passes.
		s.write(t, verifyPolicy+"mode: monitor\n")
		s.must(t, 0, "apply")
		if v := s.verify(t, 0); v.results("192.0.2.66", "udp", "call") != "pass" {
			t.Error("in monitor mode a stranger does not pass")
		}
	})
}

// TestVerifyFindsChanges: a rule, an address and a set that another program has changed
// are found.
func TestVerifyFindsChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := newSite(t, w.pbx, verifyPolicy)
	for change, says := range map[string]string{
		"delete element inet ringfence providers4 { 203.0.113.5 }":    "drop, and should pass (provider)",
		"add element inet ringfence trusted4 { 192.0.2.66/32 }":       "pass, and should drop (unknown)",
		"insert rule inet ringfence sip accept":                       "pass, and should drop (unknown)",
		"flush set inet ringfence ports":                              "pass, and should drop (unknown)",
		"insert rule inet ringfence sip ip saddr 192.0.2.66 accept":   "pass, and should drop (unknown)",
		"insert rule inet ringfence prerouting udp dport 5060 accept": "Another program's",
	} {
		s.must(t, 0, "apply")
		labtest.Rules(t, w.pbx, change)
		if o := s.must(t, 4, "verify"); !strings.Contains(o.stdout, says) || strings.Contains(o.stdout, "All is as") {
			t.Errorf("after %q, verify says\n%s", change, o.stdout)
		}
		s.must(t, 0, "refresh")
		s.verify(t, 0)
	}
}

// TestVerifyPolicies: each policy is found to be in force, with what it fences and lets in.
func TestVerifyPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lan := labtest.Host(t, "lan")
	labtest.Link(t, lab.End{Host: w.pbx, Interface: "lan0", Addresses: []string{"192.168.7.1/24", "fd00:7::1/64"}}, lab.End{Host: lan, Interface: "eth0"})
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("203.0.%d.%d", 113+i/250, 1+i%250))
	}
	s := newSite(t, w.pbx, "")
	for name, test := range map[string]struct {
		policy            string
		source, kind, got string // what becomes of a packet
		check             func(v verified) bool
	}{
		"accept":                {"unknown: {action: accept}\n", "198.51.100.66", "scan", "drop", func(v verified) bool { return v.Signatures }},
		"a required User-Agent": {"unknown: {action: accept, require_user_agent: [Yealink]}\n", "192.0.2.66", "call", "pass", nil},
		"register":              {"unknown: {action: register}\n", "192.0.2.66", "registration", "pass", nil},
		"without signatures": {
			"signatures: {engine: off}\n", "192.0.2.66", "call", "drop",
			func(v verified) bool { return !v.Signatures && v.Without == "signatures.engine is off" },
		},
		"replies": {"unknown: {allow_replies: true}\n", "192.0.2.66", "call", "drop", nil},
		"a trusted interface": {
			"trusted: {interfaces: [lan0], addresses: [192.168.7.0/24, 'fd00:7::/64']}\n", "192.168.7.1", "call", "", nil,
		},
		"many": {
			"providers: [{name: acme, addresses: [" + strings.Join(many, ", ") + "]}]\n", "203.0.113.1", "call", "pass",
			func(v verified) bool { return v.Tried == 50 && v.Addresses == 300 },
		},
		"one port": {"ports: {udp: [], tcp: [5060]}\n", "192.0.2.66", "call", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.write(t, "version: 1\n"+test.policy)
			s.must(t, 0, "down")
			s.must(t, 0, "apply")
			v := s.verify(t, 0)
			if got := v.results(test.source, "udp", test.kind); got != test.got || test.check != nil && !test.check(v) {
				t.Errorf("%s, %s: %q, want %q; %+v", test.source, test.kind, got, test.got, v)
			}
		})
	}
}
