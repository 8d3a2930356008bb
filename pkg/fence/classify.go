package fence

import (
	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
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
		ready      *policy.Policy // the one that keepReady was called for
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

// prepare makes the program of a site ready, unless that is attached where it should be:
// it takes a tenth of a second, for which the lock need not be held. What fails here fails
// again when the program is attached. The site is a copy.
func (e *engine) prepare(s site.Site) {
	if err := e.classify(&s); err != nil || len(s.Classifier.Desired) == 0 {
		return
	}
	if observed, err := e.Observe(); err == nil && !observed.Equal(s.Classifier.Desired) {
		_ = s.Classifier.Program.Prepare()
	}
}

// prepareFor does that for a generation.
func prepareFor(f *session, e *journal.Entry) {
	s, err := f.siteOf(e, resolve.Memory{})
	if err == nil && f.readHost(s) == nil {
		f.engine.prepare(*s)
	}
}

// keepReady makes the program of a site ready for the next interface that needs it. The
// site is a copy.
func (e *engine) keepReady(s site.Site) {
	if e.made.ready == s.Policy {
		return
	}
	if err := e.classify(&s); err == nil && len(s.Classifier.Desired) > 0 {
		_ = s.Classifier.Program.Prepare()
		e.made.ready = s.Policy
	}
}

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

// KeepReady makes ready what takes long, so that the next interface that comes need not
// wait for it.
func (r *Reconciler) KeepReady() {
	if r.site != nil {
		r.fence.engine.keepReady(*r.site)
	}
}
