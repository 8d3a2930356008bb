package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Sources that no router of the internet forwards. A packet from one of them is forged
// if an answer would not leave by the interface that it came in by. sharedSpace is for
// the networks of providers (RFC 6598); overlays use it too.
var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
	private4    = prefixes("10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
	private6    = prefixes("fc00::/7", "fe80::/10")
)

func prefixes(texts ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		parsed[i] = netip.MustParsePrefix(t)
	}
	return parsed
}

// table compiles the parts of one table.
type table struct {
	policy *policy.Policy
	host   ruleset.Host
}

func (t table) sets(o ruleset.Origins) map[string]ruleset.Set {
	sets := map[string]ruleset.Set{
		// The flag timeout allows to give the ports a lifetime.
		"ports_udp": {Key: ruleset.Port, Timeout: true, Elements: ruleset.Ports(t.policy.Ports.UDP)},
		"ports_tcp": {Key: ruleset.Port, Timeout: true, Elements: ruleset.Ports(t.policy.Ports.TCP)},
	}
	for suffix, key := range map[string]ruleset.Key{"4": ruleset.IPv4, "6": ruleset.IPv6} {
		names := []string{"providers", "trusted", "blocked", "protected"}
		if len(t.policy.Trusted.Asymmetric) > 0 {
			names = append(names, "asymmetric")
		}
		for _, name := range names {
			var list []netip.Prefix
			for _, origin := range o.Sets[name+suffix] {
				list = append(list, origin.Prefix)
			}
			sets[name+suffix] = addressSet(key, list)
		}
		sets["banned"+suffix] = ruleset.Set{Key: key, Timeout: true, Dynamic: true, Size: t.policy.Bans.Size}
	}
	return sets
}

// addressSet makes a set for ranges only if there are any. Without ranges, single
// addresses are found faster, and adding or removing one costs the same in a set of any
// size (rhashtable). It has no auto-merge: the kernel refuses to delete one element
// from a merged one.
func addressSet(key ruleset.Key, list []netip.Prefix) ruleset.Set {
	ranges := slices.ContainsFunc(list, func(p netip.Prefix) bool { return !ruleset.Canonical(p).IsSingleIP() })
	return ruleset.Set{Key: key, Interval: ranges, Elements: ruleset.Addresses(list)}
}

func (t table) chains(o ruleset.Origins) map[string]ruleset.Chain {
	chains := map[string]ruleset.Chain{
		"prerouting":   t.prerouting(),
		"fence":        {Rules: append(toPorts(), t.toNoL4Header()...)},
		"no_l4_header": {Rules: t.noL4Header()},
		"pass":         {Rules: []ruleset.Rule{t.pass()}},
	}
	t.judge(chains, o)
	if exceptions := t.spoofExceptions(); len(exceptions) > 0 {
		chains["spoofed"] = ruleset.Chain{Rules: append(exceptions, ruleset.NewRule(ruleset.Count("dropped_spoofed"), t.verdict("dropped_spoofed")))}
	}
	if t.host.Forwards {
		// A fenced port may be reached by way of one that is not fenced: the
		// destination is translated after prerouting has checked the port.
		chains["after_dnat"] = ruleset.Chain{Stage: ruleset.BeforeFilter, Rules: t.entries("translated")}
		chains["translated"] = ruleset.Chain{Rules: toPorts(ruleset.Translated, ruleset.Original)}
	}
	return chains
}

func (t table) prerouting() ruleset.Chain {
	stage := ruleset.BeforeTracking
	if t.policy.Unknown.AllowReplies {
		stage = ruleset.AfterTracking
	}
	rules := t.entries("fence")
	if t.classifies() {
		// Packets that return from the fence without a verdict, or did not go there,
		// must not keep the classifier's mark.
		rules = append(rules, ruleset.NewRule(ruleset.Mark{Class: ruleset.Unclassified, Not: true}, ruleset.ClearMark{}))
	}
	return ruleset.Chain{Stage: stage, Rules: rules}
}

// classifies reports whether packets are marked before the rules see them.
func (t table) classifies() bool { return Engine(t.policy, t.host) == policy.EngineBPF }

// pass lets a packet continue to other tables.
func (t table) pass() ruleset.Rule {
	if t.classifies() {
		return ruleset.NewRule(ruleset.ClearMark{}, accept)
	}
	return ruleset.NewRule(accept)
}

// entries lead packets that come in by a fenced interface to a chain.
func (t table) entries(chain string) []ruleset.Rule {
	enter := ruleset.Verdict{Kind: ruleset.Jump, Chain: chain}
	if len(t.policy.Interfaces) == 0 {
		return []ruleset.Rule{ruleset.NewRule(ruleset.InInterface{Name: "lo", Not: true}, enter)}
	}
	var rules []ruleset.Rule
	for _, name := range t.policy.Interfaces {
		rules = append(rules, ruleset.NewRule(ruleset.InInterface{Name: name}, enter))
	}
	return rules
}

// toNoL4Header leads the first fragments of IPv6 packets to a check whether their port
// can be seen. Linux reassembles packets whose transport header begins in the second
// fragment; none of their fragments has a port that rules can match. RFC 7112 section 5
// lets every host discard them.
func (t table) toNoL4Header() []ruleset.Rule {
	return []ruleset.Rule{ruleset.NewRule(ruleset.FirstFragment{}, ruleset.Verdict{Kind: ruleset.Jump, Chain: "no_l4_header"})}
}

// noL4Header drops packets without a transport header. No rule can match these
// directly, so packets with one return first.
func (t table) noL4Header() []ruleset.Rule {
	return []ruleset.Rule{
		ruleset.NewRule(ruleset.HasTransport{}, ruleset.Verdict{Kind: ruleset.Return}),
		ruleset.NewRule(ruleset.Count("dropped_unknown"), t.verdict("dropped_unknown")),
	}
}

// verdict returns what happens to a packet that a counter counts.
func (t table) verdict(counter string) ruleset.Verdict {
	if strings.HasPrefix(counter, "dropped_") && !t.policy.Monitor {
		return ruleset.Verdict{Kind: ruleset.Drop}
	}
	return ruleset.Verdict{Kind: ruleset.Goto, Chain: "pass"}
}

// toPorts leads packets to the fenced ports to chain sip. Raw SCTP, DCCP and UDP-Lite
// carry SIP as well, and their ports are where TCP has them.
func toPorts(first ...ruleset.Statement) []ruleset.Rule {
	to := ruleset.Verdict{Kind: ruleset.Goto, Chain: "sip"}
	rule := func(match ...ruleset.Statement) ruleset.Rule {
		return ruleset.NewRule(slices.Concat(first, match, []ruleset.Statement{to})...)
	}
	return []ruleset.Rule{
		rule(ruleset.DestinationPort{Protocol: ruleset.UDP, Set: "ports_udp"}),
		rule(ruleset.Protocols{ruleset.TCP, ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite},
			ruleset.DestinationPort{Protocol: ruleset.AnyTransport, Set: "ports_tcp"}),
	}
}

var accept = ruleset.Verdict{Kind: ruleset.Accept}
