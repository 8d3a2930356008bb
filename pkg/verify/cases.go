// Package verify sends packets through a copy of a host's rules, in a network namespace of
// its own, and says which of them pass. Nothing is sent by the host's own network.
package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/judge"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/site"
)

// Kind is what a packet is.
type Kind string

// The kinds.
const (
	Call         Kind = "call"         // an INVITE as a provider sends it
	Registration Kind = "registration" // a REGISTER as a phone sends it
	Scan         Kind = "scan"         // a request with a scanner's signature
	Connection   Kind = "connection"   // the first packet of one, by TCP
)

// Probe is a packet that is sent, and what becomes of it.
type Probe struct {
	Who       string // the owner of the address, or why it is in a set
	Source    netip.Addr
	Interface string // by which it comes in
	Protocol  ruleset.Protocol
	Port      uint16
	Kind      Kind
	// Should and Passes say whether it passes by the policy, and through the copy.
	Should, Passes bool
	Reason         string // of the policy

	message []byte
}

// Differs reports whether the rules do something else than the policy says.
func (p Probe) Differs() bool { return p.Should != p.Passes }

// The limits of what is tried.
const (
	mostSources = 50 // of each set
	mostPorts   = 8  // of each protocol
	mostProbes  = 60_000
)

// Policy is what is in force by the policy.
type Policy struct {
	Site *site.Site
	// Table has the elements of dynamic sets, Origins whose the others are.
	Table     *ruleset.State
	Origins   ruleset.Origins
	Automaton *signature.Automaton // nil if signatures are not part of it
}

// Cases are the packets that show whether rules are those of a policy. all is how many
// addresses and prefixes there are in the sets, tried of how many of them packets come.
func (in Policy) Cases() (probes []Probe, tried, all int, err error) {
	add := func(who string, a netip.Addr, kinds ...Kind) {
		more, failed := in.probes(who, a, kinds)
		if failed != nil && err == nil {
			err = failed
		}
		probes = append(probes, more...)
	}
	for _, set := range []struct{ name, who string }{
		{"providers", ""}, {"trusted", "trusted"}, {"allowed", "by hand"}, {"blocked", "blocked"}, {"banned", "banned"},
	} {
		for _, family := range []string{"4", "6"} {
			elements := in.Table.Sets[set.name+family].Elements
			all += len(elements)
			for _, e := range sample(elements) {
				tried++
				a := inside(e)
				who := set.who
				if who == "" {
					who = in.owner(set.name+family, a)
				}
				add(who, a, Call, Scan)
			}
		}
	}
	for i, a := range in.unknown() {
		kinds := []Kind{Call, Registration}
		if i%2 == 1 {
			kinds = []Kind{Scan} // which may ban it
		}
		add("unknown", a, kinds...)
	}
	return probes[:min(len(probes), mostProbes)], tried, all, err
}

// sample takes some elements from all over a list.
func sample(elements []ruleset.Element) []ruleset.Element {
	if len(elements) <= mostSources {
		return elements
	}
	some := make([]ruleset.Element, 0, mostSources)
	for i := range mostSources {
		some = append(some, elements[i*len(elements)/mostSources])
	}
	return some
}

// inside is an address of an element, not the first one of a network.
func inside(e ruleset.Element) netip.Addr {
	if next := e.From.Next(); e.From != e.To && next.IsValid() {
		return next
	}
	return e.From
}

func (in Policy) owner(set string, a netip.Addr) string {
	for _, o := range in.Origins.Of(set, netip.PrefixFrom(a, a.BitLen())) {
		return o.Owner
	}
	return "provider"
}

// strangers are addresses for documentation and tests, by families in pairs.
var strangers = []string{
	"192.0.2.66", "198.51.100.66", "203.0.113.66", "198.18.0.66",
	"2001:db8:2::66", "2001:db8:3::66", "2001:db8:4::66", "2001:db8:5::66",
}

