package resolve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The limits of a walk.
const (
	// concurrent is how many questions are asked at the same time.
	concurrent = 32
	// maxAliases is how many CNAMEs are followed for one question.
	maxAliases = 8
	// maxRecords is the largest number of records in an answer that is used, unless the
	// user has accepted more. The largest known pool of a real provider has 18
	// addresses.
	maxRecords = 64
)

// Target is a name of the policy.
type Target struct {
	Name string `json:"name"`
	// Registrar says to ask for NAPTR and SRV besides A and AAAA.
	Registrar bool `json:"registrar"`
}

// Result is everything that was found for one name.
type Result struct {
	Target Target
	Roots  []*Node
}

// Node is one question of the tree, with what it led to.
type Node struct {
	Question Question
	// Aliases are the names on the path of CNAMEs to the records.
	Aliases []string
	// Records are those of the asked type, best first. If there are none and Err is
	// nil, the answer is good and says that there are none.
	Records []Record
	// TTL is the shortest one of the records and of the aliases that led to them.
	TTL    time.Duration
	NoName bool
	Err    error
	// Children are the questions that the records led to.
	Children []*Node
	// Step names this question in a chain of records, as in "SRV _sip._udp".
	Step string
}

// Resolver finds everything behind names.
type Resolver struct {
	Lookup Lookup
	// Limit returns how many records an answer about a target may have to be used; nil
	// means 64 for all.
	Limit func(Target, Question) int
}

// Resolve resolves all targets concurrently and returns one result for each, in their
// order. It returns when all questions are answered or the context ends; open questions
// have then failed.
func (r Resolver) Resolve(ctx context.Context, targets []Target) []Result {
	w := walker{lookup: r.Lookup, limit: r.Limit, slots: make(chan struct{}, concurrent), asked: map[Question]*pending{}}
	if w.limit == nil {
		w.limit = func(Target, Question) int { return maxRecords }
	}
	results := make([]Result, len(targets))
	var group sync.WaitGroup
	// Each target always has a question under way, so more targets at once than
	// questions would be of no use.
	places := make(chan struct{}, concurrent)
	for i, t := range targets {
		results[i].Target = t
		places <- struct{}{}
		group.Go(func() {
			results[i].Roots = w.target(ctx, t)
			<-places
		})
	}
	group.Wait()
	return results
}

// walker asks each question once, however many names lead to it.
type walker struct {
	lookup Lookup
	limit  func(Target, Question) int
	slots  chan struct{}

	mu    sync.Mutex
	asked map[Question]*pending
}

type pending struct {
	done   chan struct{}
	answer Answer
	err    error
}

func (w *walker) ask(ctx context.Context, q Question) (Answer, error) {
	w.mu.Lock()
	p, underway := w.asked[q]
	if !underway {
		p = &pending{done: make(chan struct{})}
		w.asked[q] = p
	}
	w.mu.Unlock()
	if underway {
		<-p.done
		return p.answer, p.err
	}
	defer close(p.done)
	w.slots <- struct{}{}
	defer func() { <-w.slots }()
	p.answer, p.err = w.askNow(ctx, q)
	return p.answer, p.err
}

func (w *walker) askNow(ctx context.Context, q Question) (answer Answer, err error) {
	if ctx.Err() != nil {
		return Answer{}, &Failure{q, Timeout, "not asked: the time limit for all questions was reached"}
	}
	defer func() {
		// Data from a name server must not be able to crash the program.
		if r := recover(); r != nil {
			err = &Failure{q, Malformed, fmt.Sprintf("the answer cannot be read (%v)", r)}
		}
	}()
	return w.lookup(ctx, q)
}

// services are the SRV names of RFC 3263 section 4.2, which are always asked for.
var services = []string{"_sip._udp", "_sip._tcp", "_sips._tcp"}

func (w *walker) target(ctx context.Context, t Target) []*Node {
	var roots []*Node
	if t.Registrar {
		roots = append(roots, &Node{Question: Question{t.Name, NAPTR}})
		for _, s := range services {
			roots = append(roots, &Node{Question: Question{s + "." + t.Name, SRV}, Step: "SRV " + s})
		}
	}
	roots = append(roots, addressNodes(t.Name, "")...)
	w.visitAll(ctx, roots, t)
	return roots
}

