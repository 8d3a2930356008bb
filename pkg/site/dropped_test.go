package site_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// TestWhyDropped: the reason for which a source was dropped, where no packet of it was
// read.
func TestWhyDropped(t *testing.T) {
	const policy = `providers: [{name: acme, registrars: [sip.acme.example], addresses: [203.0.113.0/24]}]
trusted: {addresses: [192.168.0.0/16, 198.51.100.4]}
bans: {addresses: [198.51.100.7]}
`
	addr := netip.MustParseAddr
	memory := resolve.Memory{Names: []resolve.Known{{
		Name: "sip.acme.example", Registrar: true,
		Rejected: []resolve.Rejected{{Address: addr("198.51.100.20"), Why: "no reason"}}, Quarantined: []resolve.QuarantinedAddress{{Address: addr("198.51.100.21")}},
	}}}
	for _, test := range []struct {
		policy       string
		is           site.Stranger
		reason, text string
	}{
		{"", site.Stranger{Address: addr("198.51.100.1")}, "unknown", "unknown: never allowed"},
		{"", site.Stranger{Address: addr("2001:db8::1")}, "unknown", "unknown: never allowed"},
		{
			"",
			site.Stranger{Address: addr("198.51.100.1"), Allowed: &site.Former{As: "acme", Until: time.Date(2026, 11, 3, 14, 2, 0, 0, time.Local)}},
			"unknown", "was allowed until 3 Nov 14:02 as acme",
		},
		{"", site.Stranger{Address: addr("198.51.100.20")}, "unknown", "unknown: sip.acme.example has this address, but no reason"},
		{"", site.Stranger{Address: addr("198.51.100.21")}, "unknown", "unknown: sip.acme.example has this address, which waits for a second answer that has it"},
		{"", site.Stranger{Address: addr("203.0.113.9")}, "unknown", "unknown: never allowed; it is allowed now: acme: addresses"},
		{"", site.Stranger{Address: addr("198.51.100.1"), ByHand: true}, "unknown", "unknown: never allowed; it is allowed now: by hand"},
		{"", site.Stranger{Address: addr("192.168.1.1")}, "spoofed", "forged: a packet with this address came in where no answer to it leaves"},
		{"", site.Stranger{Address: addr("198.51.100.7")}, "blocked", "banned permanently by the policy: bans.addresses"},
		{"", site.Stranger{Address: addr("198.51.100.1"), Banned: true}, "unknown", "unknown: never allowed"}, // nothing but the default drops it
		{"unknown: {action: accept}", site.Stranger{Address: addr("198.51.100.1"), Banned: true}, "banned", "banned: it sent what a scanner sends, or failed to log in too often"},
		{"unknown: {action: register}", site.Stranger{Address: addr("198.51.100.1"), Banned: true}, "banned", "banned: it sent what a scanner sends, or failed to log in too often"},
		{"unknown: {action: accept}\nguessing: {failures: 0}", site.Stranger{Address: addr("198.51.100.1"), Banned: true}, "banned", "banned: it sent what a scanner sends"},
		{"unknown: {action: accept}", site.Stranger{Address: addr("198.51.100.1"), Banned: true, BannedBy: "by admin"}, "banned", "banned by admin"},
		{"unknown: {action: accept}", site.Stranger{Address: addr("198.51.100.1")}, "signature", "it sent what a scanner sends"},
		{"unknown: {action: accept}", site.Stranger{Address: addr("fd00::1")}, "spoofed", "forged: a packet with this address came in where no answer to it leaves"},
		{"unknown: {action: accept, require_user_agent: [Yealink]}", site.Stranger{Address: addr("198.51.100.1")}, "user_agent", "its User-Agent is none of unknown.require_user_agent"},
		{"", site.Stranger{Address: addr("198.51.100.1"), Reason: "signature", Signature: "sipvicious"}, "signature", "it sent what a scanner sends: sipvicious"},
		{"", site.Stranger{Address: addr("198.51.100.1"), Reason: "rate"}, "rate", "it registers more often than unknown.rate allows"},
		{"", site.Stranger{Address: addr("198.51.100.1"), Reason: "method"}, "method", "unknown sources may only register"},
		{"", site.Stranger{Address: addr("198.51.100.1"), Reason: "what_comes_later"}, "what_comes_later", "what comes later"},
	} {
		s := newSite(t, policy+test.policy, ruleset.Host{})
		s.Memory = memory
		reason, text := s.WhyDropped(s.Judged(), test.is)
		if reason != test.reason || text != test.text {
			t.Errorf("%q, %+v: %q, %q, want %q, %q", test.policy, test.is, reason, text, test.reason, test.text)
		}
	}
}
