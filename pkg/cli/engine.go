package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// kernelOf is the kernel with the classifier before its rules that a site wants;
// a nil site wants none.
func kernelOf(tables control.Kernel, s *site) control.Kernel {
	e := engine{}
	if s != nil {
		e.program = s.program
	}
	return control.Classified{Rules: tables, Classifier: e}
}

// withClassifier makes the kernel of each site out of the same tables.
func withClassifier(tables control.Kernel) func(*site) control.Kernel {
	return func(s *site) control.Kernel { return kernelOf(tables, s) }
}

// engine is the classifier as control wants it.
type engine struct{ program *classifier.Program }

func (engine) Observe() (ruleset.Classifier, error) { return classifier.Observe() }

// Begin loads the program and puts it where it is wanted, which is where it can
// be: an interface that has gone meanwhile is missed by the next run.
func (e engine) Begin(want ruleset.Classifier) (control.Change, error) {
	if len(want) == 0 || e.program == nil {
		return classifier.Begin(nil, nil)
	}
	loaded, err := e.program.Load()
	if err != nil {
		return nil, err
	}
	there := slices.DeleteFunc(want.Interfaces(), func(name string) bool {
		_, err := net.InterfaceByName(name)
		return err != nil
	})
	change, err := classifier.Begin(loaded, there)
	if err != nil {
		loaded.Close()
		return nil, err
	}
	return loadedChange{change, loaded}, nil
}

// loadedChange lets go of the program at the end; where it stands, it stays.
type loadedChange struct {
	*classifier.Change
	loaded *classifier.Loaded
}

func (c loadedChange) Finish() error {
	defer c.loaded.Close()
	return c.Change.Finish()
}

func (c loadedChange) Undo() error {
	defer c.loaded.Close()
	return c.Change.Undo()
}

// insists returns why a policy cannot do without the engine on a host that has
// none, "" if it can.
func (s *site) insists() string {
	switch {
	case s.policy.Signatures.Engine == policy.EngineBPF:
		return "signatures.engine is bpf"
	case len(s.policy.Unknown.RequireUserAgent) > 0:
		return "unknown.require_user_agent needs an engine"
	}
	return ""
}

// needsEngine refuses a new policy that cannot do without the engine on a host
// that has none.
func (a *app) needsEngine(s *site) error {
	why := s.insists()
	if why == "" || s.host.Engine != "" || s.policy.Signatures.Engine == policy.EngineOff {
		return nil
	}
	return withHint(fmt.Errorf("%s, and scanners cannot be recognised here: %w", why, a.engineWhy),
		"mend that, or write signatures.engine: auto and leave require_user_agent out")
}

// sync brings the kernel to what a site wants. begin is as in control, with the
// state that is wanted. If the classifier cannot be put in place, what stands
// there stays, if that will do; else the fence stands without it, unless the site
// is strict and cannot do without.
func (a *app) sync(ctx context.Context, s *site, o syncOptions) (*plan.Plan, error) {
	s.standing = nil
	for {
		d, err := s.desired(o.before)
		if err != nil {
			return nil, err
		}
		d.Guards = o.guards
		p, err := control.Controller{Kernel: o.kernel(s)}.Sync(ctx, d, func(p *plan.Plan) error { return o.begin(p, d.State) })
		if !errors.Is(err, control.ErrClassifier) || o.strict && s.insists() != "" {
			return p, err
		}
		if s.standing == nil && s.settle(o.otherPolicy) {
			a.say("warning", fmt.Sprintf("%v; the classifier stays as it is, on %s", err, strings.Join(s.standing.Interfaces(), ", ")))
			continue
		}
		a.engineWhy = err
		a.say("warning", fmt.Sprintf("%v; the fence stands without it", err))
		s.host.Engine = ""
	}
}

type syncOptions struct {
	kernel func(s *site) control.Kernel
	before *site // what the kernel's rules were made from, nil if that is not known
	guards []plan.Guard
	begin  func(p *plan.Plan, want *ruleset.State) error
	// strict refuses what cannot do without the classifier; otherPolicy says that
	// what stands was not made for this one.
	strict, otherPolicy bool
}

// describeEngine says what recognises scanners and what it has seen.
func (a *app) describeEngine(r *statusReport, s *site, have *ruleset.State) {
	switch {
	case s.policy.Signatures.Engine == policy.EngineOff:
		r.EngineWhy = "the policy switches it off"
		return
	case s.host.Engine == "":
		r.EngineWhy = a.whyBlind(s).Error()
		return
	case len(have.Classifier) == 0:
		r.EngineWhy = "the classifier stands nowhere"
		return
	}
	r.Engine = string(policy.EngineBPF)
	signatures := count(s.signatures, "signature")
	r.EngineWhy = signatures + " on " + strings.Join(have.Classifier.Interfaces(), ", ")
	for _, name := range slices.Sorted(maps.Keys(s.blind)) {
		r.EngineWhy += fmt.Sprintf("; none on %s: %v", name, s.blind[name])
	}
	hits, err := classifier.Hits()
	if err != nil {
		a.say("note", fmt.Sprintf("which signatures were matched is not known: %v", err))
		return
	}
	r.Signatures = hits
}

// writeHits prints which signatures were matched how often.
func writeHits(out io.Writer, hits map[string]uint64) {
	names := slices.Sorted(maps.Keys(hits))
	names = slices.DeleteFunc(names, func(name string) bool { return hits[name] == 0 })
	if len(names) == 0 {
		return
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(hits[b], hits[a]) })
	fmt.Fprintf(out, "\npackets that match a signature, since it is looked for\n")
	table(out, func(w io.Writer) {
		for _, name := range names {
			fmt.Fprintf(w, "  %s\t%d\n", name, hits[name])
		}
	})
}

// warnOfEngine tells why nobody is recognised, where somebody should be.
func (a *app) warnOfEngine(s *site) {
	for _, text := range a.engineWarnings(s) {
		a.say("warning", text)
	}
}

func (a *app) engineWarnings(s *site) []string {
	why := a.whyBlind(s)
	var warnings []string
	switch {
	case s.policy.Signatures.Engine == policy.EngineOff:
	case s.host.Engine != "" && s.policy.Unknown.Accept:
		for _, name := range slices.Sorted(maps.Keys(s.blind)) {
			warnings = append(warnings, fmt.Sprintf("unknown.action is accept, and scanners that come in on %s are not recognised: %v; whoever is not banned passes", name, s.blind[name]))
		}
	case s.host.Engine != "" || why == nil:
	case len(s.policy.Unknown.RequireUserAgent) > 0:
		warnings = append(warnings, fmt.Sprintf("unknown phones are dropped, because nobody reads their User-Agent: %v", why))
	case s.policy.Unknown.Accept:
		warnings = append(warnings, fmt.Sprintf("unknown.action is accept, and scanners are not recognised: %v; whoever is not banned passes", why))
	}
	return warnings
}
