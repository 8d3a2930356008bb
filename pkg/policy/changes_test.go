package policy_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/policy"
)

func TestChanges(t *testing.T) {
	parse := func(text string) *policy.Policy {
		t.Helper()
		p, err := policy.Parse("policy.yaml", strings.NewReader(text), policy.Available{SignatureLists: []string{"scanners"}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const acme = "version: 1\nproviders: [{name: acme, registrars: [sip.acme.example], addresses: [203.0.113.0/24]}]\n"
	for _, test := range []struct {
		name, then, now string
		want            []string
	}{
		{"only a comment", acme, acme + "# a comment\n", nil},
		{"what is the default anyway", acme, acme + "mode: enforce\n", nil},
		{"mode and action", acme + "mode: monitor\n", acme + "unknown: {action: accept}\n", []string{"mode: monitor -> enforce", "unknown.action: drop -> accept"}},
		{
			"lists", acme + "interfaces: [eth0]\n", acme + "interfaces: [eth0, ppp*]\nports: {udp: [5060], tcp: [5060, 5061]}\n",
			[]string{"interfaces: [eth0] -> [eth0, ppp*]", "ports.udp: [5060, 5061] -> [5060]"},
		},
		{"times", acme, acme + "bans: {duration: 2d}\ndns: {hold: 90m}\n", []string{"bans.duration: 1h -> 48h", "dns.hold: 24h -> 1h30m"}},
		{
			"providers", acme, "version: 1\nproviders: [{name: beta, addresses: [192.0.2.1]}, {name: acme, registrars: [new.acme.example], addresses: [203.0.113.0/24]}]\n",
			[]string{"providers: beta added", "providers: acme registrars: [sip.acme.example] -> [new.acme.example]"},
		},
		{
			"a provider leaves", acme + "bans: {addresses: [198.51.100.0/24]}\n", "version: 1\nproviders: [{name: beta, addresses: [192.0.2.1]}]\nbans: {addresses: [198.51.100.0/24]}\n",
			[]string{"providers: acme removed", "providers: beta added"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, policy.Changes(parse(test.then), parse(test.now))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestChangesOfLongLists: of a long list only what has come and gone is written, and not
// all of that.
func TestChangesOfLongLists(t *testing.T) {
	list := func(from, to int) (prefixes []netip.Prefix) {
		for i := from; i < to; i++ {
			prefixes = append(prefixes, netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i)))
		}
		return prefixes
	}
	then, now := &policy.Policy{}, &policy.Policy{}
	then.Trusted.Addresses, now.Trusted.Addresses = list(0, 20), list(1, 21)
	then.Bans.Addresses, now.Bans.Addresses = nil, list(0, 100)
	want := []string{
		"trusted.addresses: added 10.0.20.0/24; removed 10.0.0.0/24",
		"bans.addresses: added 10.0.0.0/24, 10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24, 10.0.4.0/24, 10.0.5.0/24, 10.0.6.0/24, 10.0.7.0/24, and 92 more",
	}
	if diff := cmp.Diff(want, policy.Changes(then, now)); diff != "" {
		t.Error(diff)
	}
}

// TestEveryChangeIsSeen: no part of a policy can change without a line.
func TestEveryChangeIsSeen(t *testing.T) {
	var visit func(t *testing.T, path string, at func(*policy.Policy) reflect.Value)
	visit = func(t *testing.T, path string, at func(*policy.Policy) reflect.Value) {
		v := at(&policy.Policy{})
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				if name := v.Type().Field(i).Name; name == "Doubts" || name == "Texts" {
					continue // what Parse has noted, and what the lists of signatures hold, is no part of what a policy says
				}
				visit(t, path+"."+v.Type().Field(i).Name, func(p *policy.Policy) reflect.Value { return at(p).Field(i) })
			}
			return
		}
		now := &policy.Policy{}
		change(t, path, at(now))
		if len(policy.Changes(&policy.Policy{}, now)) == 0 {
			t.Errorf("a change of %s is not seen", path)
		}
	}
	visit(t, "policy", func(p *policy.Policy) reflect.Value { return reflect.ValueOf(p).Elem() })
}

// change sets a value to another one than its zero.
func change(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch value := v.Addr().Interface().(type) {
	case *[]netip.Prefix:
		*value = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	case *[]netip.AddrPort:
		*value = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}
	case *time.Duration:
		*value = time.Minute
	default:
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.String:
			v.SetString("other")
		case reflect.Uint32:
			v.SetUint(7)
		case reflect.Int:
			v.SetInt(7)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		default:
			t.Fatalf("%s is a %s, which this test cannot change", path, v.Type())
		}
	}
}
