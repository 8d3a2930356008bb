package resolve

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// The limits of one look at a name. The largest real registrar that is known asks
// 40 questions and has 18 addresses.
const (
	maxQuestions = 256
	maxAddresses = 512
	timeOfName   = 5 * time.Second
	// maxAgain is how often questions may be in the tree that are there already.
	maxAgain = 1024
)

// CutBy is a limit that has cut something off.
type CutBy string

// The limits of one look at a name.
const (
	CutByQuestions CutBy = "256 questions"
	CutByAddresses CutBy = "512 addresses"
	CutByTime      CutBy = "5 s"
)

// look is one target while it is asked about.
type look struct {
	*walker
	ctx     context.Context
	target  Target
	place   int // in the order of targets
	lookup  Lookup
	servers string
	clock   *clock
	bounds
}

// bounds count what one look has asked and heard.
type bounds struct {
	mu        sync.Mutex
	nodes     map[Question]*Node // the first of each question
	again     []*Node
	questions int // admitted
	asked     int // those that have gone out, or wait to
	addresses map[netip.Addr]bool
	accepted  int // addresses more than usual that somebody has accepted
	cut       map[CutBy]bool
}

func (b *bounds) cutBy(limit CutBy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut[limit] = true
}

func (b *bounds) cuts() []CutBy {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []CutBy
	for _, limit := range []CutBy{CutByQuestions, CutByAddresses, CutByTime} {
		if b.cut[limit] {
			list = append(list, limit)
		}
	}
	return list
}

// count counts a question that is about to be asked, and returns how many were
// before it.
func (b *bounds) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.asked - 1
}

// admitAlias reports whether there is room for the question behind an alias.
func (b *bounds) admitAlias() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.questions >= maxQuestions {
		b.cut[CutByQuestions] = true
		return false
	}
	b.questions++
	return true
}

// overText says which time is over.
func (b *bounds) overText() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cut[CutByTime] {
		return "the " + string(CutByTime) + " for one name were over"
	}
	return "the time for all questions was over"
}

// admit returns those of the nodes that the limits leave room for.
func (b *bounds) admit(nodes []*Node) []*Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	var admitted []*Node
	for _, n := range nodes {
		switch first := b.nodes[n.Question]; {
		case first == nil && n.Question.Type == HostsFile:
			b.nodes[n.Question] = n
		case first == nil && b.cut[CutByAddresses]:
			continue
		case first == nil && b.questions >= maxQuestions:
			b.cut[CutByQuestions] = true
			continue
		case first == nil:
			b.questions++
			b.nodes[n.Question] = n
		case len(b.again) >= maxAgain:
			continue
		default:
			n.Again = true
			b.again = append(b.again, n)
		}
		admitted = append(admitted, n)
	}
	return admitted
}

// keep leaves the node those addresses that there is room for.
func (b *bounds) keep(n *Node, limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if limit > maxRecords {
		b.accepted += len(n.Records)
	}
	before := len(n.Records)
	n.Records = slices.DeleteFunc(n.Records, func(r Record) bool {
		a := r.Address.Unmap()
		switch {
		case !a.IsValid() || b.addresses[a]:
			return false
		case len(b.addresses) >= maxAddresses+b.accepted:
			b.cut[CutByAddresses] = true
			return true
		}
		b.addresses[a] = true
		return false
	})
	if len(n.Records) == 0 && before > 0 {
		n.Err = &Failure{n.Question, Unasked, fmt.Sprintf("its addresses are left out: one name may have no more than %s", CutByAddresses)}
	}
}

// complete fills in what questions say that are in the tree again.
func (b *bounds) complete() {
	for _, n := range b.again {
		step := n.Step
		*n = *b.nodes[n.Question]
		n.Step, n.Again = step, true
	}
}

