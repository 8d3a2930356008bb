package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Memory is what all answers so far have taught, and the content of the file
// addresses.json. NewMemory makes one that knows nothing.
type Memory struct {
	Version int       `json:"version"`
	Names   []Known   `json:"names"`
	Refresh Refreshed `json:"refresh"`
}

// memoryVersion is the version of the file that this code writes.
const memoryVersion = 1

// NewMemory returns a memory that knows nothing.
func NewMemory() Memory {
	return Memory{Version: memoryVersion, Names: []Known{}, Refresh: Refreshed{Failures: []Problem{}}}
}

// Known is what is remembered of one name.
type Known struct {
	Name      string         `json:"name"`
	Registrar bool           `json:"registrar"`
	Addresses []KnownAddress `json:"addresses"`
	// Rejected are the addresses in the last answers that are not believed.
	Rejected  []Rejected    `json:"rejected,omitempty"`
	Questions []KnownAnswer `json:"questions"`
}

// Rejected is an address that an answer gave and that is not believed.
type Rejected struct {
	Address netip.Addr `json:"address"`
	Why     string     `json:"why"`
}

func (r Rejected) String() string { return r.Address.String() + " " + r.Why }

// KnownAddress is an address behind a name.
type KnownAddress struct {
	Address   netip.Addr `json:"address"`
	Via       string     `json:"via"`
	TTL       int64      `json:"ttl"` // seconds
	FirstSeen time.Time  `json:"first_seen"`
	LastSeen  time.Time  `json:"last_seen"`
	// MissingSince is the first good answer that lacked the address; zero while
	// answers have it.
	MissingSince time.Time `json:"missing_since,omitzero"`
}

// KnownAnswer is what is remembered of one question.
type KnownAnswer struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
	// LastGood is the last answer that had records, zero if there never was one.
	LastGood    time.Time `json:"last_good,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`
	Error       string    `json:"error,omitempty"` // of the last failure
}

// Refreshed is the last time that all names were asked for.
type Refreshed struct {
	Time     time.Time `json:"time,omitzero"`
	OK       bool      `json:"ok"`
	Failures []Problem `json:"failures"`
}

// Problem is a name, or one question of it, that brought no good answer.
type Problem struct {
	Name  string `json:"name"`
	Type  Type   `json:"type"`
	Error string `json:"error"`
	// Target is the name of the policy that the question belongs to.
	Target Target `json:"target"`
}

// Check says what makes a memory that was read from a file senseless.
func (m Memory) Check() error {
	if m.Version != memoryVersion {
		return fmt.Errorf("version %d is not %d", m.Version, memoryVersion)
	}
	for _, k := range m.Names {
		if k.Name == "" {
			return errors.New("a name is empty")
		}
		for _, a := range k.Addresses {
			if !a.Address.IsValid() || a.Address.Zone() != "" || a.Address.Is4In6() {
				return fmt.Errorf("%q of %s is no address", a.Address, k.Name)
			}
		}
	}
	return nil
}

// Screened returns the memory without the addresses that the screen rejects:
// what may be believed depends on policy and host, and both change.
func (m Memory) Screened(screen Screen) Memory {
	screened := m
	screened.Names = slices.Clone(m.Names)
	for i, k := range screened.Names {
		screened.Names[i].Addresses = slices.DeleteFunc(slices.Clone(k.Addresses), func(a KnownAddress) bool {
			return screen.Reject(a.Address) != ""
		})
	}
	return screened
}

