package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// item is a line read back: the statements of its rule, and what sets it apart from the
// other lines of the same rule.
type item struct {
	line     string
	skeleton string // equal for all lines of a rule
	source   netip.Prefix
	ports    []ruleset.Element
	armed    bool // it asks whether the ports still have a lifetime
	replies  bool // the ports are those of the source
	matched  []ruleset.Statement
	make     func(items []item) []ruleset.Statement
}

// decoder reads the lines of one table of one family.
type decoder struct {
	v6 bool
	// learned is what rules say of ports, which must be the same everywhere.
	learned *learned
	stage   bool // as of an encoder
}

// rules reads the lines of a chain. It guesses statements, writes the guess again and
// takes it only if the result is equal: whatever ringfence would not have written in
// just this way is foreign, whether this code knows it or not.
func (d decoder) rules(lines []string) []ruleset.Rule {
	var rules []ruleset.Rule
	for len(lines) > 0 {
		rule, n := d.first(lines)
		rules, lines = append(rules, rule), lines[n:]
	}
	return rules
}

// first reads the first rule, and says how many lines it takes.
func (d decoder) first(lines []string) (ruleset.Rule, int) {
	if rule, ok := d.record(lines); ok {
		return rule, 3
	}
	first, ok := d.item(lines[0])
	if !ok {
		return ruleset.ForeignRule(lines[0]), 1
	}
	if limit, ok := limitIn(first.matched, lines[1:]); ok {
		return d.limited(first, limit, lines)
	}
	group := []item{first}
	for _, line := range lines[1:] {
		next, ok := d.item(line)
		if !ok || next.skeleton != first.skeleton || !next.follows() {
			break
		}
		group = append(group, next)
	}
	// Two rules of one line each may look like one of two lines.
	for n := len(group); n > 0; n-- {
		statements := first.make(group[:n])
		if statements == nil {
			continue
		}
		rule := ruleset.NewRule(statements...)
		ports := portsOf(group[:n])
		written, err := encoder{v6: d.v6, ports: ports, stage: d.stage}.rule(rule)
		if err == nil && slices.Equal(written, lines[:n]) && d.learn(ports, statements) {
			return rule, n
		}
	}
	return ruleset.ForeignRule(lines[0]), 1
}

// follows reports whether a line can be another one of the same rule.
func (i item) follows() bool { return i.source.IsValid() || len(i.ports) > 0 }

// portsOf are the ports of a rule.
func portsOf(group []item) []ruleset.Element {
	var ports []ruleset.Element
	for _, i := range group {
		ports = append(ports, i.ports...)
	}
	slices.SortFunc(ports, ruleset.Element.Compare)
	return slices.Compact(ports)
}

// learned is what the rules of a fence say of its ports.
type learned struct {
	ports []ruleset.Element
	// armed says that the ports have a lifetime. Whether they have is known once a rule
	// was read that judges by them.
	armed, known bool
}

// learn takes over the ports of a rule, unless another rule has others.
func (d decoder) learn(ports []ruleset.Element, statements []ruleset.Statement) bool {
	if len(ports) == 0 {
		return true
	}
	armed := ports[0].Timeout != 0
	ports = slices.Clone(ports)
	for i := range ports {
		ports[i].Timeout = 0
	}
	l := d.learned
	if l.ports == nil {
		l.ports = ports
	}
	if !slices.Equal(l.ports, ports) {
		return false
	}
	judges := slices.ContainsFunc(statements, func(s ruleset.Statement) bool {
		to, ok := s.(ruleset.Destination)
		from, replies := s.(ruleset.SourcePort)
		return ok && to.Set == portSet || replies && from.Set == portSet
	})
	if !judges {
		return true
	}
	if !l.known {
		l.known, l.armed = true, armed
	}
	return l.armed == armed
}

// words are those of a line, read one after the other.
type words []string

func (w *words) next() string {
	if len(*w) == 0 {
		return ""
	}
	first := (*w)[0]
	*w = (*w)[1:]
	return first
}

// take takes the given words off the front, if they are there.
func (w *words) take(text string) bool {
	list := strings.Fields(text)
	if len(*w) < len(list) || !slices.Equal((*w)[:len(list)], list) {
		return false
	}
	*w = (*w)[len(list):]
	return true
}

