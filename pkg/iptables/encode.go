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
// translation of destinations. Where packets leave it is before the translation of
// sources, behind which iptables has no place.
var places = map[ruleset.Stage]place{
	ruleset.BeforeTracking: {"raw", []string{"PREROUTING"}},
	ruleset.AfterTracking:  {"mangle", []string{"PREROUTING"}},
	ruleset.BeforeFilter:   {"filter", []string{"FORWARD", "INPUT"}},
	ruleset.Leaving:        {"mangle", []string{"POSTROUTING"}},
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
	// allowedChain is where rules that let an allowed source pass go in ruleset, after they
	// have counted. A rule of iptables has one target, so that a chain leads there that is
	// named after the counter.
	allowedChain = "allowed"
	setMark      = "-j MARK --set-xmark "
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

// encoder writes rules for one family of addresses as lines of iptables -S, without
// the chain that they are in.
type encoder struct {
	v6    bool
	ports []ruleset.Element
	// stage says that the chain is one that a built-in chain leads to. What is let pass
	// comes back to it, also from a chain that ruleset goes to: to the rule that takes off
	// what the classifier has noted.
	stage bool
	// late says that the packet has been routed already: then nothing can ask for the way
	// back to its source (xt_rpfilter), and rules that do are left out.
	late bool
}

// parts is what a rule is put together from, in the order of iptables -S.
type parts struct {
	sources  []string
	in       string
	services []service
	matches  []string // with portMark where the ports are matched
	target   string
	counts   bool // the target is that of a counter
	// counting is the target of a second line, which begins to count what a limit is for,
	// behind the matches that come before the limit.
	counting  string
	uncounted []string
}

// service is a protocol with the match of some of its ports.
type service struct{ protocol, ports string }

const portMark = "@"

// rule writes a rule: as several lines where iptables needs them. There are none if the
// rule is about the other family only.
func (e encoder) rule(r ruleset.Rule) ([]string, error) {
	statements := r.Statements()
	if statements == nil {
		return nil, fmt.Errorf("write rule %q: it is foreign", r)
	}
	if isOtherPorts(r) || about(statements, !e.v6) || e.late && asksForWayBack(r) {
		return nil, nil
	}
	if s, ok := statements[0].(ruleset.Record); ok && len(statements) == 1 {
		return record(s)
	}
	var p parts
	for i, s := range statements {
		if err := e.statement(&p, s, statements[i+1:]); err != nil {
			return nil, fmt.Errorf("write rule %q: %w", r, err)
		}
	}
	lines, err := p.withCounting(p.lines())
	if err != nil {
		return nil, fmt.Errorf("write rule %q: %w", r, err)
	}
	return lines, nil
}

// isOtherPorts reports whether a rule lets packets to other ports pass early. iptables has
// no such line: what its lines ask first are the ports themselves.
func isOtherPorts(r ruleset.Rule) bool {
	_, is := r.Statements()[0].(ruleset.OtherPort)
	return is
}

func asksForWayBack(r ruleset.Rule) bool {
	return slices.Contains(r.Statements(), ruleset.Statement(ruleset.ReversePathMissing{}))
}

// about reports whether a rule can only match packets of a family.
func about(statements []ruleset.Statement, v6 bool) bool {
	return slices.ContainsFunc(statements, func(s ruleset.Statement) bool {
		switch s := s.(type) {
		case ruleset.IPv6Packet, ruleset.FirstFragment:
			return v6
		case ruleset.Fragment:
			return !v6
		case ruleset.Source:
			return s.V6 == v6
		case ruleset.SourceNetwork:
			return s.Addr().Is6() == v6
		case ruleset.Ban:
			return s.V6 == v6
		case ruleset.Record:
			return s.V6 == v6
		case ruleset.Note:
			return s.V6 == v6
		case ruleset.PeerIn:
			return s.V6 == v6
		case ruleset.Learn:
			return s.V6 == v6
		case ruleset.Forget:
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
	case ruleset.Destination:
		if s.Set != portSet && len(s.In) == 0 {
			return fmt.Errorf("no ports of set %s", s.Set)
		}
		if len(s.In) > 0 {
			return p.portsOf(s.In, 0, destinationPorts)
		}
		return e.portSet(p, destinationPorts)
	case ruleset.Connection:
		p.connection(s)
	case ruleset.Count:
		return p.count(s, rest)
	case ruleset.Verdict:
		return p.verdict(s, e.stage)
	default:
		return e.peer(p, s)
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
		p.services = []service{{protocol: "! -p 255"}}
	case ruleset.Mark:
		p.match(fmt.Sprintf("-m mark %s--mark 0x%x/0x%x", not(s.Not), s.Bits.Of(s.Class), markMask(s.Bits)))
	case ruleset.Payload:
		p.match(payloadMatch + `"` + payloadEscapes.Replace(string(s)) + `"` + payloadHow)
	case ruleset.Unicast:
		p.match("-m addrtype --src-type UNICAST")
	case ruleset.SetMark:
		p.target = fmt.Sprintf(setMark+"0x%x/0x%x", s.Bits.Of(s.Class), markMask(s.Bits))
	case ruleset.Ban:
		n, err := seconds(s.For)
		p.target = fmt.Sprintf(addTarget+"%s src --exist --timeout %d", setName(s.Set), n)
		return err
	case ruleset.Note:
		n, err := seconds(s.For)
		p.target = fmt.Sprintf(addTarget+"%s src --timeout %d", setName(s.Set), n)
		return err
	case ruleset.Log:
		p.target = logTarget + string(s) + logHow
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

// portSet is the set of the fenced ports.
const portSet = "ports"

// portSet adds the fenced ports, and what makes them run out if they have a lifetime.
func (e encoder) portSet(p *parts, side string) error {
	lifetime := time.Duration(0)
	for _, port := range e.ports {
		lifetime = port.Timeout
	}
	if err := p.portsOf(e.ports, lifetime, side); err != nil || lifetime == 0 {
		return err
	}
	p.match(armedMatch(e.v6))
	return nil
}

// portsOf adds ports of the destination or the source, all with the same lifetime. A match
// takes fifteen of one protocol.
func (p *parts) portsOf(list []ruleset.Element, lifetime time.Duration, side string) error {
	p.match(portMark)
	for len(list) > 0 {
		var ports []string
		protocol := list[0].Protocol
		for len(list) > 0 && list[0].Protocol == protocol && len(ports) < mostPorts {
			if list[0].Timeout != lifetime || list[0].Foreign != "" {
				return fmt.Errorf("iptables has no form for the port %s", list[0])
			}
			ports = append(ports, strconv.Itoa(int(list[0].Port)))
			list = list[1:]
		}
		p.services = append(p.services, service{"-p " + string(protocol), "-m multiport " + side + " " + strings.Join(ports, ",")})
	}
	if len(p.services) == 0 {
		return fmt.Errorf("there is no port")
	}
	return nil
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

// count leads to the chain that counts, and gives the verdict that follows, if one does.
func (p *parts) count(s ruleset.Count, rest []ruleset.Statement) error {
	p.counts = true
	isDropped := strings.HasPrefix(string(s), dropped)
	if len(rest) == 0 && !isDropped {
		p.target = "-j " + chainPrefix + string(s)
		return nil
	}
	if len(rest) != 1 {
		return fmt.Errorf("no verdict behind %q", s)
	}
	if !isDropped && rest[0] == ruleset.Statement(ruleset.Verdict{Kind: ruleset.Goto, Chain: allowedChain}) {
		p.target = "-g " + letterMark + string(s)
		return nil
	}
	pass := rest[0] == ruleset.Statement(ruleset.Verdict{Kind: ruleset.Accept}) ||
		rest[0] == ruleset.Statement(ruleset.Verdict{Kind: ruleset.Goto, Chain: passChain})
	name := string(s)
	switch {
	case isDropped && rest[0] == ruleset.Statement(ruleset.Verdict{Kind: ruleset.Drop}):
	case isDropped && pass:
		name = counted + strings.TrimPrefix(name, dropped)
	case !isDropped && pass:
	default:
		return fmt.Errorf("no counter %s with verdict %q", s, rest[0])
	}
	p.target = "-g " + chainPrefix + name
	return nil
}

func (p *parts) verdict(s ruleset.Verdict, stage bool) error {
	switch {
	case p.counts: // it leads where the verdict says
		return nil
	case strings.HasPrefix(p.target, setMark) && s.Kind == ruleset.Accept && !stage:
		return nil // the end of the chain lets pass
	case p.target != "":
		return fmt.Errorf("iptables has no form for %q behind %q", s, p.target)
	case s.Kind == ruleset.Jump, s.Kind == ruleset.Goto && s.Chain != passChain && stage:
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

// lines writes all combinations of sources and ports.
func (p *parts) lines() []string {
	services := p.services
	if len(services) == 0 {
		services = []service{{}}
	}
	var lines []string
	for _, source := range orNone(p.sources) {
		for _, each := range services {
			words := []string{source, p.in, each.protocol}
			for _, match := range p.matches {
				if match == portMark {
					match = each.ports
				}
				words = append(words, match)
			}
			words = slices.DeleteFunc(append(words, p.target), func(w string) bool { return w == "" })
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return lines
}

func orNone(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

// markMask are the bits themselves.
func markMask(b ruleset.MarkBits) uint32 { return b.Of(0xf) }

func not(n bool) string {
	if n {
		return "! "
	}
	return ""
}

// isFamily reports whether a prefix is of a family.
func isFamily(p netip.Prefix, v6 bool) bool { return p.Addr().Is6() == v6 }
