package fence

import (
	"context"
	"sync/atomic"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/signature"
)

// recorder keeps who was dropped, as the newest generation's policy says.
type recorder struct {
	*events.Recorder
	policy atomic.Pointer[policy.Policy]
}

// follow takes over a policy.
func (r *recorder) follow(p *policy.Policy) {
	r.policy.Store(p)
	r.Keep(p.Events.Keep)
}

// namer returns a function that names the signature of the policy that a message matches.
// It is not called twice at once.
func (r *recorder) namer() func(message []byte) string {
	var of *policy.Policy
	var automaton *signature.Automaton
	return func(message []byte) string {
		p := r.policy.Load()
		if p == nil {
			return ""
		}
		if p != of {
			// What is wrong with the signatures is said where the classifier is made.
			automaton, _ = catalog.AutomatonOf(p)
			of = p
		}
		if automaton == nil {
			return ""
		}
		return automaton.Match(message).Signature
	}
}

// Listen keeps dropped packets in memory, until the context ends. It, WriteEvents and the
// other methods may be called at once.
func (r *Reconciler) Listen(ctx context.Context) {
	if open := r.fence.Drops; open != nil {
		r.recorder.Listen(ctx, func() (events.Source, error) { return open(r.recorder.namer()) })
	}
}

// WriteEvents writes what has come since the last time, everything if it is the last one.
// It reports whether there is something new to say about that.
func (r *Reconciler) WriteEvents(last bool) (news bool) { return r.recorder.Write(last) }

// eventNotices are what is wrong with keeping events. What is to be said once is sent.
func eventNotices(r *Reconciler) []notice.Notice {
	for _, n := range r.recorder.TakeAside() {
		r.fence.Notice.Send(n)
	}
	return r.recorder.Notices()
}