// visit asks a node's question, and then those that its records lead to.
func (l *look) visit(n *Node) {
	if n.Again {
		return
	}
	if n.Question.Type != HostsFile {
		l.follow(n)
	}
	l.keep(n, l.Limit(l.target, n.Question))
	var children []*Node
	for _, r := range n.Records {
		children = append(children, l.children(r, l.target)...)
	}
	n.Children = l.admit(children)
	eachAtOnce(n.Children, l.visit)
}

// follow asks the node's question and follows aliases to its records. Only
// records of the asked name, or of an alias that leads on from it, count.
func (l *look) follow(n *Node) {
	name, asked := n.Question.Name, n.Question.Name
	limit := l.Limit(l.target, n.Question)
	n.TTL = LongestTTL
	answer, err := l.ask(n.Question)
	for {
		if err != nil {
			n.Err = err
			return
		}
		n.Server = answer.Server
		alias := n.take(answer, name)
		many := max(len(n.Records), answer.Many)
		switch {
		case many > limit:
			n.Err = &Failure{n.Question, TooLarge, fmt.Sprintf("the answer has %s, more than %d", tooMany(many, answer.Cut), limit)}
			n.Records = nil
			return
		case answer.Cut:
			n.Err = &Failure{n.Question, Truncated, "the answer does not fit into any message"}
			n.Records = nil
			return
		case len(n.Records) > 0:
			sortRecords(n.Records)
			return
		case alias != "":
			if len(n.Aliases) == maxAliases {
				n.Err = &Failure{n.Question, Loop, fmt.Sprintf("more than %d aliases, the last to %s", maxAliases, alias)}
				return
			}
			n.Aliases = append(n.Aliases, alias)
			name = alias
		case name != asked:
			// The server did not follow the alias itself.
			if !l.admitAlias() {
				n.Err = &Failure{n.Question, Unasked, fmt.Sprintf("the alias %s was not asked for: one name may ask no more than %s", name, CutByQuestions)}
				return
			}
			asked = name
			answer, err = l.ask(Question{name, n.Question.Type})
		case len(answer.Records) > 0 && len(n.Aliases) == 0:
			n.Err = &Failure{n.Question, Malformed, "the answer is about " + answer.Records[0].Owner + " instead"}
			return
		default:
			n.NoName = answer.NoName
			return
		}
	}
}

// take takes the records of a name out of an answer, and returns what it is an alias
// of, "" if it is none.
func (n *Node) take(answer Answer, name string) (alias string) {
	for _, r := range answer.Records {
		if r.Owner != name {
			continue
		}
		switch r.Type {
		case n.Question.Type:
			n.Records = append(n.Records, r)
		case CNAME:
			alias = r.Target
		default:
			continue
		}
		n.TTL = min(n.TTL, r.TTL)
	}
	return alias
}

// tooMany writes how many records there are.
func tooMany(n int, cut bool) string {
	if cut {
		return fmt.Sprintf("more than %d records", n)
	}
	return fmt.Sprintf("%d records", n)
}

func sortRecords(records []Record) {
	slices.SortStableFunc(records, func(a, b Record) int {
		return cmp.Or(
			cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(a.Weight, b.Weight),
			strings.Compare(a.Service, b.Service),
			strings.Compare(a.Target, b.Target),
			a.Address.Compare(b.Address),
		)
	})
}

// clock measures the time in which somebody is waited for, and calls a function when
// there was enough of it. The time until a question goes out does not count.
type clock struct {
	mu      sync.Mutex
	left    time.Duration
	over    func()
	waiting int
	since   time.Time
	timer   *time.Timer
}

func newClock(d time.Duration, over func()) *clock { return &clock{left: d, over: over} }

func (c *clock) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	if c.waiting == 1 {
		c.since = time.Now()
		c.timer = time.AfterFunc(c.left, c.over)
	}
}

func (c *clock) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	if c.waiting == 0 {
		c.timer.Stop()
		c.left -= time.Since(c.since)
	}
}
