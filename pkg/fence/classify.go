package fence

import (
	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/site"
)

// engine is the classifier, with results that are expensive to find out.
type engine struct {
	backend.Classifier
	// probed says that obstacle is known. What keeps this process from attaching a
	// program does not change while it runs, and that nothing does hardly ever.
	probed   bool
	obstacle error
	// made is the program for a policy.
	made struct {
		policy     *policy.Policy
		program    backend.Program
		signatures int
	}
}

// probe finds out whether scanners can be recognised on a site's host: by a classifier
// that this process can attach, or by one that a process with more rights has attached.
func (e *engine) probe(s *site.Site) {
	if !e.probed {
		e.obstacle, e.probed = e.Probe(), true
	}
	attached := false
	if e.obstacle != nil {
		observed, err := e.Observe()
		attached = err == nil && len(observed) > 0
	}
	s.Classifier.Obstacle = e.obstacle
	if e.obstacle == nil || attached {
		s.Host.Engine = string(policy.EngineBPF)
	}
}

// forget makes the next probe ask the kernel again.
func (e *engine) forget() { e.probed = false }

// classify gives the site its program and lets it decide where to attach it. An error
// is about the signatures.
func (e *engine) classify(s *site.Site) error {
	if !s.WantsClassifier() {
		s.Classify(nil)
		return nil
	}
	if e.made.policy != s.Policy {
		automaton, err := catalog.AutomatonOf(s.Policy)
		if err != nil {
			return err
		}
		e.made.policy, e.made.signatures = s.Policy, len(automaton.Signatures())
		e.made.program = e.New(automaton, s.Reading())
	}
	s.Classifier.Program, s.Classifier.Signatures = e.made.program, e.made.signatures
	var foreign map[string]error
	if s.Classifier.Kept == nil && site.RequiresClassifier(s.Policy) == "" {
		foreign = e.Foreign(s.Classified())
	}
	s.Classify(foreign)
	return nil
}
