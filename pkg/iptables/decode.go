package iptables

import (
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
	protocol string
	ports    []uint16
	noPorts  bool
	make     func(items []item) []ruleset.Statement
}

// decoder reads the lines of one table of one family.
type decoder struct {
	v6 bool
	// ports are those that rules match, by the names of their sets.
	ports map[string][]uint16
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
	first, ok := d.item(lines[0])
	if !ok {
		return ruleset.ForeignRule(lines[0]), 1
	}
	group := []item{first}
	for _, line := range lines[1:] {
		next, ok := d.item(line)
		if !ok || next.skeleton != first.skeleton || !next.follows(group) {
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
		written, err := encoder{d.v6, d.portsOf(group[:n])}.rule(rule)
		if err == nil && slices.Equal(written, lines[:n]) && d.learn(group[:n]) {
			return rule, n
		}
	}
	return ruleset.ForeignRule(lines[0]), 1
}

// follows reports whether a line can be another one of the same rule.
func (i item) follows(group []item) bool {
	return i.source.IsValid() || len(i.ports) > 0 || i.noPorts && i.protocol != group[0].protocol
}

// portsOf are the ports of a rule, by the set that they are of.
func (d decoder) portsOf(group []item) map[string]ruleset.Set {
	sets := map[string]ruleset.Set{}
	for _, i := range group {
		name, ok := portSets[i.protocol]
		if !ok {
			continue
		}
		var ports []uint16
		for _, o := range group {
			if o.protocol == i.protocol {
				ports = append(ports, o.ports...)
			}
		}
		sets[name] = ruleset.Set{Key: ruleset.Port, Timeout: true, Elements: ruleset.Ports(ports)}
	}
	return sets
}

// learn takes over the ports of a rule, unless another rule has others.
func (d decoder) learn(group []item) bool {
	for name, set := range d.portsOf(group) {
		var ports []uint16
		for _, e := range set.Elements {
			ports = append(ports, e.Port)
		}
		if known, ok := d.ports[name]; ok && !slices.Equal(known, ports) {
			return false
		}
		d.ports[name] = ports
	}
	return true
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
	negated := w.take("! -i")
	if negated || w.take("-i") {
		name := w.next()
		if prefix, ok := strings.CutSuffix(name, "+"); ok {
			name = prefix + "*"
		}
		before = append(before, ruleset.InInterface{Name: name, Not: negated})
	}
	if w.take("! -p 255") {
		before = append(before, ruleset.HasTransport{})
	} else if w.take("-p") {
		i.protocol = w.next()
	}
	for len(w) > 0 && w[0] == "-m" {
		switch s, ok := d.match(&w, &i); {
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
	if !ok || len(w) > 0 || hasPorts != (i.protocol != "") {
		return i, false
	}
	// A rule of its own prefixes looks where they are routed to; one prefix alone does not.
	several := slices.Contains(before, ruleset.Statement(ruleset.ReversePathMissing{}))
	if toSix := len(before)+len(after) == 0 && !hasPorts && !i.source.IsValid() && d.v6; toSix {
		if v, is := target[0].(ruleset.Verdict); is && v.Kind == ruleset.Goto && strings.HasSuffix(v.Chain, "6") {
			before = append(before, ruleset.IPv6Packet{})
		}
	}
	i.skeleton = ruleset.NewRule(slices.Concat(before, after, target)...).String()
	if hasPorts {
		i.skeleton += portSets[i.protocol]
	}
	i.make = func(items []item) []ruleset.Statement {
		return assemble(items, d.v6, several, hasPorts, before, after, target)
	}
	return i, true
}

// assemble puts the statements of a rule together from its lines.
func assemble(items []item, v6, several, hasPorts bool, before, after, target []ruleset.Statement) []ruleset.Statement {
	statements := slices.Clone(before)
	source := func(s ruleset.Statement) {
		at := 0
		if len(statements) > 0 {
			if _, ok := statements[0].(ruleset.InInterface); ok {
				at = 1
			}
		}
		statements = slices.Insert(statements, at, s)
	}
	switch {
	case !items[0].source.IsValid():
	case several:
		s := ruleset.Source{V6: v6}
		for _, i := range items {
			if !slices.Contains(s.In, i.source) {
				s.In = append(s.In, i.source)
			}
		}
		source(s)
	case len(items) == 1:
		source(ruleset.SourceNetwork{Prefix: items[0].source})
	default:
		return nil
	}
	if hasPorts {
		var list ruleset.Protocols
		for _, i := range items {
			if p := ruleset.Protocol(i.protocol); !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
		set := portSets[items[0].protocol]
		if len(list) == 1 {
			statements = append(statements, ruleset.DestinationPort{Protocol: list[0], Set: set})
		} else {
			statements = append(statements, list, ruleset.DestinationPort{Protocol: ruleset.AnyTransport, Set: set})
		}
	}
	return slices.Concat(statements, after, target)
}

// match reads one match. It returns nil for the ports, which it puts into the item.
func (d decoder) match(w *words, i *item) ([]ruleset.Statement, bool) {
	one := func(s ruleset.Statement) ([]ruleset.Statement, bool) { return []ruleset.Statement{s}, true }
	switch {
	case w.take(noPorts):
		i.noPorts = true
		return nil, true
	case w.take("-m multiport --dports"):
		for text := range strings.SplitSeq(w.next(), ",") {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return nil, false
			}
			i.ports = append(i.ports, uint16(n))
		}
		return nil, true
	case w.take("-m rpfilter --invert"):
		return one(ruleset.ReversePathMissing{})
	case w.take("-m frag --fragfirst"):
		return one(ruleset.FirstFragment{})
	case w.take("-m addrtype --src-type UNICAST"):
		return one(ruleset.Unicast{})
	case w.take("-m conntrack"):
		var statements []ruleset.Statement
		if w.take("--ctstate DNAT") {
			statements = append(statements, ruleset.Translated)
		}
		if w.take("--ctdir ORIGINAL") {
			statements = append(statements, ruleset.Original)
		} else if w.take("--ctdir REPLY") {
			statements = append(statements, ruleset.Reply)
		}
		return statements, len(statements) > 0
	case w.take("-m mark"):
		negated := w.take("!")
		w.take("--mark")
		value, _, _ := strings.Cut(w.next(), "/")
		mark, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return nil, false
		}
		return one(ruleset.Mark{Class: ruleset.ClassOf(uint32(mark)), Not: negated})
	case w.take("-m set"):
		negated := w.take("!")
		w.take("--match-set")
		name, ours := strings.CutPrefix(w.next(), setPrefix)
		return []ruleset.Statement{ruleset.Source{V6: d.v6, Not: negated, Set: name}}, ours && w.take("src")
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
	case w.take("-j MARK"):
		w.next()
		w.next()
		return one(ruleset.ClearMark{})
	case w.take("-j SET --add-set"):
		name := strings.TrimPrefix(w.next(), setPrefix)
		w.take("src --exist --timeout")
		seconds, err := strconv.ParseUint(w.next(), 10, 32)
		if err != nil {
			return nil, false
		}
		return one(ruleset.Ban{V6: d.v6, Set: name, For: time.Duration(seconds) * time.Second})
	}
	kind := ruleset.Jump
	if w.take("-g") {
		kind = ruleset.Goto
	} else if !w.take("-j") {
		return nil, false
	}
	chain := w.next()
	if name, ok := strings.CutPrefix(chain, letterMark); ok {
		return one(ruleset.Verdict{Kind: kind, Chain: name})
	}
	name, ok := counterOf(chain)
	if !ok || kind == ruleset.Jump {
		return nil, false
	}
	verdict := ruleset.Verdict{Kind: ruleset.Goto, Chain: passChain}
	if strings.HasPrefix(chain, chainPrefix+dropped) {
		verdict = ruleset.Verdict{Kind: ruleset.Drop}
	}
	return []ruleset.Statement{ruleset.Count(name), verdict}, true
}