// item reads one line.
func (d decoder) item(line string) (item, bool) {
	w := words(strings.Fields(line))
	i := item{line: line}
	var before, after []ruleset.Statement
	hasPorts := false
	if w.take("-s") {
		p, err := netip.ParsePrefix(w.next())
		if err != nil || !isFamily(p, d.v6) {
			return i, false
		}
		i.source = p
	}
	in := takeInterface(&w)
	protocol := ruleset.Protocol("")
	if w.take("! -p 255") {
		before = append(before, ruleset.HasTransport{})
	} else if w.take("-p") {
		protocol = ruleset.Protocol(w.next())
	}
	for len(w) > 0 && w[0] == "-m" {
		if !i.armed && w.take(armedMatch(d.v6)) {
			i.armed = true
			continue
		}
		switch s, ok := d.match(&w, &i, protocol); {
		case !ok:
			return i, false
		case s == nil:
			hasPorts = true
		case hasPorts:
			after = append(after, s...)
		default:
			before = append(before, s...)
		}
	}
	target, ok := d.target(&w)
	if !ok || len(w) > 0 || hasPorts && protocol == "" || i.armed && !hasPorts {
		return i, false
	}
	i.matched = slices.Concat(before, after)
	if !hasPorts {
		before = withProtocol(before, protocol)
	}
	for n := range i.ports {
		if i.armed {
			i.ports[n].Timeout = anyLifetime
		}
	}
	if hasPorts {
		after = slices.Concat(in, after) // the port is looked at first
	} else {
		before = slices.Concat(in, before)
	}
	if v, is := target[0].(ruleset.Verdict); is && d.stage && v.Kind == ruleset.Jump && len(in) > 0 {
		target[0] = ruleset.Verdict{Kind: ruleset.Goto, Chain: v.Chain}
	}
	alone := len(before)+len(after) == 0 && !hasPorts && !i.source.IsValid()
	if v, is := target[0].(ruleset.Verdict); is && alone && d.v6 && v.Kind == ruleset.Goto && v.Chain == chainOfIPv6 {
		before = append(before, ruleset.IPv6Packet{})
	}
	i.make = shape{d.v6, hasPorts, i.replies, before, after, target}.rule
	i.skeleton = fmt.Sprint(hasPorts, i.armed, i.replies, ruleset.NewRule(slices.Concat(before, after, target)...))
	return i, true
}

// takeInterface reads the match of an incoming interface, nil if there is none.
func takeInterface(w *words) []ruleset.Statement {
	negated := w.take("! -i")
	if !negated && !w.take("-i") {
		return nil
	}
	name := w.next()
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		name = prefix + "*"
	}
	return []ruleset.Statement{ruleset.InInterface{Name: name, Not: negated}}
}

// anyLifetime stands for what is left of the lifetime of ports, which is in a set.
const anyLifetime = time.Second

// chainOfIPv6 is the chain to which a rule leads every packet of IPv6. Other rules without
// a match are for one family because the chains that they are in are.
const chainOfIPv6 = "sip6"

// shape is what the lines of a rule have in common.
type shape struct {
	v6, hasPorts, replies bool
	before, after, target []ruleset.Statement // the ports are between before and after
}

// rule puts the statements of a rule together from its lines.
func (s shape) rule(items []item) []ruleset.Statement {
	statements := slices.Clone(s.before)
	source := func(add ruleset.Statement) {
		at := 0
		if len(statements) > 0 {
			if _, ok := statements[0].(ruleset.InInterface); ok {
				at = 1
			}
		}
		statements = slices.Insert(statements, at, add)
	}
	// A rule of its own prefixes asks where they are routed to; one network alone does not.
	several := slices.Contains(statements, ruleset.Statement(ruleset.ReversePathMissing{}))
	switch {
	case !items[0].source.IsValid():
	case several:
		list := ruleset.Source{V6: s.v6}
		for _, i := range items {
			list.In = append(list.In, i.source)
		}
		source(list)
	case len(items) == 1:
		source(ruleset.SourceNetwork{Prefix: items[0].source})
	default:
		return nil
	}
	switch {
	case s.hasPorts && s.replies:
		statements = append(statements, ruleset.SourcePort{Set: portSet})
	case s.hasPorts:
		to := ruleset.Destination{Set: portSet}
		// What takes the class out also sees ports whose lifetime is over.
		if m, ok := s.target[0].(ruleset.SetMark); ok && m.Class == ruleset.Unclassified {
			to = ruleset.Destination{In: portsOf(items)}
		}
		statements = append(statements, to)
	}
	return slices.Concat(statements, s.after, s.target)
}