// addressNodes asks for both kinds of addresses. A host other than the target itself is
// named in the chain of records.
func addressNodes(host, named string) []*Node {
	var nodes []*Node
	for _, kind := range []Type{A, AAAA} {
		nodes = append(nodes, &Node{Question: Question{host, kind}, Step: strings.TrimSpace(named + " " + string(kind))})
	}
	return nodes
}

func (w *walker) visitAll(ctx context.Context, nodes []*Node, t Target) {
	var group sync.WaitGroup
	for _, n := range nodes {
		group.Go(func() { w.visit(ctx, n, t) })
	}
	group.Wait()
}

func (w *walker) visit(ctx context.Context, n *Node, t Target) {
	w.follow(ctx, n, t)
	for _, r := range n.Records {
		switch {
		case r.Unused() != "":
		case r.Type == SRV:
			n.Children = append(n.Children, addressNodes(r.Target, r.Target)...)
		case r.Type == NAPTR:
			step := "NAPTR " + strings.ToUpper(r.Service)
			if strings.EqualFold(r.Flags, "s") {
				service := strings.TrimSuffix(r.Target, "."+t.Name)
				n.Children = append(n.Children, &Node{Question: Question{r.Target, SRV}, Step: step + chainArrow + "SRV " + service})
			} else {
				n.Children = append(n.Children, addressNodes(r.Target, step+chainArrow+r.Target)...)
			}
		}
	}
	w.visitAll(ctx, n.Children, t)
}

const chainArrow = " -> "

// sipServices are the NAPTR services of SIP: RFC 3263 section 4.1, RFC 4168 and RFC
// 7118.
var sipServices = []string{"SIP+D2U", "SIP+D2T", "SIPS+D2T", "SIP+D2S", "SIP+D2W", "SIPS+D2W"}

// Unused returns why a record leads nowhere, "" if it leads to names or is an address.
// Order, preference, priority and weight rank records but exclude none.
func (r Record) Unused() string {
	switch {
	case r.Type == SRV && r.Target == "":
		return "it says that there is no such service" // RFC 2782
	case r.Type != NAPTR:
		return ""
	case !slices.Contains(sipServices, strings.ToUpper(r.Service)):
		return "its service is not one of SIP"
	case r.Regexp != "":
		return "SIP does not use regular expressions" // RFC 3263 section 4.1
	case !strings.EqualFold(r.Flags, "s") && !strings.EqualFold(r.Flags, "a"):
		return "its flag is neither s nor a"
	case r.Target == "":
		return "it has no replacement"
	}
	return ""
}

// follow asks the node's question and follows aliases to its records. Only records of
// the asked name, or of an alias on the way, count.
func (w *walker) follow(ctx context.Context, n *Node, t Target) {
	name, asked := n.Question.Name, n.Question.Name
	limit := w.limit(t, n.Question)
	n.TTL = longestTTL
	answer, err := w.ask(ctx, n.Question)
	for {
		if err != nil {
			n.Err = err
			return
		}
		var alias string
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
		switch {
		case len(n.Records) > limit:
			n.Err = &Failure{n.Question, TooLarge, fmt.Sprintf("the answer has %s, more than %d", tooMany(len(n.Records), answer.Cut), limit)}
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
			asked = name
			answer, err = w.ask(ctx, Question{name, n.Question.Type})
		case len(answer.Records) > 0 && len(n.Aliases) == 0:
			n.Err = &Failure{n.Question, Malformed, "the answer is about " + answer.Records[0].Owner + " instead"}
			return
		default:
			n.NoName = answer.NoName
			return
		}
	}
}

// tooMany writes the number of records.
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

// longestTTL is the largest possible TTL (RFC 2181 section 8).
const longestTTL = (1<<31 - 1) * time.Second

// each calls f for every node with the node that led to it, nil for a root, the chain
// of records up to it, and the shortest TTL of the chain including its own records.
func (r Result) each(f func(n, parent *Node, via string, ttl time.Duration)) {
	var visit func(nodes []*Node, parent *Node, via string, ttl time.Duration)
	visit = func(nodes []*Node, parent *Node, via string, ttl time.Duration) {
		for _, n := range nodes {
			here := n.Step
			if via != "" && here != "" {
				here = via + chainArrow + here
			}
			below := ttl
			if len(n.Records) > 0 {
				below = min(below, n.TTL)
			}
			f(n, parent, here, below)
			visit(n.Children, n, here, below)
		}
	}
	visit(r.Roots, nil, "", longestTTL)
}
