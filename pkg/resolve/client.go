package resolve

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// The limits of one question.
const (
	serverTimeout = 2 * time.Second
	serverTries   = 2
)

// Client asks name servers. It uses neither search domains nor a cache.
type Client struct {
	servers []*server
	timeout time.Duration
	tries   int
	batch   *batch // nil if it is in a hurry

	mu sync.Mutex
	// answered says which server answered each question, and last which one answered
	// most recently. Again needs them.
	answered map[Question]*server
	last     *server
}

// Dial opens a connection to a name server, as net.Dialer's DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// NewClient returns a client for the given servers.
func NewClient(servers Servers) *Client {
	c := &Client{
		answered: map[Question]*server{},
		timeout:  cmp.Or(servers.Timeout, serverTimeout),
		tries:    cmp.Or(servers.Tries, serverTries),
	}
	for _, a := range servers.Addresses {
		c.servers = append(c.servers, newServer(a, servers.TCP))
	}
	if servers.Unhurried {
		c.batch = newBatch()
	}
	return c
}

// Through makes the client open its connections with dial, and returns the client.
func (c *Client) Through(dial Dial) *Client {
	c.batch = nil
	for _, s := range c.servers {
		s.dial = dial
	}
	return c
}

// Lookup asks the servers in turn until one answers. A name that does not exist
// is an answer. It is a Lookup.
//
// The next server is asked when one has failed or has been silent for half of its
// time, and a late answer is taken all the same: so neither a dead server nor a
// slow one keeps the others from being heard.
func (c *Client) Lookup(ctx context.Context, q Question) (Answer, error) {
	if len(c.servers) == 0 {
		return Answer{}, &Failure{q, Unreachable, "there is no name server to ask"}
	}
	if c.batch != nil {
		if answer, ok := c.unhurried(ctx, q); ok {
			return answer, nil
		}
	}
	r := race{Client: c, question: q, silent: map[*server]int{}}
	for range c.tries {
		r.turns = append(r.turns, c.byHealth()...)
	}
	return r.run(ctx)
}

// race is one question to all servers, of which the first good answer counts.
type race struct {
	*Client
	question Question
	turns    []*server
	// silent counts the turns of servers that have not answered yet, and failed is
	// what the others said.
	silent map[*server]int
	failed []*Failure
}

// reply is what has come of one turn.
type reply struct {
	server *server
	answer Answer
	err    error
}

func (r *race) run(ctx context.Context) (Answer, error) {
	whole := r.timeout*time.Duration(r.tries) + r.timeout/2*time.Duration(len(r.servers)-1)
	running, cancel := context.WithTimeout(ctx, whole)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	replies := make(chan reply, len(r.turns))
	next := time.NewTimer(0)
	defer next.Stop()
	for underway := 0; len(r.turns) > 0 || underway > 0; {
		select {
		case <-next.C:
			if len(r.turns) == 0 {
				continue
			}
			s := r.turns[0]
			r.turns = r.turns[1:]
			r.silent[s]++
			underway++
			group.Go(func() {
				answer, err := s.ask(running, r.question, r.timeout/2)
				replies <- reply{s, answer, err}
			})
			next.Reset(r.pace(s))
		case reply := <-replies:
			underway--
			r.silent[reply.server]--
			if reply.err == nil {
				r.won(reply.server)
				return reply.answer, nil
			}
			r.lost(reply)
			next.Reset(0)
		case <-ctx.Done():
			return Answer{}, r.cut()
		}
	}
	if ctx.Err() != nil {
		return Answer{}, r.cut()
	}
	return Answer{}, r.failure()
}

// pace is when the next turn is after one of a server. The same server is given its
// whole time.
func (r *race) pace(s *server) time.Duration {
	if len(r.turns) > 0 && r.turns[0] == s {
		return r.timeout
	}
	return r.timeout / 2
}

func (r *race) won(winner *server) {
	winner.failures.Store(0)
	for s, n := range r.silent {
		if n > 0 && s != winner {
			s.failures.Add(1)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered[r.question], r.last = winner, winner
}

func (r *race) lost(reply reply) {
	f, ok := errors.AsType[*Failure](reply.err)
	if !ok {
		f = &Failure{r.question, Malformed, reply.err.Error()}
	}
	if f.Kind == Timeout || f.Kind == Unreachable {
		reply.server.failures.Add(1)
	}
	if !slices.ContainsFunc(r.failed, func(o *Failure) bool { return o.Text == f.Text }) {
		r.failed = append(r.failed, f)
	}
}

// failure is what all servers said; what a server answered says more than that
// another did not.
func (r *race) failure() *Failure {
	f := &Failure{Question: r.question, Kind: Timeout}
	var texts []string
	for _, failed := range r.failed {
		if f.Kind == Timeout || f.Kind == Unreachable {
			f.Kind = failed.Kind
		}
		texts = append(texts, failed.Text)
	}
	f.Text = strings.Join(texts, "; ")
	return f
}

// cut is the failure of a question that was open when the time was over.
func (r *race) cut() *Failure {
	f := r.failure()
	texts := []string{}
	if f.Text != "" {
		texts = append(texts, f.Text)
	}
	for _, s := range r.servers {
		if r.silent[s] > 0 && !strings.Contains(f.Text, s.address) {
			texts = append(texts, s.address+" has not answered")
		}
	}
	f.Kind, f.Text = Timeout, strings.Join(texts, "; ")+" before the time was over"
	return f
}

// Again asks a question a second time, in another way than Lookup did: it asks another
// server or, if none answers, the same one by TCP, where an answer is hard to forge.
// For a question that Lookup was not asked, it avoids the server that answered the
// others. Again is a Lookup.
func (c *Client) Again(ctx context.Context, q Question) (Answer, error) {
	c.mu.Lock()
	first := c.answered[q]
	if first == nil {
		first = c.last
	}
	c.mu.Unlock()
	if first == nil {
		return c.Lookup(ctx, q)
	}
	for _, s := range c.byHealth() {
		if s == first {
			continue
		}
		if answer, err := c.askFor(ctx, s, q, c.timeout); err == nil {
			return answer, nil
		}
	}
	if ctx.Err() != nil {
		return Answer{}, &Failure{q, Timeout, "no second answer within the time limit for all questions"}
	}
	return c.askFor(ctx, first.byTCP(), q, c.timeout)
}

// askFor asks one server for a time.
func (c *Client) askFor(ctx context.Context, s *server, q Question, d time.Duration) (Answer, error) {
	asking, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return s.ask(asking, q, d/2)
}

// byHealth are the servers with those at the end that fail.
func (c *Client) byHealth() []*server {
	servers := slices.Clone(c.servers)
	failures := map[*server]int32{} // read once, because other goroutines change them
	for _, s := range servers {
		failures[s] = s.failures.Load()
	}
	slices.SortStableFunc(servers, func(a, b *server) int { return cmp.Compare(failures[a], failures[b]) })
	return servers
}
