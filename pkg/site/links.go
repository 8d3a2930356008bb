package site

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The kinds of alarms about interfaces.
const (
	AlarmInterfaceAbsent AlarmKind = "interface-absent" // a listed interface that is not there
	AlarmInterfacePort   AlarmKind = "interface-port"   // a listed interface whose packets come in by another one
	AlarmOutsideUnfenced AlarmKind = "outside-unfenced" // an interface that leads outside and is not fenced
)

// FencedInterfaces are the interfaces of the host by which packets come in that are
// judged.
func (s *Site) FencedInterfaces() []string {
	var names []string
	for _, i := range s.Host.Interfaces {
		if i.Name != "lo" && i.Master == "" && compile.Fences(s.Policy, s.Host, i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}

// linkAlarms are about interfaces.
func linkAlarms(s *Site, _ Look) []Alarm { return s.LinkAlarms() }

// LinkAlarms say which of the listed interfaces fence nothing, and what leads outside
// and is not fenced. It is what the host looks like, whatever the kernel holds.
func (s *Site) LinkAlarms() []Alarm {
	var alarms []Alarm
	open := slices.DeleteFunc(slices.Clone(s.Host.Outside), func(name string) bool {
		return name == "lo" || compile.Fences(s.Policy, s.Host, name) || s.Policy.Trusts(name)
	})
	for _, pattern := range s.Policy.Interfaces {
		if !slices.ContainsFunc(s.Host.Interfaces, func(i ruleset.Interface) bool { return policy.Matches(pattern, i.Name) }) {
			alarms = append(alarms, absent(s, pattern, open))
		}
	}
	for _, i := range s.Host.Interfaces {
		if len(s.Policy.Interfaces) > 0 && i.Master != "" && s.Policy.Fences(i.Name) && !compile.Fences(s.Policy, s.Host, i.Master) {
			alarms = append(alarms, Alarm{
				Kind: AlarmInterfacePort, Name: i.Name,
				Text:   fmt.Sprintf("it is a port of %s, and rules see its packets come in by that: it fences nothing", i.Master),
				WayOut: fmt.Sprintf("write %s among interfaces in its place and run ringfence apply", i.Master),
			})
		}
	}
	for _, name := range open {
		alarms = append(alarms, Alarm{
			Kind: AlarmOutsideUnfenced, Name: name, Text: "a default route goes by it, and what comes in there is not fenced",
			WayOut: fmt.Sprintf("add %s to interfaces, or to trusted.interfaces if only your own comes in there, and run ringfence apply", name),
		})
	}
	return alarms
}

// absent is the alarm of an entry of interfaces that means none. open are those that
// lead outside and are not fenced.
func absent(s *Site, pattern string, open []string) Alarm {
	a := Alarm{
		Kind: AlarmInterfaceAbsent, Name: pattern, Text: "no interface is called that now: until there is one, it fences nothing",
		WayOut: "bring it up, or correct interfaces in the policy and run ringfence apply",
	}
	for _, i := range s.Host.Interfaces {
		if slices.ContainsFunc(i.AltNames, func(name string) bool { return policy.Matches(pattern, name) }) {
			a.Text = fmt.Sprintf("it is another name of %s, and rules know only that one: it fences nothing", i.Name)
			a.WayOut = fmt.Sprintf("write %s among interfaces in its place and run ringfence apply", i.Name)
			return a
		}
	}
	if len(open) > 0 {
		a.Text += fmt.Sprintf(" (if it was renamed, perhaps it is %s)", strings.Join(open, " or "))
	}
	return a
}

// interfaceWarnings say what is fenced otherwise than it seems.
func interfaceWarnings(s *Site) []notice.Notice {
	var warnings []notice.Notice
	for _, name := range s.Host.Outside {
		if s.Policy.Trusts(name) {
			n := notice.Warningf(notice.TrustedOutside, "a default route goes by %s, which trusted.interfaces names: everybody who comes in there is let in", name)
			n.About = name
			warnings = append(warnings, n)
		}
	}
	for _, i := range s.Host.Interfaces {
		if guests := guests(s, i); len(guests) > 0 {
			n := notice.Warningf(notice.Guests, "%s", guestsText(i, guests, s.Host.BridgeFilter))
			n.About = i.Name
			warnings = append(warnings, n)
		}
	}
	return warnings
}

// guests are the interfaces of virtual machines and containers that a bridge, or a card
// that shares itself, joins with the outside past the rules.
func guests(s *Site, at ruleset.Interface) []string {
	const device = "device"
	var ports, guests []string
	uplink := slices.Contains(s.Host.Outside, at.Name) || slices.ContainsFunc(s.Policy.Interfaces, func(p string) bool { return policy.Matches(p, at.Name) })
	for _, i := range s.Host.Interfaces {
		switch {
		case i.Parent == at.Name && (i.Kind == "macvtap" || i.Kind == "ipvtap"):
			guests = append(guests, i.Name)
		case i.Master != at.Name || at.Kind != "bridge" && at.Kind != "openvswitch":
		case i.Kind == "tun" || i.Kind == "veth":
			ports = append(ports, i.Name)
		default:
			uplink = uplink || i.Kind == device
			ports = append(ports, "")
		}
	}
	if uplink && len(ports) > 1 {
		guests = append(guests, slices.DeleteFunc(ports, func(name string) bool { return name == "" })...)
	}
	slices.Sort(guests)
	return guests
}

func guestsText(at ruleset.Interface, guests []string, filtered bool) string {
	const most = 5
	list := strings.Join(guests[:min(most, len(guests))], ", ")
	if len(guests) > most {
		list += fmt.Sprintf(" and %d more", len(guests)-most)
	}
	switch {
	case at.Kind != "bridge":
		return fmt.Sprintf("what %s hands to %s does not pass the rules of this host: guests there are not fenced", at.Name, list)
	case filtered:
		return fmt.Sprintf("%s joins %s, and br_netfilter is on: what guests there send and get is judged by this policy too, also between each other", at.Name, list)
	}
	return fmt.Sprintf("%s joins %s, and what it passes between its ports does not pass the rules of this host: guests there are not fenced", at.Name, list)
}
