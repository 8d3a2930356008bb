// Package compile turns a policy, the addresses behind its names and the facts
// of the host into the table that the kernel should hold, and says where each
// of its addresses comes from.
//
// It is pure, and the only place that knows the order of the rules: allow,
// block, ban, default. Reading policies, asking DNS and looking at the host are
// others' work.
package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Name is a name of the policy that stands for addresses.
type Name struct {
	Host string
	// Registrar asks for NAPTR and SRV beside A and AAAA.
	Registrar bool
}

// Address is an address that a name led to.
type Address struct {
	netip.Addr
	Via string // the chain of records, as in ruleset.Origin
}

// Names returns the names of the policy, each once, sorted by owner and in the
// order of the file. They are what Addresses needs as keys.
func Names(p *policy.Policy) []Name {
	var names []Name
	add := func(n Name) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, provider := range p.Providers {
		for _, r := range provider.Registrars {
			if r.Host != "" {
				add(Name{r.Host, true})
			}
		}
	}
	for _, host := range p.Trusted.Hosts {
		add(Name{host, false})
	}
	return names
}

// State compiles the policy. Names that addresses lacks have no address. Both
// results are in canonical form: the same inputs, in any order, give equal
// ones.
func State(p *policy.Policy, addresses map[Name][]Address, host ruleset.Host) (*ruleset.State, ruleset.Origins) {
	origins := origins(p, addresses, host)
	t := table{policy: p, host: host}
	return &ruleset.State{
		Exists:   true,
		Counters: Counters(),
		Sets:     t.sets(origins),
		Chains:   t.chains(origins),
	}, origins
}

// Engine is what recognises scanners with this policy on this host: bpf or off.
func Engine(p *policy.Policy, host ruleset.Host) policy.Engine {
	if p.Signatures.Engine != policy.EngineOff && host.Engine == string(policy.EngineBPF) {
		return policy.EngineBPF
	}
	return policy.EngineOff
}

// Counters are the named counters, sorted. All exist in every table, so that
// whoever reads them need not know the policy.
func Counters() []string {
	return []string{
		"allowed_provider", "allowed_reply", "allowed_trusted", "allowed_unknown",
		"dropped_banned", "dropped_blocked", "dropped_signature", "dropped_spoofed", "dropped_unknown", "dropped_user_agent",
	}
}

// origins lists every prefix of every address set with its reason.
func origins(p *policy.Policy, addresses map[Name][]Address, host ruleset.Host) ruleset.Origins {
	o := ruleset.Origins{Sets: map[string][]ruleset.Origin{}}
	add := func(set string, prefix netip.Prefix, owner, name, via string) {
		prefix = ruleset.Canonical(prefix)
		set += suffix(prefix.Addr())
		o.Sets[set] = append(o.Sets[set], ruleset.Origin{Prefix: prefix, Owner: owner, Name: name, Via: via})
	}
	addName := func(set, owner string, n Name) {
		for _, a := range addresses[n] {
			add(set, single(a.Addr), owner, n.Host, a.Via)
		}
	}
	for _, provider := range p.Providers {
		o.Providers = append(o.Providers, provider.Name)
		for _, a := range provider.Addresses {
			add("providers", a.Prefix, provider.Name, "", a.From)
		}
		for _, r := range provider.Registrars {
			if r.Address.IsValid() {
				add("providers", single(r.Address), provider.Name, "", "registrars")
			} else {
				addName("providers", provider.Name, Name{r.Host, true})
			}
		}
	}
	for _, a := range p.Trusted.Addresses {
		add("trusted", a, "trusted", "", "addresses")
	}
	for _, a := range p.Trusted.Asymmetric {
		add("asymmetric", a, "trusted", "", "asymmetric")
	}
	for _, h := range p.Trusted.Hosts {
		addName("trusted", "trusted", Name{h, false})
	}
	for _, a := range p.Bans.Addresses {
		add("blocked", a, "bans", "", "addresses")
	}
	protect := func(a netip.Addr, owner, name string) {
		if !a.IsLoopback() { // which never comes in by a fenced interface
			add("protected", single(a), owner, name, "")
		}
	}
	for _, link := range host.Interfaces {
		for _, a := range link.Addresses {
			protect(a.Addr(), "own address", link.Name)
		}
	}
	for _, a := range host.NameServers {
		protect(a, "name server", "")
	}
	for _, s := range p.DNS.Servers {
		protect(s.Addr(), "name server", "")
	}
	for _, a := range host.Gateways {
		protect(a, "gateway", "")
	}
	for set, list := range o.Sets {
		slices.SortStableFunc(list, compareOrigins)
		o.Sets[set] = slices.Compact(list) // two registrars may have one host
	}
	return o
}

func compareOrigins(a, b ruleset.Origin) int {
	if c := a.Prefix.Compare(b.Prefix); c != 0 {
		return c
	}
	return strings.Compare(a.String(), b.String())
}

func single(a netip.Addr) netip.Prefix {
	a = a.WithZone("").Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

func suffix(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}
