package compile

import (
	"slices"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Fenced are the interfaces of the host whose packets are judged, sorted: those that the
// policy means, those in a VRF that it means, and those that take packets off the wire of
// one of them before rules see them come in by that, such as a macvlan. What belongs to a virtual machine never comes
// to rules.
func Fenced(p *policy.Policy, host ruleset.Host) []string {
	var fenced []string
	for _, link := range host.Interfaces {
		if p.Fences(link.Name) || link.VRF != "" && p.Fences(link.VRF) || followed(p, host, link) {
			fenced = append(fenced, link.Name)
		}
	}
	slices.Sort(fenced)
	return slices.Compact(fenced)
}

// Fences reports whether the packets that come in by the named interface are judged.
func Fences(p *policy.Policy, host ruleset.Host, name string) bool {
	return p.Fences(name) || slices.Contains(Fenced(p, host), name)
}

// judgedBefore are the VRFs of the host that the policy fences: what rules see come in by
// them has been judged when it came in by an interface in them.
func judgedBefore(p *policy.Policy, host ruleset.Host) []string {
	var names []string
	for _, link := range host.Interfaces {
		if link.VRF != "" && p.Fences(link.VRF) && !p.Trusts(link.VRF) && !slices.Contains(names, link.VRF) {
			names = append(names, link.VRF)
		}
	}
	slices.Sort(names)
	return names
}

// followed reports whether an interface that the policy does not mean stands, over
// however many others, on one that it means.
func followed(p *policy.Policy, host ruleset.Host, link ruleset.Interface) bool {
	if p.Trusts(link.Name) || slices.Contains([]string{"macvtap", "ipvtap"}, link.Kind) {
		return false // the policy means that one itself, or no rule sees its packets
	}
	// No more steps than there are interfaces: what the kernel was in the middle of
	// changing may stand on itself.
	for range host.Interfaces {
		if link.Parent == "" {
			return false
		}
		if p.Fences(link.Parent) {
			return true
		}
		i := slices.IndexFunc(host.Interfaces, func(i ruleset.Interface) bool { return i.Name == link.Parent })
		if i < 0 {
			return false
		}
		link = host.Interfaces[i]
	}
	return false
}
