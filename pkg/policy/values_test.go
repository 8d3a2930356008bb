package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/policy"
)

func TestParseValues(t *testing.T) {
	for _, test := range []struct {
		name, text string
		check      func(p *policy.Policy) any
		want       any
	}{
		{"port with leading zero", "ports: {udp: [05060], tcp: []}", func(p *policy.Policy) any { return p.Ports }, policy.Ports{UDP: []uint16{5060}}},
		{"quoted port", `ports: {udp: ["5070"]}`, func(p *policy.Policy) any { return p.Ports.UDP }, []uint16{5070}},
		{"host bits are cleared", "trusted: {addresses: [192.168.1.10/24]}", allowed, "192.168.1.0/24"},
		{"IPv4 written as IPv6", `trusted: {addresses: ["::ffff:192.0.2.1"]}`, allowed, "192.0.2.1/32"},
		{"IPv4 prefix written as IPv6", `trusted: {addresses: ["::ffff:192.0.2.0/120"]}`, allowed, "192.0.2.0/24"},
		{"link-local may be trusted", `trusted: {addresses: ["fe80::/10"]}`, allowed, "fe80::/10"},
		{"the shortest prefixes", `trusted: {addresses: [10.0.0.0/8, "2001:db00::/24"]}`, allowed, "10.0.0.0/8 2001:db00::/24"},
		{"literal registrar", "providers: [{name: a, registrars: [\"sip:203.0.113.9:5060\", \"[2001:db8::9]:5061\"]}]", allowed, "203.0.113.9/32 2001:db8::9/128"},
		{
			"SIP URI", "providers: [{name: a, registrars: [\"sip:me@SIP.Example.NET.:5070;transport=TCP;lr\"]}]",
			func(p *policy.Policy) any { return p.Providers[0].Registrars[0] },
			policy.Registrar{Text: "sip:me@SIP.Example.NET.:5070;transport=TCP;lr", Host: "sip.example.net"},
		},
		{
			"host and port", "providers: [{name: a, registrars: [\"sip.example.net:5070\"]}]",
			func(p *policy.Policy) any { return p.Providers[0].Registrars[0] },
			policy.Registrar{Text: "sip.example.net:5070", Host: "sip.example.net"},
		},
		{"name with umlaut", "trusted: {hosts: [büro.example]}", func(p *policy.Policy) any { return p.Trusted.Hosts }, []string{"xn--bro-hoa.example"}},
		{"name with underscore", "trusted: {hosts: [_sip._udp.example]}", func(p *policy.Policy) any { return p.Trusted.Hosts }, []string{"_sip._udp.example"}},
		{
			"name servers", `dns: {servers: [192.0.2.53, "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"]}`,
			func(p *policy.Policy) any { return p.DNS.Servers },
			[]netip.AddrPort{
				netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.53:5353"),
				netip.MustParseAddrPort("[2001:db8::53]:53"), netip.MustParseAddrPort("[2001:db8::53]:5353"),
			},
		},
		{"keys without values", "ports:\nproviders:\ninterfaces:\ndns:\n", func(p *policy.Policy) any { return p.Ports.TCP }, []uint16{5060, 5061}},
		{
			"preset with a value", "providers: [{preset: twilio, with: {trunk: My-Company1}}, {preset: twilio, name: other, with: {trunk: \"7\"}, registrars: [edge.example]}]",
			func(p *policy.Policy) any {
				var hosts []string
				for _, provider := range p.Providers {
					for _, r := range provider.Registrars {
						hosts = append(hosts, provider.Name+" "+r.Host)
					}
				}
				return hosts
			},
			[]string{"twilio my-company1.pstn.twilio.com", "other 7.pstn.twilio.com", "other edge.example"},
		},
		{"never ban", "bans: {duration: 0s}", func(p *policy.Policy) any { return p.Bans.Duration }, time.Duration(0)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := parse("version: 1\n" + test.text + "\n")
			if err != nil {
				t.Fatal(err)
			}
			options := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
			if diff := cmp.Diff(test.want, test.check(p), options); diff != "" {
				t.Error(diff)
			}
		})
	}
}
