package site

import (
	"errors"
	"maps"
	"slices"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Program is a classifier for certain signatures and ports.
type Program interface {
	// On returns the classifier with the program attached to the interfaces.
	On(interfaces []string) ruleset.Classifier
	// Prepare does what takes long before it can be attached. It need not be called.
	Prepare() error
}

// Classifier is what is known about the classifier, and where the site wants it.
type Classifier struct {
	// Program recognises scanners; nil means there is none. Signatures is the number of
	// its signatures.
	Program    Program
	Signatures int
	// Present are the names of the present interfaces, nil if those of the site's host
	// are.
	Present []string
	// Obstacle is why this process cannot attach a program, nil if it can.
	Obstacle error
	// Kept is what stays attached because nothing else can be attached, nil otherwise.
	Kept ruleset.Classifier

	// Desired says where the program should be attached, and Unavailable, by interface,
	// why it cannot be attached where it is needed. Classify sets both.
	Desired     ruleset.Classifier
	Unavailable map[string]error
}

// WantsClassifier reports whether the policy needs anything recognised.
func (s *Site) WantsClassifier() bool {
	return compile.Engine(s.Policy, s.Host) == policy.EngineBPF
}

// RequiresClassifier returns why a policy cannot do without the classifier, "" if
// it can.
func RequiresClassifier(p *policy.Policy) string {
	switch {
	case p.Signatures.Engine == policy.EngineBPF:
		return "signatures.engine is bpf"
	case len(p.Unknown.RequireUserAgent) > 0:
		return "unknown.require_user_agent needs the classifier"
	}
	return ""
}

// LacksClassifier returns why a policy cannot do without the classifier where the
// host has none, "" if it has one or can do without.
func (s *Site) LacksClassifier() string {
	if s.Host.Engine != "" || s.Policy.Signatures.Engine == policy.EngineOff {
		return ""
	}
	return RequiresClassifier(s.Policy)
}

// Classify decides where the program should be attached. foreign says on which
// interfaces another program prevents it.
func (s *Site) Classify(foreign map[string]error) {
	c := &s.Classifier
	c.Desired, c.Unavailable = nil, nil
	switch {
	case !s.WantsClassifier() || c.Program == nil:
		return
	case c.Kept != nil:
		c.Desired = c.Kept
		return
	}
	wanted := s.Classified()
	if RequiresClassifier(s.Policy) == "" {
		// An interface that another program occupies should not keep scanners from
		// being recognised on the others.
		c.Unavailable = foreign
		free := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return foreign[name] != nil })
		if len(free) == 0 && len(wanted) > 0 {
			s.Host.Engine = ""
			return
		}
		wanted = free
	}
	c.Desired = c.Program.On(wanted)
}

// Reading is what the classifier reads. Where unknown phones are dropped anyway, it only
// says who scans, and what it costs is bounded.
func (s *Site) Reading() ruleset.Reading {
	p := s.Policy
	return ruleset.Reading{
		UDP: p.Ports.UDP, TCP: p.Ports.TCP, Mark: ruleset.MarkBits(p.Signatures.Mark),
		Bounded: !p.Unknown.Admits(), Registers: p.Unknown.Registers(),
	}
}

// Classified are the interfaces whose packets are read: the fenced ones, if any are
// listed; else, where unknown phones are dropped anyway, those that lead outside;
// else all. Of these, those that are present and not trusted. What comes in by the port of a
// bridge is read on the bridge; with br_netfilter on the port, because rules see it before
// the bridge has it.
func (s *Site) Classified() []string {
	p, h, present := s.Policy, s.Host, s.Classifier.Present
	var names []string
	for _, i := range h.Interfaces {
		seen := h.SeenAs(i.Name)
		port := seen != i.Name
		if slices.ContainsFunc(h.Interfaces, func(o ruleset.Interface) bool { return o.Name != i.Name && h.SeenAs(o.Name) == i.Name }) {
			continue // it is read on its ports
		}
		if slices.ContainsFunc(h.Interfaces, func(o ruleset.Interface) bool { return o.VRF == i.Name }) {
			continue // what comes in by a VRF comes in by the interfaces in it
		}
		listed := len(p.Interfaces) > 0
		outside := len(h.Outside) == 0 || slices.Contains(h.Outside, seen)
		wanted := listed || (port || i.Master == "") && (outside || p.Unknown.Admits())
		here := present == nil || slices.Contains(present, i.Name)
		if wanted && here && judges(s, seen) && i.Name != "lo" && !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}

// KeepAttached makes the site use the classifier that is attached, with all its
// programs, even one of another version. It does not if the policy has changed or
// requires the classifier. It reports whether it did.
func (s *Site) KeepAttached(attached ruleset.Classifier, otherPolicy bool) bool {
	c := &s.Classifier
	watched := 0
	for name, wanted := range c.Desired {
		switch there := attached[name]; {
		case there == wanted:
			watched++
		case there == "":
		case otherPolicy || RequiresClassifier(s.Policy) != "":
			return false
		default:
			watched++
		}
	}
	if watched == 0 || RequiresClassifier(s.Policy) != "" && watched < len(c.Desired) {
		return false
	}
	c.Kept = attached
	return true
}

// ClassifierObstacle returns why scanners cannot be recognised here, nil if they can.
func (s *Site) ClassifierObstacle() error {
	c := s.Classifier
	if c.Obstacle != nil {
		return c.Obstacle
	}
	var reasons []error
	for _, name := range slices.Sorted(maps.Keys(c.Unavailable)) {
		reasons = append(reasons, c.Unavailable[name])
	}
	return errors.Join(reasons...)
}
