package cli

import (
	"errors"
	"maps"
	"slices"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// probeEngine finds out whether scanners can be recognised on this host: by a
// classifier that this process could put there, or by one that a process with
// more rights has.
func (a *app) probeEngine(h *ruleset.Host) {
	a.engineWhy = classifier.Probe()
	standing := false
	if a.engineWhy != nil {
		observed, err := classifier.Observe()
		standing = err == nil && len(observed) > 0
	}
	if a.engineWhy == nil || standing {
		h.Engine = string(policy.EngineBPF)
	}
}

// classify fills in the program that the site wants, and where. Its error is
// about signatures.
func (s *site) classify() error {
	s.eyes, s.blind = nil, nil
	if compile.Engine(s.policy, s.host) == policy.EngineOff {
		return nil
	}
	if s.program == nil {
		automaton, err := catalog.AutomatonOf(s.policy)
		if err != nil {
			return err
		}
		s.signatures = len(automaton.Signatures())
		s.program = classifier.New(automaton, classifier.Ports{UDP: s.policy.Ports.UDP, TCP: s.policy.Ports.TCP})
	}
	wanted := classifiedInterfaces(s.policy, s.host, s.present)
	switch {
	case s.standing != nil:
		s.eyes = s.standing
		return nil
	case s.insists() == "":
		// An interface that another program has taken need not keep scanners from
		// being recognised on the others.
		s.blind = classifier.Foreign(wanted)
		free := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return s.blind[name] != nil })
		if len(free) == 0 && len(wanted) > 0 {
			s.host.Engine = ""
			return nil
		}
		wanted = free
	}
	s.eyes = s.program.On(wanted)
	return nil
}

// settle makes the site go by the classifier that stands, all of it: also by one
// of another version, unless the policy is another one or cannot do without. It
// reports whether that will do.
func (s *site) settle(otherPolicy bool) bool {
	observed, err := classifier.Observe()
	if err != nil {
		return false
	}
	watched := 0
	for name, wanted := range s.eyes {
		switch there := observed[name]; {
		case there == wanted:
			watched++
		case there == "":
		case otherPolicy || s.insists() != "":
			return false
		default:
			watched++
		}
	}
	if watched == 0 || s.insists() != "" && watched < len(s.eyes) {
		return false
	}
	s.standing = observed
	return true
}

// whyBlind is why scanners cannot be recognised here, nil if they can.
func (a *app) whyBlind(s *site) error {
	if a.engineWhy != nil {
		return a.engineWhy
	}
	var reasons []error
	for _, name := range slices.Sorted(maps.Keys(s.blind)) {
		reasons = append(reasons, s.blind[name])
	}
	return errors.Join(reasons...)
}

// classifiedInterfaces are those whose packets are read: the fenced ones that are
// listed; else, where unknown phones are dropped anyway, those that lead outside;
// else all. Of these, those that are present: nil is all that the host has. What
// comes in by the port of a bridge is read on the bridge.
func classifiedInterfaces(p *policy.Policy, h ruleset.Host, present []string) []string {
	var names []string
	for _, i := range h.Interfaces {
		listed := len(p.Interfaces) > 0
		outside := len(h.Outside) == 0 || slices.Contains(h.Outside, i.Name)
		wanted := listed || i.Master == "" && (outside || p.Unknown.Accept)
		here := present == nil || slices.Contains(present, i.Name)
		if wanted && here && p.Fences(i.Name) && i.Name != "lo" && !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}
