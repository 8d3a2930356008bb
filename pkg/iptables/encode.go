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

// place is where in iptables a stage is: a table, and the built-in chains that lead to
// the chain of the stage.
type place struct {
	table string
	hooks []string
}

// places are those of the stages. In raw, a dropped flood makes no
// connection-tracking entry; mangle is behind connection tracking and before the
// translation of destinations.
var places = map[ruleset.Stage]place{
	ruleset.BeforeTracking: {"raw", []string{"PREROUTING"}},
	ruleset.AfterTracking:  {"mangle", []string{"PREROUTING"}},
	ruleset.BeforeFilter:   {"filter", []string{"FORWARD", "INPUT"}},
}

// tables are those that ringfence may have chains in.
var tables = []string{"raw", "mangle", "filter"}

const (
	// chainPrefix begins the names of all chains of ringfence's.
	chainPrefix = "RINGFENCE-"
	// letterMark stands for the letter that a fence's chains have. A change builds
	// the chains with the other letter, and then leads packets there.
	letterMark = chainPrefix + "@-"
	// counted begins the name of the chain that counts for a counter dropped_… and
	// lets pass what it has counted.
	counted = "counted_"
	dropped = "dropped_"
	// passChain is where rules that let pass go in ruleset. Here they return, to the rule
	// that takes off what the classifier has noted: an ACCEPT would skip the rules of
	// others behind ours.
	passChain = "pass"
	// longestChain is how long the name of a chain may be (XT_EXTENSION_MAXNAMELEN).
	longestChain = 28
)

// protocols are the numbers and the names of transport protocols. Names are for
// reading only: not every host has /etc/protocols.
var protocols = []struct {
	protocol ruleset.Protocol
	number   string
}{{ruleset.UDP, "17"}, {ruleset.TCP, "6"}, {ruleset.SCTP, "132"}, {ruleset.DCCP, "33"}, {ruleset.UDPLite, "136"}}

// mostPorts is how many ports a match takes (XT_MULTI_PORTS).
const mostPorts = 15

// noPorts matches no packet: it stands for a list of ports that is empty.
const noPorts = "-m multiport ! --dports 0:65535"

// encoder writes rules for one family of addresses as lines of iptables -S, without
// the chain that they are in.
type encoder struct {
	v6   bool
	sets map[string]ruleset.Set // the ports
}

// parts is what a rule is put together from, in the order of iptables -S.
type parts struct {
	sources   []string
	in        string
	protocols []string
	ports     []string
	matches   []string // with portMark where the protocol's ports are matched
	target    string
}

const portMark = "@"

// rule writes a rule: as several lines where iptables needs them. There are none if the
// rule is about the other family only.
func (e encoder) rule(r ruleset.Rule) ([]string, error) {
	statements := r.Statements()
	if statements == nil {
		return nil, fmt.Errorf("write rule %q: it is foreign", r)
	}
	if about(statements, !e.v6) {
		return nil, nil
	}
	var p parts
	for i, s := range statements {
		if err := e.statement(&p, s, statements[i+1:]); err != nil {
			return nil, fmt.Errorf("write rule %q: %w", r, err)
		}
	}
	return p.lines(), nil
}

// about reports whether a rule can only match packets of a family.
func about(statements []ruleset.Statement, v6 bool) bool {
	return slices.ContainsFunc(statements, func(s ruleset.Statement) bool {
		switch s := s.(type) {
		case ruleset.IPv6Packet, ruleset.FirstFragment:
			return v6
		case ruleset.Source:
			return s.V6 == v6
		case ruleset.SourceNetwork:
			return s.Addr().Is6() == v6
		case ruleset.Ban:
			return s.V6 == v6
		}
		return false
	})
}

// statement adds a statement. rest are those behind it.
func (e encoder) statement(p *parts, s ruleset.Statement, rest []ruleset.Statement) error {
	switch s := s.(type) {
	case ruleset.IPv6Packet:
	case ruleset.InInterface:
		name := s.Name
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			name = prefix + "+"
		}
		p.in = not(s.Not) + "-i " + name
	case ruleset.SourceNetwork:
		p.sources = []string{"-s " + s.String()[strings.LastIndex(s.String(), " ")+1:]}
		if s.IsSingleIP() {
			p.sources[0] += fmt.Sprintf("/%d", s.Bits())
		}
	case ruleset.Source:
		p.source(s)
	case ruleset.Protocols:
		for _, known := range protocols {
			if slices.Contains(s, known.protocol) {
				p.protocols = append(p.protocols, string(known.protocol))
			}
		}
	case ruleset.DestinationPort:
		return p.destination(s, e.sets)
	case ruleset.Connection:
		p.connection(s)
	case ruleset.Count:
		return p.count(s, rest)
	case ruleset.Verdict:
		return p.verdict(s)
	default:
		return p.plain(s)
	}
	return nil
}

// plain adds a statement that is one match or one target.
func (p *parts) plain(s ruleset.Statement) error {
	switch s := s.(type) {
	case ruleset.ReversePathMissing:
		p.match("-m rpfilter --invert")
	case ruleset.FirstFragment:
		p.match("-m frag --fragfirst")
	case ruleset.HasTransport:
		p.protocols = []string{"255"}
		p.match("! " + portMark)
	case ruleset.Mark:
		p.match(fmt.Sprintf("-m mark %s--mark 0x%x/0x%x", not(s.Not), s.Class.Bits(), ruleset.MarkMask))
	case ruleset.Unicast:
		p.match("-m addrtype --src-type UNICAST")
	case ruleset.ClearMark:
		p.target = fmt.Sprintf("-j MARK --set-xmark 0x0/0x%x", ruleset.MarkMask)
	case ruleset.Ban:
		seconds := int64(s.For / time.Second)
		if time.Duration(seconds)*time.Second != s.For || seconds > longestBan {
			return fmt.Errorf("ipset bans for whole seconds, at most %d", longestBan)
		}
		p.target = fmt.Sprintf("-j SET --add-set %s src --exist --timeout %d", setName(s.Set), seconds)
	default:
		return fmt.Errorf("iptables has no form for %q", s)
	}
	return nil
}

