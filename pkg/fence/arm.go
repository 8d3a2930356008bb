package fence

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// portsSet is the set of the ports that are fenced.
const portsSet = "ports"

// arm gives the ports of a state the lifetime that the kernel lets them have while the
// generation is unconfirmed. After it the rules judge no packet: the fence is open.
func arm(f *session, s *ruleset.State) {
	if u := f.unconfirmed(); u != nil {
		*s = *withLifetime(s, lifetime(u), func(ruleset.Element) bool { return true })
	}
}

// lifetime is that of the ports of a generation from when it is made.
func lifetime(u *journal.Unconfirmed) time.Duration { return time.Duration(u.Window) + kernelGrace }

// withLifetime returns a state in which those of the ports that are meant have this
// lifetime.
func withLifetime(s *ruleset.State, lifetime time.Duration, meant func(ruleset.Element) bool) *ruleset.State {
	ports, ok := s.Sets[portsSet]
	if !ok {
		return s
	}
	with := *s
	with.Sets = maps.Clone(s.Sets)
	ports.Elements = slices.Clone(ports.Elements)
	for i, e := range ports.Elements {
		if meant(e) {
			ports.Elements[i].Timeout = lifetime
		}
	}
	with.Sets[portsSet] = ports
	return &with
}

// lasting returns a plan as it is if the generation is confirmed: a port that stays is no
// change because of its lifetime.
func lasting(p *plan.Plan) *plan.Plan {
	with := map[string]string{} // a port with its lifetime -> without
	for _, e := range p.Want.Sets[portsSet].Elements {
		if e.Timeout > 0 {
			plain := e
			plain.Timeout = 0
			with[e.String()] = plain.String()
		}
	}
	if len(with) == 0 {
		return p
	}
	of := func(c plan.Change, a plan.Action) bool {
		return c.Kind == plan.KindElement && c.Name == portsSet && c.Action == a
	}
	gone := map[string]bool{}
	for _, c := range p.Changes {
		gone[c.Value] = gone[c.Value] || of(c, plan.Delete)
	}
	come := map[string]bool{}
	shown := *p
	shown.Changes = nil
	for _, c := range p.Changes {
		if plain, ok := with[c.Value]; ok && of(c, plan.Add) {
			c.Value = plain
			if come[plain] = true; gone[plain] {
				continue
			}
		}
		shown.Changes = append(shown.Changes, c)
	}
	shown.Changes = slices.DeleteFunc(shown.Changes, func(c plan.Change) bool { return of(c, plan.Delete) && come[c.Value] })
	return &shown
}

// armedKernel is a kernel with an unconfirmed generation. Whatever is left of the
// lifetime of a port is right, and a port that is added again gets no more than that.
type armedKernel struct {
	control.Kernel
	session *session
}

// Observe returns what the kernel holds, with each lifetime that is not longer than that
// from the beginning as if it were that one.
func (k armedKernel) Observe(ctx context.Context) (*ruleset.State, error) {
	s, err := k.Kernel.Observe(ctx)
	u := k.session.unconfirmed()
	if err != nil || u == nil || k.session.arming != nil {
		return s, err
	}
	runsOut := func(e ruleset.Element) bool { return e.Timeout > 0 && e.Timeout <= lifetime(u) }
	return withLifetime(s, lifetime(u), runsOut), nil
}

// slack is how long a commit may come after its generation was begun without giving the
// ports less time.
const slack = 400 * time.Millisecond

// Commit does the plan.
func (k armedKernel) Commit(ctx context.Context, p *plan.Plan) error {
	u := k.session.unconfirmed()
	if u == nil {
		return k.Kernel.Commit(ctx, p)
	}
	left := unconfirmedLeft(u, k.session.Now()) + kernelGrace
	if k.session.arming != nil && left > lifetime(u)-slack {
		return k.Kernel.Commit(ctx, p)
	}
	shorter := *p
	runsOut := func(e ruleset.Element) bool { return e.Timeout > 0 }
	shorter.Want = withLifetime(p.Want, left.Truncate(time.Millisecond), runsOut)
	return k.Kernel.Commit(ctx, &shorter)
}
