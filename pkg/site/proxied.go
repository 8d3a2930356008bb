package site

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// AlarmProxied says that rules of another program hand packets of strangers to a server on
// a fenced port.
const AlarmProxied AlarmKind = "proxied"

// proxiedAlarms are about packets to ports that are not fenced which come to a server on
// one that is. Neither their destination nor connection tracking has that port, so no rule
// of ringfence can see where they go.
func proxiedAlarms(s *Site, l Look) []Alarm {
	if len(l.Proxied.Ways)+len(l.Proxied.Legacy) == 0 {
		return nil
	}
	strangers := strangersOf(s)
	var found []opening
	for _, way := range slices.Concat(l.Proxied.Ways, l.Proxied.Legacy) {
		for _, port := range openPorts(s, strangers, way) {
			found = opening{way.Chain, way.Port, way.Written, []string{port}}.addTo(found)
		}
	}
	var alarms []Alarm
	for _, o := range found {
		alarms = append(alarms, o.alarm())
	}
	return alarms
}

// opening is what a chain opens of a fenced port.
type opening struct {
	in      ruleset.OtherChain
	port    uint16
	written bool
	by      []string // the ports, with their protocols, to which packets are sent
}

// addTo joins what one chain opens of a port.
func (o opening) addTo(list []opening) []opening {
	for i, other := range list {
		if other.in.String() == o.in.String() && other.port == o.port && other.written == o.written {
			if !slices.Contains(other.by, o.by[0]) {
				list[i].by = append(other.by, o.by...)
			}
			return list
		}
	}
	return append(list, o)
}

// mostPorts is how many ports an alarm names.
const mostPorts = 6

func (o opening) alarm() Alarm {
	by := "TPROXY"
	if o.written {
		by = "it writes that port into them"
	}
	ports := strings.Join(o.by[:min(len(o.by), mostPorts)], ", ")
	if more := len(o.by) - mostPorts; more > 0 {
		ports += fmt.Sprintf(" and %d more", more)
	}
	return Alarm{
		Kind: AlarmProxied, Name: o.in.String(),
		Text:   fmt.Sprintf("it hands what is sent to %s to the server on port %d (%s), and that is not fenced", ports, o.port, by),
		WayOut: "list these ports under ports in the policy and run ringfence apply, or take the rule out: " + o.in.Look() + " shows it",
	}
}

// strangersOf are the addresses that are not allowed.
func strangersOf(s *Site) *netipx.IPSet {
	var b netipx.IPSetBuilder
	b.AddPrefix(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	b.AddPrefix(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	origins := s.Origins()
	for _, set := range []string{"providers4", "providers6", "trusted4", "trusted6"} {
		for _, o := range origins.All(set) {
			b.RemovePrefix(o.Prefix)
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return nil
	}
	return set
}

// openPorts are those, with their protocols, to which strangers' packets may be sent that
// a rule of another program hands to a fenced server, and that are not fenced.
func openPorts(s *Site, strangers *netipx.IPSet, way ruleset.Proxy) []string {
	if !comesBy(s, way) || !fromStrangers(strangers, way) || !slices.ContainsFunc(s.FencedInterfaces(), func(name string) bool {
		return !s.Policy.Trusts(name) && meets(way, func(c ruleset.Condition) (bool, bool) {
			return slices.ContainsFunc(c.Interfaces, func(pattern string) bool { return policy.Matches(pattern, name) }), len(c.Interfaces) > 0
		})
	}) {
		return nil
	}
	var open []string
	for _, of := range []struct {
		name      string
		protocols []ruleset.Protocol
		fenced    []uint16
	}{
		{"UDP", []ruleset.Protocol{ruleset.UDP}, s.Policy.Ports.UDP},
		{"TCP", []ruleset.Protocol{ruleset.TCP, ruleset.SCTP, ruleset.DCCP, ruleset.UDPLite}, s.Policy.Ports.TCP},
	} {
		if !slices.Contains(of.fenced, way.Port) || !slices.ContainsFunc(of.protocols, func(p ruleset.Protocol) bool {
			return meets(way, func(c ruleset.Condition) (bool, bool) { return slices.Contains(c.Protocols, p), len(c.Protocols) > 0 })
		}) {
			continue
		}
		for _, r := range leftPorts(way, of.fenced) {
			open = append(open, of.name+" "+portsText(r))
		}
	}
	return open
}

// Where packets pass the chains of ringfence: those that come in, without allow_replies and
// with it.
const (
	judgedAt      = -310
	judgedLaterAt = -190
)

// comesBy reports whether what is fenced passes the chain, and whether it does so when it
// has been judged if the rule writes the port: what it writes before is judged by that.
func comesBy(s *Site, way ruleset.Proxy) bool {
	judged := judgedAt
	if s.Policy.Unknown.AllowReplies {
		judged = judgedLaterAt
	}
	switch way.Chain.Hook {
	case "prerouting":
		return !way.Written || way.Chain.Priority >= judged
	case "input":
		return true
	case "forward", "postrouting":
		return s.Host.Forwards || s.Host.BridgeFilter && slices.ContainsFunc(s.Host.Interfaces, func(i ruleset.Interface) bool { return i.Kind == "bridge" })
	}
	return false
}

// meets reports whether a packet may meet all conditions of one kind. has says whether it
// has what a condition names, and whether the condition is of that kind.
func meets(way ruleset.Proxy, has func(ruleset.Condition) (has, asked bool)) bool {
	return !slices.ContainsFunc(way.When, func(c ruleset.Condition) bool {
		has, asked := has(c)
		return asked && has == c.Not
	})
}

// fromStrangers reports whether the conditions let packets of addresses pass that are not
// allowed.
func fromStrangers(strangers *netipx.IPSet, way ruleset.Proxy) bool {
	var b netipx.IPSetBuilder
	b.AddSet(strangers)
	switch family, _, _ := strings.Cut(way.Chain.Table, " "); family {
	case "ip":
		b.RemovePrefix(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	case "ip6":
		b.RemovePrefix(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	for _, c := range way.When {
		if len(c.Sources) == 0 {
			continue
		}
		if sources := ruleset.Union(c.Sources); c.Not {
			b.RemoveSet(sources)
		} else {
			b.Intersect(sources)
		}
	}
	left, err := b.IPSet()
	return err != nil || len(left.Ranges()) > 0
}

// leftPorts are the ranges of ports that meet the conditions and are not fenced.
func leftPorts(way ruleset.Proxy, fenced []uint16) [][2]uint16 {
	if !slices.ContainsFunc(way.When, func(c ruleset.Condition) bool { return len(c.Ports) > 0 }) {
		return [][2]uint16{{}} // any port but the fenced ones
	}
	var left [][2]uint16
	for p := range math.MaxUint16 + 1 {
		port := uint16(p)
		if slices.Contains(fenced, port) || !meets(way, func(c ruleset.Condition) (bool, bool) {
			return ruleset.OtherRule{Ports: c.Ports}.Meets([]uint16{port}), len(c.Ports) > 0
		}) {
			continue
		}
		if n := len(left); n > 0 && int(left[n-1][1])+1 == p {
			left[n-1][1] = port
		} else {
			left = append(left, [2]uint16{port, port})
		}
	}
	return left
}

func portsText(r [2]uint16) string {
	switch {
	case r == [2]uint16{}:
		return "ports other than the fenced ones"
	case r[0] == r[1]:
		return fmt.Sprintf("port %d", r[0])
	}
	return fmt.Sprintf("ports %d-%d", r[0], r[1])
}
