package resolve

import (
	"context"
	"errors"
	"time"

	"github.com/miekg/dns"
)

// The bounds of questions that are in no hurry.
const (
	// pace is how often replies are looked for: a process that waits for each of them
	// wakes up for each of them.
	pace = 8 * time.Millisecond
	// unhurriedTime is how long a reply may take before the question is asked as one that
	// is in a hurry is: again, of other servers and without EDNS0.
	unhurriedTime = 500 * time.Millisecond
	// perPort is how many questions come from one port. Somebody who wants to forge an answer
	// has to know the port besides the question and its number.
	perPort = 16
)

// errUnheard says that there was no reply that counts.
var errUnheard = errors.New("no reply")

// unhurried asks the first server once, by a port that some questions share. It reports
// whether there was an answer about which there is no doubt.
func (c *Client) unhurried(ctx context.Context, q Question) (Answer, bool) {
	s := c.byHealth()[0]
	if s.network != "udp" {
		return Answer{}, false
	}
	f := c.posted(ctx, s, q)
	if f.err != nil {
		return Answer{}, false
	}
	s.failures.Store(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered[q], c.last = s, s
	return f.answer, true
}

// posted is what comes of a question with EDNS0 and, if the answer could be better then, of
// one without.
func (c *Client) posted(ctx context.Context, s *server, q Question) form {
	if !s.plain.Load() {
		if f := c.postedAs(ctx, s, q, true); f.err != nil || f.clean() {
			return f
		}
	}
	f := c.postedAs(ctx, s, q, false)
	if f.err == nil {
		s.plain.Store(true)
	}
	return f
}

func (c *Client) postedAs(ctx context.Context, s *server, q Question, edns bool) form {
	return s.heard(q, func() (*dns.Msg, error) {
		reply, err := c.batch.ask(ctx, s, newMessage(q, edns))
		if err == nil && reply.Truncated {
			err = errUnheard // all of it is asked for by TCP
		}
		return reply, err
	})
}
