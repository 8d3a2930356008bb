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
// a reader need not know the policy.
func Counters() []string {
	return []string{
		"allowed_provider", "allowed_reply", "allowed_scanner", "allowed_trusted", "allowed_unknown",
		"dropped_banned", "dropped_blocked", "dropped_signature", "dropped_spoofed", "dropped_unknown", "dropped_user_agent",
		"unread", "unseen",
	}
}
