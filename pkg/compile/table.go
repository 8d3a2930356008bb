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

func (t table) sets(listed *Listed, o ruleset.Origins) map[string]ruleset.Set {
	sets := map[string]ruleset.Set{
		// The flag timeout is there so that a lifetime can be put on the ports.
		"ports": {Key: ruleset.Service, Timeout: true, Elements: t.services()},
	}
	for suffix, key := range map[string]ruleset.Key{"4": ruleset.IPv4, "6": ruleset.IPv6} {
		names := []string{"providers", "trusted", "blocked", "protected"}
		if len(t.policy.Trusted.Asymmetric) > 0 {
			names = append(names, "asymmetric")
		}
		for _, name := range names {
			elements, ranges := listed.with(name+suffix, o.Sets[name+suffix])
			sets[name+suffix] = addressSet(key, elements, ranges)
		}
		sets["allowed"+suffix] = ruleset.Set{Key: key, Timeout: true, Dynamic: true, Size: mostByHand}
		sets["banned"+suffix] = ruleset.Set{Key: key, Timeout: true, Dynamic: true, Size: t.policy.Bans.Size}
	}
	return sets
}

// mostByHand is how many addresses of a family can be allowed by hand at once.
const mostByHand = 65535

// addressSet is a set that holds ranges only where there are any. Single addresses are
// found faster without, and one that comes or goes costs the same in a set of any size.
// It has no auto-merge: the kernel refuses to delete one element out of a merged one.
func addressSet(key ruleset.Key, elements []ruleset.Element, ranges bool) ruleset.Set {
	s := ruleset.Set{Key: key, Interval: ranges, Elements: elements}
	s.Size = s.Room()
	return s
}

func (t table) chains(sets map[string]ruleset.Set) map[string]ruleset.Chain {
	chains := map[string]ruleset.Chain{}
	t.noL4Header(chains)
	if t.classifies() {
		chains["pass"] = ruleset.Chain{Rules: []ruleset.Rule{ruleset.NewRule(t.clearMark(), accept)}}
		// An allowed source may send what scanners send. It passes, and somebody should look
		// at it: a router that masquerades gives its own address to every scanner.
		allowed := []ruleset.Rule{ruleset.NewRule(t.mark(ruleset.Scanner), ruleset.Count("allowed_scanner"))}
		if !t.policy.Unknown.Admits() {
			allowed = append(allowed, t.unread())
		}
		chains["allowed"] = ruleset.Chain{Rules: append(allowed, ruleset.NewRule(t.clearMark(), accept))}
		if len(t.host.Classified) > 0 {
			chains["unseen"] = ruleset.Chain{Rules: t.unseen(ruleset.Count("unseen"))}
		}
	}
	interfaces := t.fenced()
	if len(interfaces) > 1 {
		var rules []ruleset.Rule
		for _, in := range interfaces {
			rules = append(rules, ruleset.NewRule(in, ruleset.Verdict{Kind: ruleset.Goto, Chain: "sip"}))
		}
		chains["fence"] = ruleset.Chain{Rules: rules}
	}
	chains["prerouting"] = t.prerouting(interfaces)
	t.judge(chains, sets)
	if t.listens() {
		t.answers(chains)
	}
	if !leadTo(chains, "allowed") {
		delete(chains, "allowed")
	}
	if t.host.Forwards || t.host.Translates {
		// A fenced port behind one that is not fenced: the translation of the
		// destination happens after prerouting has looked at the port. Elsewhere a rule
		// about connections would switch connection tracking on.
		chains["after_dnat"] = ruleset.Chain{Stage: ruleset.BeforeFilter, Rules: t.afterDNAT(interfaces)}
	}
	return chains
}

// leadTo reports whether a rule leads to a chain.
func leadTo(chains map[string]ruleset.Chain, name string) bool {
	for _, c := range chains {
		for _, r := range c.Rules {
			statements := r.Statements()
			if v, ok := statements[len(statements)-1].(ruleset.Verdict); ok && v.Chain == name {
				return true
			}
		}
	}
	return false
}

func (t table) prerouting(interfaces []ruleset.InInterface) ruleset.Chain {
	stage := ruleset.BeforeTracking
	if t.policy.Unknown.AllowReplies {
		stage = ruleset.AfterTracking
	}
	rules := t.otherPorts(false)
	for _, name := range judgedBefore(t.policy, t.host) {
		rules = append(rules, ruleset.NewRule(ruleset.Destination{Set: "ports"}, ruleset.InInterface{Name: name}, ruleset.Verdict{Kind: ruleset.Return}))
	}
	rules = append(rules,
		toSIP(interfaces),
		// Linux puts packets together again whose transport header begins in the second
		// fragment, and none of their fragments has a port then. RFC 7112 section 5 lets
		// every host discard them.
		ruleset.NewRule(ruleset.FirstFragment{}, ruleset.Verdict{Kind: ruleset.Jump, Chain: "no_l4_header"}),
	)
	if t.classifies() {
		// What comes back without a verdict, and what found no port in the set because its
		// lifetime is over, leaves without what the classifier has noted on it. On packets
		// to other ports the classifier notes nothing: their marks are of other programs.
		marked := t.mark(ruleset.Unclassified)
		marked.Not = true
		rules = append(rules, ruleset.NewRule(marked, ruleset.Destination{In: t.services()}, t.clearMark()))
	}
	return ruleset.Chain{Stage: stage, Rules: rules}
}