// unknown are two addresses of each family that are in no set, one after the other.
func (in Policy) unknown() []netip.Addr {
	var found []netip.Addr
	for _, is6 := range []bool{false, true} {
		var of []netip.Addr
		for _, text := range strangers {
			a := netip.MustParseAddr(text)
			if a.Is6() == is6 && !in.listed(a) && len(of) < 2 {
				of = append(of, a)
			}
		}
		if len(of) == 2 {
			found = append(found, of...)
		}
	}
	return found
}

func (in Policy) listed(a netip.Addr) bool {
	for _, s := range in.Table.Sets {
		if s.Contains(a) {
			return true
		}
	}
	return false
}

// probes are the packets of one source.
func (in Policy) probes(who string, a netip.Addr, kinds []Kind) ([]Probe, error) {
	entrance, outside := in.Site.Entrance(a)
	if !a.IsGlobalUnicast() || !outside {
		return nil, nil // no other host sends from there
	}
	p := Probe{Who: who, Source: a, Interface: entrance}
	var probes []Probe
	take := func(protocol ruleset.Protocol, port uint16, kind Kind, message []byte) error {
		p.Protocol, p.Port, p.Kind, p.message = protocol, port, kind, message
		packet := judge.Packet{Source: a, Protocol: protocol, Port: port, Interface: p.Interface, Message: message}
		if _, reads := in.Table.Classifier[p.Interface]; reads && in.Automaton != nil {
			packet.Class = ruleset.Class(in.Automaton.Match(message).Mark)
		}
		v, err := judge.Judge(in.Table, packet)
		p.Should, p.Reason = v.Allowed, strings.TrimPrefix(strings.TrimPrefix(v.Counter, "allowed_"), "dropped_")
		probes = append(probes, p)
		return err
	}
	ports := in.Site.Policy.Ports
	for _, port := range ports.UDP[:min(len(ports.UDP), mostPorts)] {
		for _, kind := range kinds {
			message := in.message(kind)
			if message == nil {
				continue
			}
			if err := take(ruleset.UDP, port, kind, message); err != nil {
				return nil, err
			}
		}
	}
	for _, port := range ports.TCP[:min(len(ports.TCP), mostPorts)] {
		if slices.Contains(kinds, Call) {
			if err := take(ruleset.TCP, port, Connection, nil); err != nil {
				return nil, err
			}
		}
	}
	return probes, nil
}

// message is a request of a kind, nil if there is none.
func (in Policy) message(kind Kind) []byte {
	agent := "example"
	if required := in.Site.Policy.Unknown.RequireUserAgent; len(required) > 0 {
		agent = required[0]
	}
	method := map[Kind]string{Call: "INVITE", Scan: "OPTIONS", Registration: "REGISTER"}[kind]
	if kind == Registration && !in.Site.Policy.Unknown.Registers() {
		return nil
	}
	if kind == Scan {
		if agent = in.scanner(); agent == "" {
			return nil
		}
	}
	return fmt.Appendf(nil, "%s sip:100@pbx.invalid SIP/2.0\r\nVia: SIP/2.0/UDP probe.invalid;branch=z9hG4bK1\r\n"+
		"From: <sip:probe@probe.invalid>;tag=1\r\nTo: <sip:100@pbx.invalid>\r\nCall-ID: 1@probe.invalid\r\nCSeq: 1 %s\r\n"+
		"Max-Forwards: 70\r\nUser-Agent: %s\r\nContent-Length: 0\r\n\r\n", method, method, agent)
}

// scanner is a User-Agent that a signature of class ban matches, "" if there is none.
func (in Policy) scanner() string {
	if in.Automaton == nil {
		return ""
	}
	for _, s := range in.Automaton.Signatures() {
		conditions := s.Conditions()
		if s.Class == signature.Ban && len(conditions) == 1 && strings.EqualFold(conditions[0].Header, "user-agent") {
			return conditions[0].Value
		}
	}
	return ""
}
