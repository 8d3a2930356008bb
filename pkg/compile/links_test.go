package compile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// links are interfaces, each written as name, kind and parent.
func links(texts ...string) (h ruleset.Host) {
	for _, text := range texts {
		f := append(strings.Fields(text), "")
		h.Interfaces = append(h.Interfaces, ruleset.Interface{Name: f[0], Kind: f[1], Parent: f[2]})
	}
	return h
}

// TestFollowed: packets that another interface takes off the wire of a listed one are
// judged too, over any number of interfaces.
func TestFollowed(t *testing.T) {
	host := links("lo device", "eth0 device", "eth0.7 vlan eth0", "vrrp.1 macvlan eth0", "vrrp.2 macvlan eth0.7", "ipv macsec vrrp.2",
		"eth1 device", "eth1.7 vlan eth1", "vm0 macvtap eth0", "loop1 vlan loop2", "loop2 vlan loop1", "orphan macvlan gone")
	for _, test := range []struct {
		policy string
		want   []string
	}{
		{"interfaces: [eth0]", []string{"eth0", "eth0.7", "ipv", "vrrp.1", "vrrp.2"}},
		{"interfaces: ['eth0*']", []string{"eth0", "eth0.7", "ipv", "vrrp.1", "vrrp.2"}},
		{"interfaces: [eth0.7]", []string{"eth0.7", "ipv", "vrrp.2"}},
		{"interfaces: [eth0]\ntrusted: {interfaces: [eth0.7]}", []string{"eth0", "ipv", "vrrp.1", "vrrp.2"}},
		{"interfaces: [eth1, gone]", []string{"eth1", "eth1.7", "orphan"}},
		{"interfaces: ['ppp*']", nil},
	} {
		p := parse(t, test.policy)
		if got := compile.Fenced(p, host); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q are fenced, want %q", test.policy, got, test.want)
		}
		s, _ := compile.State(p, nil, host)
		for _, name := range test.want {
			if text := rules(s.Chains["fence"]); !p.Fences(name) && !strings.Contains(text, "iifname \""+name+"\" goto sip") {
				t.Errorf("%s: %s is not judged:\n%s", test.policy, name, text)
			}
		}
	}
}

// TestUnseenOnBridges: with br_netfilter what is read on the ports of a bridge comes in by
// the bridge.
func TestUnseenOnBridges(t *testing.T) {
	host := links("br0 bridge", "eth0 device", "tap0 tun", "eth1 device")
	host.Interfaces[1].Master, host.Interfaces[2].Master = "br0", "br0"
	host.Engine, host.Classified = "bpf", []string{"eth0", "eth1", "tap0"}
	for filtered, want := range map[bool]string{
		true:  "iifname \"br0\" counter name \"unseen\"\niifname \"eth1\" counter name \"unseen\"",
		false: "iifname \"eth0\" counter name \"unseen\"\niifname \"eth1\" counter name \"unseen\"\niifname \"tap0\" counter name \"unseen\"",
	} {
		host.BridgeFilter = filtered
		s, _ := compile.State(parse(t, ""), nil, host)
		if got := rules(s.Chains["unseen"]); got != want {
			t.Errorf("br_netfilter %t: got\n%swant\n%s", filtered, got, want)
		}
	}
}

// TestVRF: what comes in by an interface in a VRF is judged once, also if the policy means
// the VRF only.
func TestVRF(t *testing.T) {
	host := links("eth0 device", "eth1 device", "red vrf")
	host.Interfaces[0].VRF = "red"
	for policy, want := range map[string]struct {
		fenced []string
		judged bool // before it comes in by the VRF
	}{
		"":                   {[]string{"eth0", "eth1", "red"}, true},
		"interfaces: [eth0]": {[]string{"eth0"}, false},
		"interfaces: [red]":  {[]string{"eth0", "red"}, true},
		"interfaces: [eth1]": {[]string{"eth1"}, false},
	} {
		p := parse(t, policy)
		if got := compile.Fenced(p, host); !slices.Equal(got, want.fenced) {
			t.Errorf("%q: fenced are %q, want %q", policy, got, want.fenced)
		}
		s, _ := compile.State(p, nil, host)
		if judged := strings.HasPrefix(rules(s.Chains["prerouting"]), otherPorts+`meta l4proto . th dport @ports iifname "red" return`); judged != want.judged {
			t.Errorf("%q: judged before: %t\n%s", policy, judged, rules(s.Chains["prerouting"]))
		}
	}
}

// TestTranslation: what is translated to a fenced port is judged behind that, and a rule
// about connections is only where something translates.
func TestTranslation(t *testing.T) {
	for _, host := range []ruleset.Host{{}, {Forwards: true}, {Translates: true}} {
		s, _ := compile.State(parse(t, ""), nil, host)
		if _, judged := s.Chains["after_dnat"]; judged != (host.Forwards || host.Translates) {
			t.Errorf("forwards %t, translates %t: judged behind the translation: %t", host.Forwards, host.Translates, judged)
		}
	}
}

// TestTrustedInterfaces: what comes in by them is let in before anything else is looked
// at, for both families, and behind nothing but answers.
func TestTrustedInterfaces(t *testing.T) {
	s, _ := compile.State(parse(t, "trusted: {interfaces: [lan0, 'wg*']}\nunknown: {allow_replies: true}\nbans: {addresses: [198.51.100.1]}"), nil, ruleset.Host{})
	want := `ct direction reply counter name "allowed_reply" accept
iifname "lan0" counter name "allowed_trusted" accept
iifname "wg*" counter name "allowed_trusted" accept
meta nfproto ipv6 goto sip6
`
	if got := rules(s.Chains["sip"]); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant it to begin with\n%s", got, want)
	}
}
