package policy_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/policy"
)

// storable has a value for each kind of thing that a policy holds.
const storable = `version: 1
mode: monitor
interfaces: [eth0, ppp*]
ports: {udp: [5060], tcp: []}
providers:
  - {preset: acme, addresses: [203.0.113.5/24, "2001:db8::1"], dns: [10.0.0.53, "[2001:db8::53]:5353"]}
  - {name: beta, registrars: [sip.beta.example, 192.0.2.7]}
trusted: {hosts: [office.example.org], addresses: [192.168.0.0/16, "fe80::/10"], asymmetric: [10.9.0.0/16], interfaces: [lan0]}
unknown: {action: register, rate: 5/min, require_user_agent: [Yealink]}
signatures: {deny: [{name: bad-dialer, header: user-agent, contains: BadDialer}]}
bans: {addresses: [198.51.100.0/24], duration: 2h}
events: {keep: 2d}
`

// TestStored: what is stored of a policy is read as the same policy, and what is cut off is
// not read as another one.
func TestStored(t *testing.T) {
	offered := full()
	offered.Presets = policy.PresetMap{"acme": {
		Registrars: []string{"sip.acme.example"}, Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15")},
		List: &policy.List{URL: "https://acme.example/list", Format: "lines"},
	}}
	for name, text := range map[string]string{"everything": storable, "little": "version: 1\n", "empty lists": "version: 1\nproviders: []\nbans: {addresses: []}\n"} {
		t.Run(name, func(t *testing.T) {
			p, err := policy.Parse("policy.yaml", strings.NewReader(text), offered)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := p.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			var read policy.Policy
			if err := read.UnmarshalBinary(stored); err != nil || !reflect.DeepEqual(*p, read) {
				t.Fatalf("%v: got %+v, want %+v", err, read, *p)
			}
			for n := range stored {
				if err := new(policy.Policy).UnmarshalBinary(stored[:n]); err == nil {
					t.Fatalf("%d bytes of %d are read", n, len(stored))
				}
			}
		})
	}
}