// Learn returns the memory after the results, which are for all names of the
// policy: what is remembered of other names is dropped, so that their addresses
// leave at once.
//
//	an address in an answer             is kept, or comes in at once
//	an address that no answer has       leaves once good answers have lacked it for hold
//	a failed question; no records, or   nothing of that name ages; it is a Problem
//	only rejected addresses, where
//	there once were good ones
//	a target without any address        the same
//	nothing behind a name at all        what was known stays; it is a Problem
//	an address that the screen rejects  never comes in, nor stays; it is noted
//
// A question that never had records, as _sips._tcp of most providers, is no
// problem. Learn is pure.
func (m Memory) Learn(results []Result, screen Screen, hold time.Duration, now time.Time) Memory {
	next := NewMemory()
	next.Refresh.Time = now
	m = m.Screened(screen)
	for _, r := range results {
		known, problems := m.name(r.Target).learn(r, screen, hold, now)
		next.Names = append(next.Names, known)
		next.Refresh.Failures = append(next.Refresh.Failures, problems...)
	}
	next.Refresh.OK = len(next.Refresh.Failures) == 0
	return next
}

// name returns what is known of a target.
func (m Memory) name(t Target) Known {
	for _, k := range m.Names {
		if k.Name == t.Name && k.Registrar == t.Registrar {
			return k
		}
	}
	return Known{Name: t.Name, Registrar: t.Registrar}
}

// Addresses returns what is known of a target.
func (m Memory) Addresses(t Target) []KnownAddress { return m.name(t).Addresses }

// Find returns what is known of one address of a name.
func (m Memory) Find(name string, registrar bool, a netip.Addr) (KnownAddress, bool) {
	return m.name(Target{name, registrar}).address(a)
}

// Count is how many addresses all names have together.
func (m Memory) Count() int {
	n := 0
	for _, k := range m.Names {
		n += len(k.Addresses)
	}
	return n
}

// Merge returns m with what is remembered in other of targets that m knows
// nothing of.
func (m Memory) Merge(other Memory) Memory {
	merged := m
	merged.Names = slices.Clone(m.Names)
	for _, k := range other.Names {
		if len(m.name(Target{k.Name, k.Registrar}).Addresses) == 0 {
			merged.Names = slices.DeleteFunc(merged.Names, func(o Known) bool { return o.Name == k.Name && o.Registrar == k.Registrar })
			merged.Names = append(merged.Names, k)
		}
	}
	return merged
}

// Only returns what m remembers of the targets, Without what it remembers of
// others.
func (m Memory) Only(targets []Target) Memory { return m.where(targets, true) }

// Without is described at Only.
func (m Memory) Without(targets []Target) Memory { return m.where(targets, false) }

func (m Memory) where(targets []Target, among bool) Memory {
	some := m
	some.Names = []Known{}
	for _, k := range m.Names {
		if slices.Contains(targets, Target{k.Name, k.Registrar}) == among {
			some.Names = append(some.Names, k)
		}
	}
	return some
}

// SeenSince returns what m remembers of names of which an address was seen
// since then.
func (m Memory) SeenSince(then time.Time) Memory {
	some := m
	some.Names = []Known{}
	for _, k := range m.Names {
		if slices.ContainsFunc(k.Addresses, func(a KnownAddress) bool { return !a.LastSeen.Before(then) }) {
			some.Names = append(some.Names, k)
		}
	}
	return some
}

func (k Known) learn(r Result, screen Screen, hold time.Duration, now time.Time) (Known, []Problem) {
	questions, problems := k.learnAnswers(r, screen, now)
	good := len(problems) == 0
	next := Known{Name: k.Name, Registrar: k.Registrar, Questions: questions}

	seen := map[netip.Addr]bool{}
	for _, f := range r.Addresses() {
		if why := screen.Reject(f.Address); why != "" {
			next.Rejected = append(next.Rejected, Rejected{f.Address, why})
			continue
		}
		seen[f.Address] = true
		a := KnownAddress{Address: f.Address, Via: f.Via, TTL: int64(f.TTL / time.Second), FirstSeen: now, LastSeen: now}
		if old, ok := k.address(f.Address); ok {
			a.FirstSeen = old.FirstSeen
		}
		next.Addresses = append(next.Addresses, a)
	}
	nothing := len(seen) == 0
	for _, old := range k.Addresses {
		if seen[old.Address] {
			continue
		}
		if good && !nothing {
			if old.MissingSince.IsZero() {
				old.MissingSince = now
			}
			if now.Sub(old.MissingSince) >= hold {
				continue
			}
		}
		next.Addresses = append(next.Addresses, old)
	}
	slices.SortFunc(next.Addresses, func(a, b KnownAddress) int { return a.Address.Compare(b.Address) })

	if nothing && len(next.Rejected) > 0 {
		texts := make([]string, len(next.Rejected))
		for i, rejected := range next.Rejected {
			texts[i] = rejected.String()
		}
		problems = append(problems, Problem{Name: k.Name, Error: "no address that can be believed: " + strings.Join(texts, "; ")})
	} else if nothing && good {
		problems = append(problems, Problem{Name: k.Name, Error: k.nothingText()})
	}
	for i := range problems {
		problems[i].Target = r.Target
	}
	return next, problems
}

