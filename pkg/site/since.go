package site

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The kinds of alarms about what has changed since the policy was applied: what was so
// then was accepted.
const (
	AlarmPublicUnfenced AlarmKind = "public-unfenced" // an interface has got a public address and is not fenced
	AlarmOutsideTrusted AlarmKind = "outside-trusted" // a trusted interface leads outside
	AlarmUnclassified   AlarmKind = "unclassified"    // the classifier is not where it was
	AlarmStateFolder    AlarmKind = "state-folder"    // nothing can be stored
	AlarmNoGeneration   AlarmKind = "no-generation"   // nothing says what the kernel should hold
)

// publicAlarms are about interfaces that strangers can reach since the policy was
// applied, and that are not fenced.
func publicAlarms(s *Site, l Look) []Alarm {
	if l.Accepted == nil {
		return nil
	}
	reached := func(h ruleset.Host) []string {
		var names []string
		for _, i := range h.Interfaces {
			own := i.OwnNetworks()
			public := func(a netip.Prefix) bool {
				return ruleset.IsPublic(a.Addr()) && !slices.Contains(own, ruleset.Network{Interface: i.Name, Prefix: ruleset.Canonical(a)})
			}
			if i.Name != "lo" && i.Master == "" && slices.ContainsFunc(i.Addresses, public) {
				names = append(names, i.Name)
			}
		}
		return names
	}
	var alarms []Alarm
	before := reached(l.Accepted.Host)
	for _, name := range reached(s.Host) {
		if slices.Contains(before, name) || slices.Contains(s.Host.Outside, name) || compile.Fences(s.Policy, s.Host, name) || s.Policy.Trusts(name) {
			continue // or it has an alarm already
		}
		alarms = append(alarms, Alarm{
			Kind: AlarmPublicUnfenced, Name: name, Text: "it has a public address since the policy was applied, and what comes in there is not fenced",
			WayOut: fmt.Sprintf("add %s to interfaces, or to trusted.interfaces if only your own comes in there, and run ringfence apply", name),
		})
	}
	return alarms
}

// trustedAlarms are about trusted interfaces that lead outside since the policy was
// applied: everybody who comes in by them is let in.
func trustedAlarms(s *Site, l Look) []Alarm {
	if l.Accepted == nil {
		return nil
	}
	var alarms []Alarm
	for _, name := range s.Host.Outside {
		if s.Policy.Trusts(name) && !slices.Contains(l.Accepted.Host.Outside, name) {
			alarms = append(alarms, Alarm{
				Kind: AlarmOutsideTrusted, Name: name, Text: "a default route goes by it since the policy was applied, and everybody who comes in there is let in: trusted.interfaces names it",
				WayOut: fmt.Sprintf("trust the addresses there in place of %s; if all who come in there are your own, change the policy, if only a comment, and run ringfence apply", name),
			})
		}
	}
	return alarms
}

// unclassifiedAlarms are about interfaces on which scanners were recognised when the policy was
// applied, where it depends on that whether they pass.
func unclassifiedAlarms(s *Site, l Look) []Alarm {
	if l.Accepted == nil || !s.Policy.Unknown.Admits() && s.Policy.Signatures.Engine != policy.EngineBPF {
		return nil
	}
	var alarms []Alarm
	for _, name := range l.Accepted.Host.Classified {
		why := s.Classifier.Unavailable[name]
		if s.Classifier.Obstacle != nil && s.Host.Engine == "" {
			why = s.Classifier.Obstacle
		}
		there := slices.ContainsFunc(s.Host.Interfaces, func(i ruleset.Interface) bool { return i.Name == name })
		if why != nil && there {
			text := "scanners are not recognised there any more"
			if len(s.Policy.Unknown.RequireUserAgent) > 0 {
				text = "no User-Agent is read there any more, so unknown phones are dropped"
			}
			alarms = append(alarms, Alarm{
				Kind: AlarmUnclassified, Name: name, Text: fmt.Sprintf("%s: %v", text, why),
				WayOut: "take away what stands in the way (tc filter show dev " + name + " ingress), then run ringfence refresh",
			})
		}
	}
	return alarms
}

// stateAlarms are about the state folder.
func stateAlarms(_ *Site, l Look) []Alarm {
	if l.Unwritable == "" {
		return nil
	}
	return []Alarm{{
		Kind: AlarmStateFolder, Name: l.Folder, Text: l.Unwritable + ": what is learned from now on is forgotten at the next start",
		WayOut: "make it writable and free some space there",
	}}
}

// NoGeneration is the alarm of a table in the kernel that no generation says anything
// about: the state folder was lost.
func NoGeneration(place string) Alarm {
	return Alarm{
		Kind: AlarmNoGeneration, Name: place, Text: "it is in the kernel, but no generation says what it should hold: nothing keeps it up to date",
		WayOut: "restore the state folder, or run ringfence apply",
	}
}