// otherPorts lets most of the packets to other ports, or from them, pass before anything
// else is asked. The rule has no set, of which a change makes rules and elements active one
// after the other: while ports change, every port that is fenced before and afterwards is
// none of the others of either rule.
func (t table) otherPorts(source bool) []ruleset.Rule {
	other, ok := ruleset.OtherPorts(t.services(), source)
	if !ok {
		return nil
	}
	return []ruleset.Rule{ruleset.NewRule(other, ruleset.Verdict{Kind: ruleset.Return})}
}

// afterDNAT judges what is to a fenced port only since its destination was translated.
// The classifier does not read it, and what its mark holds is of another program.
func (t table) afterDNAT(interfaces []ruleset.InInterface) []ruleset.Rule {
	var rules []ruleset.Rule
	if t.classifies() {
		for _, in := range interfaces {
			rules = append(rules, ruleset.NewRule(ruleset.Translated, ruleset.Original, ruleset.Destination{Set: "ports"}, in,
				ruleset.SetMark{Bits: t.bits(), Class: ruleset.Seen}))
		}
	}
	return append(rules, toSIP(interfaces, ruleset.Translated, ruleset.Original))
}

// unseen does something with what comes in by an interface of the classifier and was not
// seen by it: another program is in its way. Interfaces that the policy lists are written as it has
// them, so that one that comes or goes changes no rule.
func (t table) unseen(do ruleset.Statement) []ruleset.Rule {
	var rules []ruleset.Rule
	classified := t.classified()
	if len(t.policy.Interfaces) == 0 {
		for _, name := range classified {
			rules = append(rules, ruleset.NewRule(ruleset.InInterface{Name: name}, do))
		}
		return rules
	}
	for _, name := range Fenced(t.policy, t.host) {
		if !slices.Contains(classified, name) && !t.policy.Trusts(name) {
			rules = append(rules, ruleset.NewRule(ruleset.InInterface{Name: name}, ruleset.Verdict{Kind: ruleset.Return}))
		}
	}
	for _, in := range t.fenced() {
		rules = append(rules, ruleset.NewRule(in, do))
	}
	return rules
}

// classified are the interfaces by which rules see packets come in that the classifier
// has read, sorted.
func (t table) classified() []string {
	var names []string
	for _, name := range t.host.Classified {
		names = append(names, t.host.SeenAs(name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unread counts what the classifier had no time for.
func (t table) unread() ruleset.Rule {
	return ruleset.NewRule(t.mark(ruleset.Unread), ruleset.Count("unread"))
}

func (t table) bits() ruleset.MarkBits { return ruleset.MarkBits(t.policy.Signatures.Mark) }

func (t table) mark(c ruleset.Class) ruleset.Mark { return ruleset.Mark{Bits: t.bits(), Class: c} }

func (t table) clearMark() ruleset.SetMark { return ruleset.SetMark{Bits: t.bits()} }

func (t table) services() []ruleset.Element {
	return ruleset.Services(t.policy.Ports.UDP, t.policy.Ports.TCP)
}

// classifies reports whether the engine marks packets before the rules see
// them.
func (t table) classifies() bool { return Engine(t.policy, t.host) == policy.EngineBPF }

// fenced match the interfaces whose packets are judged.
func (t table) fenced() []ruleset.InInterface {
	if len(t.policy.Interfaces) == 0 {
		return []ruleset.InInterface{{Name: "lo", Not: true}}
	}
	names := slices.Clone(t.policy.Interfaces)
	for _, name := range Fenced(t.policy, t.host) {
		if !t.policy.Fences(name) {
			names = append(names, name)
		}
	}
	var list []ruleset.InInterface
	for _, name := range names {
		list = append(list, ruleset.InInterface{Name: name})
	}
	return list
}

// toSIP leads packets to the fenced ports to where they are judged. The port is looked at
// first: most packets are to another one, and names of interfaces are dear to compare.
func toSIP(interfaces []ruleset.InInterface, first ...ruleset.Statement) ruleset.Rule {
	statements := append(first, ruleset.Destination{Set: "ports"})
	if len(interfaces) > 1 {
		return ruleset.NewRule(append(statements, ruleset.Verdict{Kind: ruleset.Jump, Chain: "fence"})...)
	}
	return ruleset.NewRule(append(statements, interfaces[0], ruleset.Verdict{Kind: ruleset.Goto, Chain: "sip"})...)
}

// noL4Header drops fragments of IPv6 without a transport header, which a rule can only
// say of what is left when all that has one is gone.
func (t table) noL4Header(chains map[string]ruleset.Chain) {
	v6 := family{table: t, v6: true, chains: chains, chain: "no_l4_header"}
	v6.rule(ruleset.HasTransport{}, ruleset.Verdict{Kind: ruleset.Return})
	for _, in := range t.fenced() {
		v6.count("dropped_unknown", in)
	}
}

// verdict returns what happens to a packet that a counter counts.
func (t table) verdict(counter string) ruleset.Verdict {
	if strings.HasPrefix(counter, "dropped_") && !t.policy.Monitor {
		return ruleset.Verdict{Kind: ruleset.Drop}
	}
	switch {
	case !t.classifies():
		return accept
	case counter == "allowed_provider", counter == "allowed_trusted", counter == "allowed_by_hand":
		return ruleset.Verdict{Kind: ruleset.Goto, Chain: "allowed"}
	}
	return ruleset.Verdict{Kind: ruleset.Goto, Chain: "pass"}
}

var accept = ruleset.Verdict{Kind: ruleset.Accept}
