package compile

import (
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// judge makes the chains that judge a packet to a fenced port: allow, block, ban,
// default. With the ban before the allowance, one forged packet would shut a registrar
// out. A packet costs the rules that it passes, so each family has a chain of its own,
// which packets of IPv6 take behind what allows those of IPv4.
// What only some packets need is behind what picks them, and there are no rules for what
// cannot be.
func (t table) judge(chains map[string]ruleset.Chain, sets map[string]ruleset.Set) {
	v4 := family{table: t, sets: sets, chains: chains, chain: "sip"}
	if t.policy.Unknown.AllowReplies {
		v4.count("allowed_reply", ruleset.Reply)
	}
	if t.classifies() && len(t.host.Classified) > 0 {
		v4.rule(t.mark(ruleset.Unclassified), ruleset.Verdict{Kind: ruleset.Jump, Chain: "unseen"})
	}
	for _, name := range t.policy.Trusted.Interfaces {
		v4.count("allowed_trusted", ruleset.InInterface{Name: name})
	}
	v4.allowed()
	v6 := v4
	v6.v6, v6.chain = true, "sip6"
	v4.rule(ruleset.IPv6Packet{}, ruleset.Verdict{Kind: ruleset.Goto, Chain: v6.chain})
	v6.allowed()
	v6.others()
	v4.others()
}

// family compiles the chains for one address family.
type family struct {
	table
	sets   map[string]ruleset.Set // of addresses
	v6     bool
	chains map[string]ruleset.Chain
	chain  string // the chain that rules are added to
}

func (f family) rule(statements ...ruleset.Statement) {
	c := f.chains[f.chain]
	c.Rules = append(c.Rules, ruleset.NewRule(statements...))
	f.chains[f.chain] = c
}

// set returns the name of the family's set of a kind.
func (f family) set(kind string) string {
	if f.v6 {
		return kind + "6"
	}
	return kind + "4"
}

// count counts the packets that match and ends with the counter's verdict.
func (f family) count(counter string, match ...ruleset.Statement) {
	switch drops := strings.HasPrefix(counter, droppedCounter); {
	case drops && len(match) > 0:
		f.rule(append(match, f.dropIn(counter))...)
	case drops:
		f.drop(counter)
	default:
		f.rule(append(match, ruleset.Count(counter), f.verdict(counter))...)
	}
}

func (f family) unprotected() ruleset.Source {
	return ruleset.Source{V6: f.v6, Not: true, Set: f.set("protected")}
}

func (f family) from(kind string) ruleset.Source { return ruleset.Source{V6: f.v6, Set: f.set(kind)} }

// mayHold reports whether the policy puts an address into the family's set of a kind, or
// has a name that may.
func (f family) mayHold(kind string) bool {
	names := len(f.policy.Trusted.Hosts) > 0
	if kind == "providers" {
		names = slices.ContainsFunc(f.policy.Providers, mayGrow)
	}
	return names || f.holds(kind)
}

// allowed lets in who is allowed.
func (f family) allowed() {
	f.allow("allowed_provider", "providers")
	f.allow("allowed_trusted", "trusted")
}

// others judges everybody else.
func (f family) others() {
	if f.host.ByHand {
		f.allowByHand()
	}
	if f.policy.Unknown.Admits() {
		// Unknown sources may be allowed below, so own addresses must be checked here.
		f = f.forged()
	}
	if f.holds("blocked") {
		f.count("dropped_blocked", f.from("blocked"))
	}
	if f.registers() && f.listens() {
		login{f}.phones()
	}
	if f.policy.Unknown.Admits() {
		// An address that this host needs may have been banned before it did.
		banned := f
		banned.chain = "from_" + f.set("banned")
		f.rule(f.from("banned"), ruleset.Verdict{Kind: ruleset.Jump, Chain: banned.chain})
		banned.count("dropped_banned", banned.unprotected())
		if f.classifies() {
			f.ban(f.mark(ruleset.Scanner))
		}
	}
	if f.classifies() {
		f.count("dropped_signature", f.mark(ruleset.Scanner))
	}
	f.texts()
	if f.classifies() && !f.policy.Unknown.Admits() {
		f.rule(f.unread().Statements()...)
	}
	switch {
	case f.registers():
		login{f}.strangers()
	case !f.policy.Unknown.Accepts():
		f.count("dropped_unknown")
	default:
		if !f.userAgents() {
			return
		}
		if l := (login{f}); l.hears() {
			l.listen()
			l.heard()
		}
		f.count("allowed_unknown")
	}
}

// userAgents drops what does not bear a User-Agent that the policy requires. It returns
// whether anything is left.
func (f family) userAgents() bool {
	switch {
	case len(f.policy.Unknown.RequireUserAgent) == 0:
	case !f.classifies():
		// Without the classifier the User-Agent is not known, so no packet has the
		// right one.
		f.count("dropped_user_agent")
		return false
	default:
		f.count("dropped_user_agent", f.mark(ruleset.OtherAgent))
		// Nobody knows what the classifier has not seen.
		f.count("dropped_user_agent", f.mark(ruleset.Unclassified))
	}
	return true
}

// mayGrow reports whether a provider can have addresses that are not known yet.
func mayGrow(p policy.Provider) bool {
	return p.List != nil || slices.ContainsFunc(p.Registrars, func(r policy.Registrar) bool { return r.Host != "" })
}

// holds reports whether the policy puts an address into the family's set of a kind.
func (f family) holds(kind string) bool { return len(f.sets[f.set(kind)].Elements) > 0 }

// allow lets the members of a set pass. There is no rule for a set that is empty and
// that no name can fill. Members with an address of this side may be forged, so a
// separate chain checks them.
func (f family) allow(counter, kind string) {
	switch {
	case !f.mayHold(kind):
	case f.mayBeForged(kind):
		f.allowUnlessForged(counter, kind)
	default:
		f.count(counter, f.from(kind))
	}
}

func (f family) allowUnlessForged(counter, kind string) {
	f.rule(f.from(kind), ruleset.Verdict{Kind: ruleset.Goto, Chain: "from_" + f.set(kind)})
	f.chain = "from_" + f.set(kind)
	f.forged().count(counter)
}

// allowByHand lets in what somebody has allowed for a time. It comes before bans, so
// that a phone which was banned a moment before is let in at once. Nobody knows yet
// which addresses these will be, so they may be of this side.
//
// Packets pay for the lookup, so there is none where nobody was ever allowed by hand.
func (f family) allowByHand() { f.allowUnlessForged("allowed_by_hand", "allowed") }

// LetsInByHand reports whether a table has the rules for what is allowed by hand.
func LetsInByHand(s *ruleset.State) bool {
	_, ok := s.Chains["from_allowed4"]
	return ok
}

// mayBeForged reports whether a set holds an address that only comes in by some
// interfaces.
func (f family) mayBeForged(kind string) bool {
	v4, v6 := f.ownSources()
	own := ruleset.Union(append(v4, v6...))
	elements := f.sets[f.set(kind)].Elements
	return slices.ContainsFunc(own.Ranges(), func(r netipx.IPRange) bool { return len(ruleset.Overlapping(elements, r)) > 0 })
}

// forged drops packets with a source address of this side that come in by another
// interface than answers would leave by. It returns where the rules for the others go.
func (f family) forged() family {
	own, v6 := f.ownSources()
	if f.v6 {
		own = v6
	}
	source := ruleset.Source{V6: f.v6, In: own}
	spoofed, rest := f, f
	name := strings.TrimPrefix(f.chain, "from_") // iptables has names of 28 characters at most
	spoofed.chain, rest.chain = "spoof_"+name, "past_"+name
	past := ruleset.Verdict{Kind: ruleset.Goto, Chain: rest.chain}
	exceptions := f.spoofExceptions(past)
	if len(exceptions) == 0 {
		f.count("dropped_spoofed", source, ruleset.ReversePathMissing{})
		return f
	}
	// No packet comes back: where a back end can let one pass only by a way back, those of
	// monitor mode would be judged again.
	f.rule(source, ruleset.ReversePathMissing{}, ruleset.Verdict{Kind: ruleset.Goto, Chain: spoofed.chain})
	f.rule(past)
	f.chains[spoofed.chain] = ruleset.Chain{Rules: exceptions}
	spoofed.count("dropped_spoofed")
	return rest
}

// ownSources returns the sources that are forged if they come from outside: private
// ones, and the trusted networks that this host is connected to or that only an overlay
// reaches. Packets from other trusted networks may come in by any interface.
func (t table) ownSources() (v4, v6 []netip.Prefix) {
	v4, v6 = slices.Clone(private4), slices.Clone(private6)
	add := func(p netip.Prefix) {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	for _, trusted := range t.policy.Trusted.Addresses {
		if sharedSpace.Overlaps(trusted) && trusted.Bits() >= sharedSpace.Bits() {
			add(trusted)
		}
		for _, link := range t.host.Interfaces {
			for _, n := range link.Connected() {
				if n.Prefix.Overlaps(trusted) && n.Interface != "lo" {
					add(n.Prefix)
				}
			}
		}
	}
	return v4, v6
}

// spoofExceptions returns the rules that lead away sources that look forged and are not: the
// policy lists them as asymmetric, or this host has two interfaces in one network, only
// one of which is the reverse path.
func (f family) spoofExceptions(past ruleset.Verdict) []ruleset.Rule {
	v4, v6 := f.ownSources()
	judged := ruleset.Union(append(v4, v6...))
	var rules []ruleset.Rule
	if len(f.policy.Trusted.Asymmetric) > 0 {
		rules = append(rules, ruleset.NewRule(f.from("asymmetric"), past))
	}
	for _, link := range f.host.Interfaces {
		if !Fences(f.policy, f.host, link.Name) {
			continue
		}
		for _, network := range sharedNetworks(link, f.host.Interfaces, judged) {
			if network.Addr().Is6() == f.v6 {
				rules = append(rules, ruleset.NewRule(ruleset.InInterface{Name: link.Name}, ruleset.SourceNetwork{Prefix: network}, past))
			}
		}
	}
	return rules
}

// sharedNetworks are the networks, of those that are judged by the reverse path, that an
// interface has together with another one: answers leave by one of the two, whichever a
// packet came in by.
func sharedNetworks(link ruleset.Interface, all []ruleset.Interface, judged *netipx.IPSet) []netip.Prefix {
	var shared []netip.Prefix
	for _, other := range all {
		if other.Name == link.Name {
			continue
		}
		for _, n := range link.Connected() {
			for _, o := range other.Connected() {
				if !n.Prefix.Overlaps(o.Prefix) || !judged.OverlapsPrefix(n.Prefix) || n.Prefix.Addr().IsLinkLocalUnicast() {
					continue
				}
				both := n.Prefix
				if o.Prefix.Bits() > both.Bits() {
					both = o.Prefix
				}
				if !slices.Contains(shared, both) {
					shared = append(shared, both)
				}
			}
		}
	}
	return shared
}

// ban bans the source of a scanner's packet. Another rule drops the packet itself,
// because a rule ends if the set is full. A source that cannot belong to a single host,
// or that this host needs, is never banned: it was forged.
func (f family) ban(match ...ruleset.Statement) {
	if f.policy.Monitor || f.policy.Bans.Duration == 0 {
		return
	}
	f.rule(append(match, ruleset.Unicast{}, f.unprotected(),
		ruleset.Ban{V6: f.v6, Set: f.set("banned"), For: f.policy.Bans.Duration})...)
}

// texts leads packets that hold a scanner's text to a chain that does what is done with
// those that the classifier has recognised.
func (f family) texts() {
	if Engine(f.policy, f.host) != policy.EngineString || len(f.policy.Signatures.Texts) == 0 {
		return
	}
	scanner := f
	scanner.chain = f.set("scanner")
	for _, text := range f.policy.Signatures.Texts {
		f.rule(ruleset.Payload(text), ruleset.Verdict{Kind: ruleset.Goto, Chain: scanner.chain})
	}
	if f.policy.Unknown.Admits() {
		scanner.ban()
	}
	scanner.count("dropped_signature")
}