func (k Known) nothingText() string {
	if k.Registrar {
		return "no address: it has no NAPTR, SRV, A or AAAA record that leads to one"
	}
	return "no address: it has no A or AAAA record"
}

func (k Known) address(a netip.Addr) (KnownAddress, bool) {
	for _, known := range k.Addresses {
		if known.Address == a {
			return known, true
		}
	}
	return KnownAddress{}, false
}

// learnAnswers notes each question's outcome and returns those that are
// problems.
func (k Known) learnAnswers(r Result, screen Screen, now time.Time) ([]KnownAnswer, []Problem) {
	known := map[Question]KnownAnswer{}
	for _, q := range k.Questions {
		known[Question{q.Name, q.Type}] = q
	}
	var problems []Problem
	asked := map[Question]KnownAnswer{}
	r.each(func(n *Node, _ string, _ time.Duration) {
		if _, twice := asked[n.Question]; twice {
			return
		}
		a := known[n.Question]
		a.Name, a.Type = n.Question.Name, n.Question.Type
		why := n.failure(screen, !a.LastGood.IsZero())
		switch {
		case why != "":
			a.LastFailure, a.Error = now, why
			problems = append(problems, Problem{Name: a.Name, Type: a.Type, Error: why})
		case n.good(screen):
			a.LastGood, a.Error = now, ""
		}
		asked[n.Question] = a
		for _, target := range n.emptyTargets() {
			problems = append(problems, Problem{Name: target, Error: "no address: " + n.Question.String() + " leads to it, and it has no A or AAAA record"})
		}
	})
	if len(problems) > 0 {
		// What was not asked for because a question above it failed is not
		// forgotten.
		for q, a := range known {
			if _, ok := asked[q]; !ok {
				asked[q] = a
			}
		}
	}
	answers := slices.Collect(maps.Values(asked))
	slices.SortFunc(answers, func(a, b KnownAnswer) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(string(a.Type), string(b.Type)))
	})
	return answers, problems
}

// good reports whether the answer has a record that can be used.
func (n *Node) good(screen Screen) bool {
	return slices.ContainsFunc(n.Records, func(r Record) bool { return !r.Address.IsValid() || screen.Reject(r.Address) == "" })
}

// failure says why the question has no good answer, "" if it has, or if there
// is nothing and never was.
func (n *Node) failure(screen Screen, wasGood bool) string {
	switch {
	case n.Err != nil:
		return failureText(n.Err)
	case !wasGood || n.good(screen):
		return ""
	case len(n.Records) > 0:
		return "only addresses that cannot be believed, where there were others"
	case n.NoName:
		return "the name does not exist any more"
	}
	return fmt.Sprintf("no %s record any more, where there was one", n.Question.Type)
}

// emptyTargets are the names that the node's records lead to and that have
// neither kind of address, as far as was heard.
func (n *Node) emptyTargets() []string {
	found, failed := map[string]bool{}, map[string]bool{}
	var names []string
	for _, child := range n.Children {
		if child.Question.Type != A && child.Question.Type != AAAA {
			continue
		}
		name := child.Question.Name
		names = append(names, name)
		found[name] = found[name] || len(child.Records) > 0
		failed[name] = failed[name] || child.Err != nil
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return found[name] || failed[name] })
}

func failureText(err error) string {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Text
	}
	return err.Error()
}
