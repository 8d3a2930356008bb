package resolve

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
)

// walker puts each question once to those servers that are asked for a name,
// however many names lead to it.
type walker struct {
	Resolver
	turns *turns

	mu    sync.Mutex
	asked map[askedOf]*pending
}

// askedOf is a question to some servers.
type askedOf struct {
	servers  string
	question Question
}

type pending struct {
	done   chan struct{}
	answer Answer
	err    error
	// cut says that the name that has asked had no time left for the answer. It may
	// be asked for again.
	cut bool
}

// find returns what is known or under way of a question, or begins it.
func (w *walker) find(key askedOf, begin bool) (p *pending, begun bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p = w.asked[key]
	if p == nil && begin {
		p, begun = &pending{done: make(chan struct{})}, true
		w.asked[key] = p
	}
	return p, begun
}

// end hands a reply to all that wait for it.
func (w *walker) end(key askedOf, p *pending) {
	w.mu.Lock()
	if p.cut {
		delete(w.asked, key)
	}
	w.mu.Unlock()
	close(p.done)
}

// ask asks one question, unless its answer is known or under way.
func (l *look) ask(q Question) (Answer, error) {
	key := askedOf{l.servers, q}
	for {
		p, _ := l.find(key, false)
		if p == nil {
			if l.turns.take(l.ctx, l.place, l.count()) != nil {
				return Answer{}, &Failure{q, Timeout, "not asked: " + l.overText()}
			}
			var begun bool
			if p, begun = l.find(key, true); begun {
				l.clock.enter()
				asking, cancel := l.turns.untilContended(l.ctx)
				p.answer, p.err = l.askNow(asking, q)
				l.clock.leave()
				p.cut = p.err != nil && asking.Err() != nil
				cancel()
				l.end(key, p)
			}
			l.turns.give()
			if begun {
				return p.answer, p.err
			}
		}
		l.clock.enter()
		select {
		case <-p.done:
		case <-l.ctx.Done():
		}
		l.clock.leave()
		switch {
		case l.ctx.Err() != nil:
			return Answer{}, &Failure{q, Timeout, "no answer: " + l.overText()}
		case !p.cut:
			return p.answer, p.err
		}
	}
}

func (l *look) askNow(ctx context.Context, q Question) (answer Answer, err error) {
	defer func() {
		// What a name server sends must not be able to end the program.
		if r := recover(); r != nil {
			err = &Failure{q, Malformed, fmt.Sprintf("the answer cannot be read (%v)", r)}
		}
	}()
	answer, err = l.lookup(ctx, q)
	return answer.slim(q, l.Limit(l.target, q)), err
}

// slim leaves out of an answer what nothing can come of, so that answers that are too
// large to be used do not fill the memory.
func (a Answer) slim(q Question, limit int) Answer {
	if len(a.Records) <= limit {
		return a
	}
	var matching, aliases []Record
	for _, r := range a.Records {
		switch r.Type {
		case q.Type:
			matching = append(matching, r)
		case CNAME:
			aliases = append(aliases, r)
		}
	}
	if len(matching) > limit {
		a.Many, matching = len(matching), nil
	}
	a.Records = append(aliases[:min(len(aliases), limit)], matching...)
	return a
}

// eachAtOnce runs a function with each of the nodes side by side.
func eachAtOnce(nodes []*Node, f func(*Node)) {
	var group sync.WaitGroup
	for _, n := range nodes {
		group.Go(func() { f(n) })
	}
	group.Wait()
}

// look asks everything about one target, within the limits of a name.
func (w *walker) look(ctx context.Context, place int, t Target) Result {
	lookup, servers := w.Of(t)
	l := &look{
		walker: w, target: t, place: place, lookup: lookup, servers: servers,
		bounds: bounds{nodes: map[Question]*Node{}, addresses: map[netip.Addr]bool{}, cut: map[CutBy]bool{}},
	}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	l.clock = newClock(timeOfName, func() {
		l.cutBy(CutByTime)
		cancel()
	})
	roots := l.admit(w.roots(t))
	eachAtOnce(roots, l.visit)
	l.complete()
	return Result{Target: t, Roots: roots, Cut: l.cuts()}
}
