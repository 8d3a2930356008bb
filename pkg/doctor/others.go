package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// firstPriority is that of ringfence's chain at the hook prerouting.
const firstPriority = -310

// isBefore reports whether packets pass a chain before ringfence's.
func isBefore(c ruleset.OtherChain) bool {
	return c.Hook == "ingress" || c.Hook == "prerouting" && c.Priority < firstPriority
}

// before are chains that judge SIP before ringfence does.
func before(f Facts) []Finding {
	var found []Finding
	for _, c := range f.Others.Chains {
		if !isBefore(c) {
			continue
		}
		for _, r := range c.Rules {
			if !r.Meets(f.ports()) || !r.Drops && !r.Accepts && !r.Untracked {
				continue
			}
			does, why := "drops", "the provider's calls may be dropped there, and ringfence never sees the packets"
			switch {
			case r.Untracked:
				does, why = "takes from connection tracking", "unknown.allow_replies and translated ports need connection tracking"
			case r.Accepts:
				does, why = "accepts", "it decides about SIP before ringfence does; in a chain of family netdev or bridge that may be the last word"
			}
			found = append(found, Finding{
				Name: "judged-before", Severity: notice.Warning, Finding: fmt.Sprintf("%s %s packets to SIP ports before ringfence sees them", c, does),
				Why: why, WayOut: "look at it (" + c.Look() + ") and take the rule out, or leave SIP to ringfence",
			})
			break
		}
	}
	return found
}

// after are chains that drop what ringfence lets through.
func after(f Facts) []Finding {
	var found []Finding
	accepted := map[string]bool{} // tables in which any rule accepts SIP
	for _, c := range f.Others.Chains {
		for _, r := range c.Rules {
			accepted[c.Table+c.Program] = accepted[c.Table+c.Program] || r.Accepts && r.Meets(f.ports())
		}
	}
	for _, c := range f.Others.Chains {
		if isBefore(c) || c.Hook == "output" || c.Hook == "postrouting" || c.Hook == "egress" {
			continue
		}
		look := "look at it (" + c.Look() + ") and accept what ringfence lets through: it drops the rest before"
		if slices.ContainsFunc(c.Rules, func(r ruleset.OtherRule) bool { return r.Drops && r.Meets(f.ports()) }) {
			found = append(found, Finding{
				Name: "dropped-after", Severity: notice.Warning, Finding: c.String() + " drops packets to SIP ports that ringfence lets through",
				Why: "the provider's calls may not arrive although ringfence allows them", WayOut: look,
			})
		} else if c.Drops && c.Hook == "input" && !accepted[c.Table+c.Program] {
			found = append(found, Finding{
				Name: "dropped-after", Severity: notice.Note, Finding: c.String() + " drops by its policy, and no rule of it names a SIP port",
				Why: "the provider's calls may not arrive although ringfence allows them", WayOut: look,
			})
		}
	}
	return found
}

func flowtables(f Facts) []Finding {
	var found []Finding
	for _, name := range f.Others.Flowtables {
		found = append(found, Finding{
			Name: "flowtable", Severity: notice.Warning, Finding: "the flowtable " + name + " forwards packets of known flows past every rule",
			Why: "an address that was removed stays allowed for as long as it keeps talking", WayOut: "leave packets to SIP ports out of the rule that adds flows to it",
		})
	}
	return found
}

func express(f Facts) []Finding {
	var found []Finding
	for _, link := range f.Condition.XDP {
		if f.carries(link) {
			found = append(found, Finding{
				Name: "xdp", Severity: notice.Warning, Finding: "an XDP program decides about packets that come in by " + link + ", before the kernel sees them",
				Why: "what it drops or redirects (AF_XDP) never comes to ringfence", WayOut: "ip link show " + link + " names it: make sure that it passes SIP on, or take it off",
			})
		}
	}
	return found
}

func helpers(f Facts) []Finding {
	const why = "it opens ports by what it reads in SIP packets and rewrites addresses in them, which breaks calls and lets strangers in"
	var found []Finding
	for _, name := range f.Others.SIPHelpers {
		found = append(found, Finding{
			Name: "sip-helper", Severity: notice.Warning, Finding: "the connection-tracking helper " + name + " reads SIP", Why: why,
			WayOut: "take the rules with it out, unless the PBX is known to need them",
		})
	}
	switch {
	case f.Condition.SIPTracking && f.Condition.Automatic:
		found = append(found, Finding{
			Name: "sip-helper", Severity: notice.Warning, Finding: "the kernel reads all SIP (nf_conntrack_sip, and nf_conntrack_helper is 1)", Why: why,
			WayOut: "sysctl net.netfilter.nf_conntrack_helper=0, and modprobe -r nf_nat_sip nf_conntrack_sip",
		})
	case f.Condition.SIPTracking && len(found) == 0:
		found = append(found, Finding{
			Name: "sip-helper", Severity: notice.Note, Finding: "the module nf_conntrack_sip is loaded: rules may hand SIP to it", Why: why,
			WayOut: "modprobe -r nf_nat_sip nf_conntrack_sip, and put them on a blacklist of modprobe, unless the PBX is known to need them",
		})
	}
	return found
}