// match reads one match. It returns nil for the ports, which it puts into the item.
func (d decoder) match(w *words, i *item, protocol ruleset.Protocol) ([]ruleset.Statement, bool) {
	one := func(s ruleset.Statement) ([]ruleset.Statement, bool) { return []ruleset.Statement{s}, true }
	switch {
	case w.take("-m multiport"):
		if i.replies = w.take(sourcePorts); !i.replies && !w.take(destinationPorts) {
			return nil, false
		}
		return nil, i.addPorts(w.next(), protocol)
	case w.take("-m rpfilter --invert"):
		return one(ruleset.ReversePathMissing{})
	case w.take("-m frag --fragfirst"):
		return one(ruleset.FirstFragment{})
	case w.take("-m addrtype --src-type UNICAST"):
		return one(ruleset.Unicast{})
	case w.take(payloadMatch):
		s, ok := payload(w)
		return []ruleset.Statement{s}, ok
	case w.take("-m conntrack"):
		return d.connection(w, protocol)
	case w.take(openingMatch):
		return one(ruleset.Opening{})
	case !d.v6 && w.take(fragmentMatch):
		return one(ruleset.Fragment{})
	case w.take(u32Match):
		return d.u32(w.next())
	case w.take("-m mark"):
		negated := w.take("!")
		w.take("--mark")
		bits, class, ok := classIn(w.next())
		return []ruleset.Statement{ruleset.Mark{Bits: bits, Class: class, Not: negated}}, ok
	case w.take("-m set"):
		s, ok := d.inSet(w)
		return []ruleset.Statement{s}, ok
	}
	return nil, false
}

// target reads what a line does.
func (d decoder) target(w *words) ([]ruleset.Statement, bool) {
	one := func(s ruleset.Statement) ([]ruleset.Statement, bool) { return []ruleset.Statement{s}, true }
	switch {
	case w.take("-j RETURN"):
		return one(ruleset.Verdict{Kind: ruleset.Return})
	case w.take("-j DROP"):
		return one(ruleset.Verdict{Kind: ruleset.Drop})
	case w.take(setMark):
		bits, class, ok := classIn(w.next())
		statements := []ruleset.Statement{ruleset.SetMark{Bits: bits, Class: class}}
		if !d.stage {
			statements = append(statements, ruleset.Verdict{Kind: ruleset.Accept})
		}
		return statements, ok
	case w.take(addTarget):
		return d.adding(w)
	case w.take(deleteTarget):
		return d.deleting(w)
	case w.take(logTarget):
		word := w.next()
		return []ruleset.Statement{ruleset.Log(word)}, w.take(logHow)
	}
	kind := ruleset.Jump
	if w.take("-g") {
		kind = ruleset.Goto
	} else if !w.take("-j") {
		return nil, false
	}
	chain := w.next()
	if name, ok := strings.CutPrefix(chain, letterMark); ok {
		if isAllowed(name) && kind == ruleset.Goto {
			return []ruleset.Statement{ruleset.Count(name), ruleset.Verdict{Kind: kind, Chain: allowedChain}}, true
		}
		return one(ruleset.Verdict{Kind: kind, Chain: name})
	}
	name, ok := counterOf(chain)
	if !ok {
		return nil, false
	}
	if kind == ruleset.Jump {
		return one(ruleset.Count(name))
	}
	verdict := ruleset.Verdict{Kind: ruleset.Goto, Chain: passChain}
	if strings.HasPrefix(chain, chainPrefix+dropped) {
		verdict = ruleset.Verdict{Kind: ruleset.Drop}
	}
	return []ruleset.Statement{ruleset.Count(name), verdict}, true
}

// classIn reads a class and the bits that it is in.
func classIn(text string) (ruleset.MarkBits, ruleset.Class, bool) {
	value, mask, _ := strings.Cut(text, "/")
	mark, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return 0, 0, false
	}
	m, err := strconv.ParseUint(mask, 0, 32)
	bits := ruleset.MarkBits(m)
	if err != nil || !bits.Valid() {
		return 0, 0, false
	}
	return bits, bits.Class(uint32(mark)), true
}
