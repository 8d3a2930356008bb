package resolve

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// The limits of a walk.
const (
	// concurrent is how many questions are asked at the same time, and concurrentUnhurried
	// how many of those that are in no hurry, which are asked and answered many at once.
	// The forwarders of small routers refuse more than 150.
	concurrent          = 32
	concurrentUnhurried = 128
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

// isService reports whether the name is that of a service, as in _sip._udp.acme.example,
// and stands for its SRV records.
func (t Target) isService() bool {
	service, rest, _ := strings.Cut(t.Name, ".")
	protocol, domain, _ := strings.Cut(rest, ".")
	return t.Registrar && domain != "" && strings.HasPrefix(service, "_") && strings.HasPrefix(protocol, "_")
}

// Result is everything that is behind one name.
type Result struct {
	Target Target
	Roots  []*Node
	// Cut are the limits that have cut something off, none if this is all of it.
	Cut []CutBy
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
	// Server is the name server that has answered.
	Server string
	// Children are the questions that the records led to.
	Children []*Node
	// Step names this question in a chain of records, as in "SRV _sip._udp".
	Step string
	// Again says that the question is elsewhere in the tree too, from where its
	// children are visited.
	Again bool
}

// Resolver finds everything behind names.
type Resolver struct {
	// Lookup is what questions are put to.
	Lookup Lookup
	// Of is what those about a target are put to, with a word for the name servers
	// that are asked then; nil is Lookup for all.
	Of func(Target) (lookup Lookup, servers string)
	// Limit is the most records that one answer about a target may have and be
	// used; nil is 64 for all.
	Limit func(Target, Question) int
	// Hosts are names that the host itself knows.
	Hosts Hosts
	// Unhurried says that nobody waits for the results.
	Unhurried bool
}

// Resolve asks everything about all targets, side by side, and returns one
// result a target, in their order. Earlier targets are served first. It returns when
// all questions are answered or the context is over; what is then open has failed.
func (r Resolver) Resolve(ctx context.Context, targets []Target) []Result {
	if r.Limit == nil {
		r.Limit = func(Target, Question) int { return maxRecords }
	}
	if r.Of == nil {
		r.Of = func(Target) (Lookup, string) { return r.Lookup, "" }
	}
	atOnce := concurrent
	if r.Unhurried {
		atOnce = concurrentUnhurried
	}
	w := walker{Resolver: r, turns: newTurns(atOnce), asked: map[askedOf]*pending{}}
	results := make([]Result, len(targets))
	var group sync.WaitGroup
	// Each target has a question under way or waiting at any time, so many more of
	// them than questions are of no use at once.
	places := make(chan struct{}, 2*atOnce)
	for i, t := range targets {
		places <- struct{}{}
		group.Go(func() {
			results[i] = w.look(ctx, i, t)
			<-places
		})
	}
	group.Wait()
	return results
}

// services are the SRV names that are always asked for: those of RFC 3263 section
// 4.2, and two of no RFC that providers publish and phones ask for.
var services = []string{"_sip._udp", "_sip._tcp", "_sips._tcp", "_sip._tls", "_sips._tls"}

// roots are the first questions of a target.
func (w *walker) roots(t Target) []*Node {
	if t.isService() {
		return []*Node{{Question: Question{t.Name, SRV}, Step: "SRV"}}
	}
	roots := w.Hosts.nodes(t.Name, "")
	if t.Registrar {
		roots = append(roots, &Node{Question: Question{t.Name, NAPTR}})
		for _, s := range services {
			roots = append(roots, &Node{Question: Question{s + "." + t.Name, SRV}, Step: "SRV " + s})
		}
	}
	return append(roots, addressNodes(t.Name, "")...)
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

// children are the questions that a record leads to.
func (w *walker) children(r Record, t Target) []*Node {
	if r.Unused() != "" {
		return nil
	}
	hosts := func(named string) []*Node {
		return append(w.Hosts.nodes(r.Target, named), addressNodes(r.Target, named)...)
	}
	switch r.Type {
	case SRV:
		return hosts(r.Target)
	case NAPTR:
		step := "NAPTR " + strings.ToUpper(r.Service)
		if !strings.EqualFold(r.Flags, "s") {
			return hosts(step + chainArrow + r.Target)
		}
		service := strings.TrimSuffix(r.Target, "."+t.Name)
		return []*Node{{Question: Question{r.Target, SRV}, Step: step + chainArrow + "SRV " + service}}
	}
	return nil
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

// LongestTTL is the longest that there is (RFC 2181 section 8), and that of what does
// not come from a name server.
const LongestTTL = (1<<31 - 1) * time.Second

// each visits every node with the one that led to it, nil for a root, the chain
// of records up to it, and the shortest TTL of the chain with its own records. The
// shortest chains come first.
func (r Result) each(f func(n, parent *Node, via string, ttl time.Duration)) {
	type place struct {
		node, parent *Node
		via          string
		ttl          time.Duration
	}
	var level []place
	for _, n := range r.Roots {
		level = append(level, place{node: n, ttl: LongestTTL})
	}
	for len(level) > 0 {
		var below []place
		for _, p := range level {
			here := p.node.Step
			if p.via != "" && here != "" {
				here = p.via + chainArrow + here
			}
			ttl := p.ttl
			if len(p.node.Records) > 0 {
				ttl = min(ttl, p.node.TTL)
			}
			f(p.node, p.parent, here, ttl)
			if p.node.Again {
				continue
			}
			for _, child := range p.node.Children {
				below = append(below, place{child, p.node, here, ttl})
			}
		}
		level = below
	}
}