func (p *parts) match(text string) { p.matches = append(p.matches, text) }

func (p *parts) source(s ruleset.Source) {
	if s.Set != "" {
		p.match(fmt.Sprintf("-m set %s--match-set %s src", not(s.Not), setName(s.Set)))
		return
	}
	for _, prefix := range ruleset.Union(s.In).Prefixes() {
		p.sources = append(p.sources, "-s "+prefix.String())
	}
}

// destination adds the ports of a set. A match takes fifteen.
func (p *parts) destination(s ruleset.DestinationPort, sets map[string]ruleset.Set) error {
	if s.Protocol != ruleset.AnyTransport {
		p.protocols = []string{string(s.Protocol)}
	}
	if len(p.protocols) == 0 {
		return fmt.Errorf("no protocol for %q", s)
	}
	set, ok := sets[s.Set]
	if !ok || portSets[p.protocols[0]] != s.Set {
		return fmt.Errorf("no ports of set %s for protocol %s", s.Set, p.protocols[0])
	}
	p.ports = []string{noPorts}
	if len(set.Elements) > 0 {
		p.ports = nil
	}
	for chunk := range slices.Chunk(set.Elements, mostPorts) {
		texts := make([]string, len(chunk))
		for i, e := range chunk {
			if e.Timeout != 0 || e.Foreign != "" {
				return fmt.Errorf("iptables has no form for the port %s", e)
			}
			texts[i] = strconv.Itoa(int(e.Port))
		}
		p.ports = append(p.ports, "-m multiport --dports "+strings.Join(texts, ","))
	}
	p.match(portMark)
	return nil
}

// portSets are the sets that the ports of each protocol are in.
var portSets = map[string]string{
	"udp": "ports_udp", "tcp": "ports_tcp", "sctp": "ports_tcp", "dccp": "ports_tcp", "udplite": "ports_tcp",
}

func (p *parts) connection(s ruleset.Connection) {
	const match = "-m conntrack"
	text := map[ruleset.Connection]string{
		ruleset.Translated: " --ctstate DNAT", ruleset.Original: " --ctdir ORIGINAL", ruleset.Reply: " --ctdir REPLY",
	}[s]
	if n := len(p.matches); n > 0 && p.matches[n-1] == match+" --ctstate DNAT" {
		p.matches[n-1] += text
		return
	}
	p.match(match + text)
}

// count leads to the chain that counts, and gives the verdict that follows.
func (p *parts) count(s ruleset.Count, rest []ruleset.Statement) error {
	pass := ruleset.Verdict{Kind: ruleset.Goto, Chain: passChain}
	if len(rest) != 1 {
		return fmt.Errorf("no verdict behind %q", s)
	}
	isDropped := strings.HasPrefix(string(s), dropped)
	name := string(s)
	switch {
	case isDropped && rest[0] == ruleset.Statement(ruleset.Verdict{Kind: ruleset.Drop}):
	case isDropped && rest[0] == ruleset.Statement(pass):
		name = counted + strings.TrimPrefix(name, dropped)
	case !isDropped && rest[0] == ruleset.Statement(pass):
	default:
		return fmt.Errorf("no counter %s with verdict %q", s, rest[0])
	}
	p.target = "-g " + chainPrefix + name
	return nil
}

func (p *parts) verdict(s ruleset.Verdict) error {
	switch {
	case p.target != "": // that of count
	case s.Kind == ruleset.Jump:
		p.target = "-j " + letterMark + s.Chain
	case s.Kind == ruleset.Goto && s.Chain != passChain:
		p.target = "-g " + letterMark + s.Chain
	case s.Kind == ruleset.Return:
		p.target = "-j RETURN"
	case s.Kind == ruleset.Drop:
		p.target = "-j DROP"
	default:
		return fmt.Errorf("iptables has no form for %q", s)
	}
	if len(p.target)-len("-j ") > longestChain {
		return fmt.Errorf("the name of chain %s is too long", s.Chain)
	}
	return nil
}

// lines writes all combinations of sources, protocols and lists of ports.
func (p *parts) lines() []string {
	var lines []string
	for _, source := range orNone(p.sources) {
		for _, protocol := range orNone(p.protocols) {
			for _, ports := range orNone(p.ports) {
				lines = append(lines, p.line(source, protocol, ports))
			}
		}
	}
	return lines
}

func (p *parts) line(source, protocol, ports string) string {
	words := []string{source, p.in}
	if protocol != "" {
		protocol = "-p " + protocol
		if slices.Contains(p.matches, "! "+portMark) {
			protocol = "! " + protocol
		}
		words = append(words, protocol)
	}
	for _, match := range p.matches {
		switch match {
		case portMark:
			match = ports
		case "! " + portMark:
			match = ""
		}
		words = append(words, match)
	}
	words = append(words, p.target)
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

func orNone(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

func not(n bool) string {
	if n {
		return "! "
	}
	return ""
}

// isFamily reports whether a prefix is of a family.
func isFamily(p netip.Prefix, v6 bool) bool { return p.Addr().Is6() == v6 }