// shapers are programs that want the ingress of a link where the classifier is. Two
// qdiscs cannot be there, and theirs is refused; the other way round they share one.
func shapers(f Facts) []Finding {
	const (
		why    = "tc qdisc add … ingress (or clsact) of a shaper or of a CNI plugin fails there: Exclusivity flag on, cannot modify"
		wayOut = "start the shaper first: ringfence shares its qdisc; or have it use tc qdisc replace; or write signatures.engine: off"
	)
	var found []Finding
	for _, link := range f.Attached {
		kind, shaped := f.Condition.Shapers[link]
		if shaped {
			found = append(found, Finding{
				Name: "ingress", Severity: notice.Note, Finding: fmt.Sprintf("the classifier's clsact is on %s, which a shaper uses (%s)", link, kind), Why: why, WayOut: wayOut,
			})
		}
	}
	if len(found) == 0 && len(f.Attached) > 0 && len(f.Condition.ShaperFiles) > 0 {
		found = append(found, Finding{
			Name: "ingress", Severity: notice.Note, Why: why, WayOut: wayOut,
			Finding: fmt.Sprintf("the classifier's clsact is on %s, and a shaper is set up (%s)", strings.Join(f.Attached, ", "), strings.Join(f.Condition.ShaperFiles, ", ")),
		})
	}
	return found
}

func marks(f Facts) []Finding {
	if len(f.Attached) == 0 {
		return nil
	}
	bits := uint32(ruleset.DefaultMarkBits)
	if f.Site != nil {
		bits = cmp.Or(f.Site.Policy.Signatures.Mark, bits)
	}
	var who []string
	for _, c := range f.Others.Chains {
		if slices.ContainsFunc(c.Rules, func(r ruleset.OtherRule) bool { return r.Marks&bits != 0 }) {
			who = append(who, c.String())
		}
	}
	if f.Condition.RuleMarks&bits != 0 {
		who = append(who, "a routing rule (ip rule)")
	}
	if len(who) == 0 {
		return nil
	}
	return []Finding{{
		Name: "mark", Severity: notice.Warning, Finding: fmt.Sprintf("bits of the packet's mark that the classifier uses (0x%08x) are used by %s too", bits, strings.Join(who, ", ")),
		Why: "one takes the other's mark for its own: scanners pass, or packets are routed wrongly", WayOut: "give one of both other bits: signatures.mark chooses those of the classifier",
	}}
}

func bothFlavours(f Facts) []Finding {
	if len(f.Condition.Legacy) == 0 || len(f.Others.Compatible) == 0 {
		return nil
	}
	return []Finding{{
		Name: "both-iptables", Severity: notice.Warning,
		Finding: fmt.Sprintf("both flavours of iptables are in use: legacy (%s) and nft (%s)", strings.Join(f.Condition.Legacy, ", "), strings.Join(f.Others.Compatible, ", ")),
		Why:     "each shows its own rules only: what drops a call may be in the other", WayOut: "move all rules to one (update-alternatives --config iptables), and flush the other",
	}}
}

func savedRules(f Facts) []Finding {
	var found []Finding
	for _, path := range f.Condition.SavedRules {
		found = append(found, Finding{
			Name: "saved-rules", Severity: notice.Warning, Finding: path + " names what is ringfence's",
			Why:    "at boot these rules do not load while ringfence's sets are not there, and the host's own rules with them; or an old fence comes back",
			WayOut: "take ringfence's lines out of it, save it again while ringfence is down, or let ringfence up run before it is loaded (ringfence-early.service)",
		})
	}
	return found
}

// equalCost are equal routes over several links, of which the reverse-path check knows
// one only.
func equalCost(f Facts) []Finding {
	names := map[int]string{}
	for _, l := range f.Network.Links {
		names[l.Index] = l.Name
	}
	var found []Finding
	asymmetric := ruleset.Union(nil)
	if f.Site != nil {
		asymmetric = ruleset.Union(f.Site.Policy.Trusted.Asymmetric)
	}
	for _, r := range f.Network.Routes {
		var links []string
		for _, hop := range r.Hops {
			if name := names[hop.Link]; f.fences(name) && !slices.Contains(links, name) {
				links = append(links, name)
			}
		}
		if !r.To.Addr().Is6() || len(links) < 2 || asymmetric.ContainsPrefix(r.To) {
			continue
		}
		found = append(found, Finding{
			Name: "equal-cost", Severity: notice.Warning, Finding: fmt.Sprintf("%s is reached by %s at equal cost", r.To, strings.Join(links, " and ")),
			Why:    "the kernel takes private sources from there for forged, whichever of the links they come in by",
			WayOut: "list them under trusted.asymmetric in the policy, and run ringfence apply",
		})
	}
	return found
}
