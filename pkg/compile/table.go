package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The priorities of the base chains, from linux/netfilter_ipv4.h.
const (
	// priorityBeforeTracking is before everything that others hang at raw
	// (-300): a dropped flood makes no connection-tracking entry.
	priorityBeforeTracking = -310
	// priorityAfterTracking is behind connection tracking (-200), whose answer
	// allow_replies needs, and before the translation of destinations (-100),
	// which changes the port.
	priorityAfterTracking = -190
	priorityBeforeFilter  = -10
)

// The sources that no router of the internet forwards. A packet from one that
// would not be answered through the interface it came in by is forged.
var (
	private4 = prefixes("10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
	private6 = prefixes("fc00::/7", "fe80::/10")
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
		// The flag timeout is there so that a lifetime can be put on the ports.
		"ports_udp": {Key: ruleset.Port, Timeout: true, Elements: ruleset.Ports(t.policy.Ports.UDP)},
		"ports_tcp": {Key: ruleset.Port, Timeout: true, Elements: ruleset.Ports(t.policy.Ports.TCP)},
	}
	for suffix, key := range map[string]ruleset.Key{"4": ruleset.IPv4, "6": ruleset.IPv6} {
		for _, name := range []string{"providers", "trusted", "blocked", "protected"} {
			var list []netip.Prefix
			for _, origin := range o.Sets[name+suffix] {
				list = append(list, origin.Prefix)
			}
			// Intervals without auto-merge: the kernel refuses to delete one
			// element out of a merged one.
			sets[name+suffix] = ruleset.Set{Key: key, Interval: true, Elements: ruleset.Addresses(list)}
		}
		sets["banned"+suffix] = ruleset.Set{Key: key, Timeout: true, Dynamic: true, Size: t.policy.Bans.Size}
	}
	return sets
}

func (t table) chains() map[string]ruleset.Chain {
	chains := map[string]ruleset.Chain{
		"prerouting": t.prerouting(),
		"fence":      {Rules: toPorts()},
		"sip":        {Rules: t.sip()},
		"pass":       {Rules: []ruleset.Rule{t.pass()}},
	}
	if t.host.Forwards {
		// A fenced port behind one that is not fenced: the translation of the
		// destination happens after prerouting has looked at the port.
		chains["translated"] = ruleset.Chain{Rules: toPorts(ruleset.Translated, ruleset.Original)}
		for _, hook := range []string{"forward", "input"} {
			chains[hook] = base(hook, priorityBeforeFilter, t.entries("translated"))
		}
	}
	return chains
}

func (t table) prerouting() ruleset.Chain {
	priority := int32(priorityBeforeTracking)
	if t.policy.Unknown.AllowReplies {
		priority = priorityAfterTracking
	}
	rules := t.entries("fence")
	if t.classifies() {
		// What comes back from the fence without a verdict, or never went there,
		// leaves without what the classifier has noted on it.
		rules = append(rules, ruleset.NewRule(ruleset.Mark{Class: ruleset.Unclassified, Not: true}, ruleset.ClearMark{}))
	}
	return base("prerouting", priority, rules)
}

// classifies reports whether the engine marks packets before the rules see
// them.
func (t table) classifies() bool { return Engine(t.policy, t.host) == policy.EngineBPF }

// pass lets a packet go on to other tables.
func (t table) pass() ruleset.Rule {
	if t.classifies() {
		return ruleset.NewRule(ruleset.ClearMark{}, accept)
	}
	return ruleset.NewRule(accept)
}

func base(hook string, priority int32, rules []ruleset.Rule) ruleset.Chain {
	return ruleset.Chain{Type: "filter", Hook: hook, Priority: priority, Policy: "accept", Rules: rules}
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

// toPorts leads packets to the fenced ports to chain sip. Raw SCTP, DCCP and
// UDP-Lite carry SIP as well, and have their ports where TCP has them.
func toPorts(first ...ruleset.Statement) []ruleset.Rule {
	to := ruleset.Verdict{Kind: ruleset.Goto, Chain: "sip"}
	rule := func(match ...ruleset.Statement) ruleset.Rule {
		return ruleset.NewRule(slices.Concat(first, match, []ruleset.Statement{to})...)
	}
	return []ruleset.Rule{
		rule(ruleset.DestinationPort{Protocol: ruleset.UDP, Set: "ports_udp"}),
		rule(ruleset.DestinationPort{Protocol: ruleset.TCP, Set: "ports_tcp"}),
		rule(ruleset.Protocols{ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite},
			ruleset.DestinationPort{Protocol: ruleset.AnyTransport, Set: "ports_tcp"}),
	}
}

var accept = ruleset.Verdict{Kind: ruleset.Accept}

// sip judges a packet to a fenced port: allow, block, ban, default. With the
// ban before the allowance, one forged packet would shut a registrar out.
func (t table) sip() []ruleset.Rule {
	var rules []ruleset.Rule
	judge := func(counter string, match ...ruleset.Statement) {
		verdict := ruleset.Verdict{Kind: ruleset.Goto, Chain: "pass"}
		if strings.HasPrefix(counter, "dropped_") && !t.policy.Monitor {
			verdict = ruleset.Verdict{Kind: ruleset.Drop}
		}
		rules = append(rules, ruleset.NewRule(append(match, ruleset.Count(counter), verdict)...))
	}
	from := func(counter, set string) {
		judge(counter, ruleset.Source{Set: set + "4"})
		judge(counter, ruleset.Source{V6: true, Set: set + "6"})
	}

	if t.policy.Unknown.AllowReplies {
		judge("allowed_reply", ruleset.Reply)
	}
	judge("dropped_spoofed", ruleset.Source{In: private4}, ruleset.NoWayBack{})
	judge("dropped_spoofed", ruleset.Source{V6: true, In: private6}, ruleset.NoWayBack{})
	from("allowed_provider", "providers")
	from("allowed_trusted", "trusted")
	from("dropped_blocked", "blocked")
	if t.policy.Unknown.Accept {
		from("dropped_banned", "banned")
		rules = append(rules, t.ban()...)
	}
	if t.classifies() {
		judge("dropped_signature", ruleset.Mark{Class: ruleset.Scanner})
	}
	switch required := len(t.policy.Unknown.RequireUserAgent) > 0; {
	case !t.policy.Unknown.Accept:
		judge("dropped_unknown")
	case required && !t.classifies():
		// Nobody can tell whose User-Agent it is, so nobody has the right one.
		judge("dropped_user_agent")
	case required:
		judge("dropped_user_agent", ruleset.Mark{Class: ruleset.OtherAgent})
		judge("allowed_unknown")
	default:
		judge("allowed_unknown")
	}
	return rules
}

// ban bans the source of a scanner's packet. The packet itself is dropped by
// another rule: a rule ends where it finds the set full. A source that no single
// host can have, and one that this host needs, is never banned: it was forged.
func (t table) ban() []ruleset.Rule {
	if !t.classifies() || t.policy.Monitor || t.policy.Bans.Duration == 0 {
		return nil
	}
	rule := func(v6 bool, suffix string) ruleset.Rule {
		return ruleset.NewRule(
			ruleset.Mark{Class: ruleset.Scanner}, ruleset.Unicast{}, ruleset.Source{V6: v6, Not: true, Set: "protected" + suffix},
			ruleset.Ban{V6: v6, Set: "banned" + suffix, For: t.policy.Bans.Duration})
	}
	return []ruleset.Rule{rule(false, "4"), rule(true, "6")}
}
