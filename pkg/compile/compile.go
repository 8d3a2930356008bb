// Package compile turns a policy, the addresses of its names and the facts of the host
// into the table that the kernel should hold, and says where each of its addresses
// comes from.
//
// It is pure, and the only place that defines the order of the rules: allow, block,
// ban, default. It neither reads policies nor asks DNS nor looks at the host.
package compile

import (
	"maps"
	"net/netip"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Name is a name in the policy that stands for addresses.
type Name struct {
	Host string
	// Registrar says to look up NAPTR and SRV besides A and AAAA.
	Registrar bool
}

// Address is an address that a name led to.
type Address struct {
	netip.Addr
	Via string // the chain of records, as in ruleset.Origin
}

// Names returns the names of the policy, each once, sorted by owner and then in the
// order of the file. They are the keys for the map of addresses.
func Names(p *policy.Policy) []Name {
	var names []Name
	listed := map[Name]bool{}
	add := func(n Name) {
		if !listed[n] {
			listed[n] = true
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

// Known are the addresses that a policy does not list itself.
type Known struct {
	Names map[Name][]Address
	// Lists are those of published lists, by their URLs.
	Lists map[string][]policy.Address
}

// State compiles the policy. Names that are not in addresses have no address. Both
// results are in canonical form: the same inputs, in any order, give equal results.
func State(p *policy.Policy, addresses map[Name][]Address, host ruleset.Host) (*ruleset.State, ruleset.Origins) {
	return StateWith(p, ListedIn(p), Known{Names: addresses}, host)
}

// StateWith compiles a policy of which the addresses have been compiled.
func StateWith(p *policy.Policy, listed *Listed, known Known, host ruleset.Host) (*ruleset.State, ruleset.Origins) {
	origins := OriginsWith(p, listed, known, host)
	t := table{policy: p, host: host}
	sets := t.sets(listed, origins)
	chains := t.chains(sets)
	maps.Copy(sets, dropSets(chains))
	maps.Copy(sets, t.peerSets(chains, sets))
	return &ruleset.State{Exists: true, Counters: Counters(), Sets: sets, Chains: chains, Base: listed.Base()}, origins
}

// OriginsWith says where the addresses of that state come from.
func OriginsWith(p *policy.Policy, listed *Listed, known Known, host ruleset.Host) ruleset.Origins {
	origins := origins(p, known, host)
	origins.Listed = listed
	return origins
}

// Engine returns what recognises scanners with this policy on this host: bpf, string or
// off.
func Engine(p *policy.Policy, host ruleset.Host) policy.Engine {
	if p.Signatures.Engine == policy.EngineString {
		return policy.EngineString
	}
	if p.Signatures.Engine != policy.EngineOff && host.Engine == string(policy.EngineBPF) {
		return policy.EngineBPF
	}
	return policy.EngineOff
}

// Counters returns the named counters, sorted. Every table has all of them, so that
// readers need not know the policy.
func Counters() []string {
	return []string{
		"allowed_by_hand", "allowed_provider", "allowed_registered", "allowed_reply", "allowed_scanner", "allowed_trusted", "allowed_unknown",
		"dropped_banned", "dropped_blocked", "dropped_method", "dropped_rate", "dropped_signature", "dropped_spoofed", "dropped_unknown", "dropped_user_agent",
		"unread", "unseen",
	}
}
