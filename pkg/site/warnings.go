package site

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/signature"
)

// Warnings reports what is valid but probably not intended.
func (s *Site) Warnings() []notice.Notice {
	return append(PolicyWarnings(s.Policy), s.HostWarnings()...)
}

// HostWarnings are those that change with the host.
func (s *Site) HostWarnings() []notice.Notice {
	return slices.Concat(interfaceWarnings(s), ClassifierWarnings(s), banWarnings(s))
}

// banWarnings are about addresses of bans.addresses that a name of the policy stands for
// now: what is allowed is asked first.
func banWarnings(s *Site) []notice.Notice {
	if len(s.Policy.Bans.Addresses) == 0 {
		return nil
	}
	var warnings []notice.Notice
	for _, n := range compile.Names(s.Policy) {
		for _, known := range s.Memory.Addresses(resolve.Target{Name: n.Host, Registrar: n.Registrar}) {
			banned := func(p netip.Prefix) bool { return p.Contains(known.Address) }
			if slices.ContainsFunc(s.Policy.Bans.Addresses, banned) {
				w := notice.Warningf(notice.BanHasNoEffect, "bans.addresses has %s, which is allowed all the same: %s stands for it", known.Address, n.Host)
				w.About = known.Address.String()
				warnings = append(warnings, w)
			}
		}
	}
	return append(warnings, bannedLists(s)...)
}

// FileWarnings are about what is valid in a policy file but may not be meant, each with
// its place.
func FileWarnings(p *policy.Policy) []notice.Notice {
	var warnings []notice.Notice
	for _, doubt := range p.Doubts {
		warnings = append(warnings, notice.Warningf(notice.PolicyDoubt, "%s", doubt.Error()))
	}
	return warnings
}

// PolicyWarnings returns the warnings that do not depend on the host.
func PolicyWarnings(p *policy.Policy) []notice.Notice {
	var warnings []notice.Notice
	if len(p.Allowed())+len(compile.Names(p))+len(p.Trusted.Interfaces) == 0 && !p.Unknown.Admits() && !p.Monitor {
		warnings = append(warnings, notice.Warningf(notice.NobodyAllowed, "no address is allowed: with this policy every call is dropped"))
	}
	if p.Unknown.Accepts() && p.Signatures.Engine == policy.EngineOff {
		warnings = append(warnings, notice.Warningf(notice.AcceptsScanners, "unknown.action is accept, and signatures.engine is off: every source that is not banned passes, scanners too"))
	}
	if p.Unknown.Registers() && p.Signatures.Engine == policy.EngineOff {
		warnings = append(warnings, notice.Warningf(notice.ClassifierUnavailable, "unknown phones register unread: signatures.engine is off; %s", unread(p)))
	}
	for _, own := range p.Signatures.Deny {
		lint, found := signature.Check(signatureOf(own))
		if !found {
			continue
		}
		n := notice.Warningf(notice.MatchesPhones, "signatures.deny: %s %s", own.Name, lintText(lint))
		n.About = own.Name
		warnings = append(warnings, n)
	}
	return warnings
}

func signatureOf(own policy.Signature) signature.Signature {
	var all []signature.Condition
	for _, c := range own.Conditions {
		all = append(all, signature.Condition{Header: c.Header, Match: signature.Match(c.Match), Value: c.Value})
	}
	return signature.New(own.Name, signature.Ban, all...)
}

func lintText(lint signature.Lint) string {
	switch {
	case lint.Text != "":
		return fmt.Sprintf("matches what ordinary phones send (%s: %q), which are then taken for scanners", lint.Of.Header, lint.Text)
	case lint.Of.Match == signature.Contains:
		return fmt.Sprintf("looks for only %s anywhere in a header, which an ordinary phone may send too: use prefix or exact, or at least %d",
			notice.Count(lint.Length, "character"), lint.Least)
	}
	return fmt.Sprintf("looks for only %s at the beginning of a header, which an ordinary phone may send too: use exact, or at least %d",
		notice.Count(lint.Length, "character"), lint.Least)
}

// CutWarnings reports which inside phones the site cuts off from their provider.
func CutWarnings(s *Site) []notice.Notice {
	if inside := s.Cuts(); len(inside.Networks) > 0 {
		return []notice.Notice{notice.Warningf(notice.CutInside, "%s", inside)}
	}
	return nil
}

// ClassifierWarnings say why nobody is recognised, where somebody should be.
func ClassifierWarnings(s *Site) []notice.Notice {
	why := s.ClassifierObstacle()
	switch {
	case s.Policy.Signatures.Engine == policy.EngineOff, s.Policy.Signatures.Engine == policy.EngineString:
	case s.Host.Engine != "" && s.Policy.Unknown.Accepts():
		var warnings []notice.Notice
		for _, name := range slices.Sorted(maps.Keys(s.Classifier.Unavailable)) {
			n := notice.Warningf(notice.ClassifierUnavailable,
				"unknown.action is accept, and scanners that come in on %s are not recognised: %v; every source that is not banned passes", name, s.Classifier.Unavailable[name])
			n.About = name
			warnings = append(warnings, n)
		}
		return warnings
	case s.Host.Engine != "" || why == nil:
	case len(s.Policy.Unknown.RequireUserAgent) > 0:
		return []notice.Notice{notice.Warningf(notice.ClassifierUnavailable,
			"unknown phones %s, because the classifier does not read their User-Agent: %v", droppedText(s), why)}
	case s.Policy.Unknown.Accepts():
		return []notice.Notice{notice.Warningf(notice.ClassifierUnavailable,
			"unknown.action is accept, and scanners are not recognised: %v; every source that is not banned passes", why)}
	case s.Policy.Unknown.Registers():
		return []notice.Notice{notice.Warningf(notice.ClassifierUnavailable, "unknown phones register unread: %v; %s", why, unread(s.Policy))}
	}
	return nil
}

// unread says what does not hold where strangers register and nobody reads what they send.
func unread(p *policy.Policy) string {
	return fmt.Sprintf("what is behind a REGISTER in the same packet passes with it, and a phone that ends its registration stays in for up to %s (roaming.life)",
		policy.DurationText(p.Roaming.Life))
}

// droppedText is what happens to what the rules drop.
func droppedText(s *Site) string {
	if s.Policy.Monitor {
		return "would be dropped"
	}
	return "are dropped"
}

// NameNotices say what is wrong with the names in a site's memory beside the alarms, with one
// notice for all questions of a name that failed for one reason.
func NameNotices(m resolve.Memory, alarms []Alarm) []notice.Notice {
	notices := RejectedNotices(m)
	notices = append(notices, FailureNotices(slices.DeleteFunc(slices.Clone(m.Refresh.Failures), func(p resolve.Problem) bool {
		return slices.ContainsFunc(alarms, func(alarm Alarm) bool { return alarm.Name == p.Name && alarm.Type == p.Type })
	}))...)
	return append(notices, quarantineNotices(m)...)
}

// NeedsSomebody reports whether a name has failed or an alarm stands.
func NeedsSomebody(m resolve.Memory, alarms []Alarm) bool {
	return len(m.Refresh.Failures)+len(alarms) > 0
}

// Words returns the text for the way out of an alarm. A nil Words returns none.
type Words func(resolve.WayOut) string

func (w Words) of(wayOut resolve.WayOut) string {
	if w == nil {
		return ""
	}
	return w(wayOut)
}

// FailureNotices warn of names that failed, those of one name and one reason
// together.
func FailureNotices(problems []resolve.Problem) []notice.Notice {
	type group struct {
		target resolve.Target
		reason string
	}
	members := map[group]int{}
	for _, p := range problems {
		members[group{p.Target, p.Error}]++
	}
	var notices []notice.Notice
	for _, p := range problems {
		g := group{p.Target, p.Error}
		n := members[g]
		delete(members, g)
		if n == 0 {
			continue
		}
		text := ProblemText(p)
		if n > 1 {
			text += fmt.Sprintf(" (and %s more about %s)", notice.Count(n-1, "question"), p.Target.Name)
		}
		notices = append(notices, notice.Notice{Severity: notice.Warning, Code: notice.NameFailed, About: ProblemText(p), Text: text})
	}
	return notices
}

// RejectedNotices warns of rejected addresses of names that have other, accepted ones.
func RejectedNotices(m resolve.Memory) []notice.Notice {
	var notices []notice.Notice
	for _, known := range m.Names {
		alone := slices.ContainsFunc(m.Refresh.Failures, func(p resolve.Problem) bool { return p.Type == "" && p.Name == known.Name })
		for _, r := range known.Rejected {
			if !alone {
				n := notice.Warningf(notice.AddressRejected, "%s: left out %s, because it %s", known.Name, r.Address, r.Why)
				n.About = known.Name + " " + r.Address.String()
				notices = append(notices, n)
			}
		}
	}
	return notices
}

// quarantineNotices warns of addresses that no second answer has confirmed or
// contradicted.
func quarantineNotices(m resolve.Memory) []notice.Notice {
	var notices []notice.Notice
	for _, k := range m.Names {
		var waiting []string
		for _, h := range k.Quarantined {
			if !h.Contradicted {
				waiting = append(waiting, h.Address.String())
			}
		}
		if len(waiting) > 0 {
			n := notice.Warningf(notice.AddressQuarantined, "%s: its answer lacks the known addresses, so a second answer is needed to accept %s", k.Name, strings.Join(waiting, ", "))
			n.About = k.Name
			notices = append(notices, n)
		}
	}
	return notices
}
