package site

import (
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Contacts are the hosts that this one has to do with now. They are no part of what a
// policy is compiled with.
type Contacts struct {
	// Neighbours are the hosts on the links of this one. They count only where it does
	// not forward: elsewhere, phones may be further away.
	Neighbours []ruleset.Neighbour
	// Flows are the exchanges of SIP that are up.
	Flows []ruleset.Flow
	// ByHand are the addresses that are allowed by hand.
	ByHand []netip.Addr
}

// Newcomers finds those who are cut off in networks where nobody has been seen yet. It is
// pure; the zero Newcomers finds none.
type Newcomers struct {
	host     ruleset.Host
	networks []ruleset.Network
}

// Newcomers are those that raise an alarm when they are seen, which the look does not raise
// yet.
func (s *Site) Newcomers(l Look) Newcomers {
	n := Newcomers{host: s.Host}
	if l.Accepted == nil {
		return n
	}
	n.networks = slices.DeleteFunc(come(s, l.Accepted), func(n ruleset.Network) bool {
		return renumbered(s, l.Accepted, n) || len(seen(s, n)) > 0
	})
	return n
}

// Possible reports whether there can be any.
func (n Newcomers) Possible() bool { return len(n.networks) > 0 }

// Among reports whether one is among neighbours.
func (n Newcomers) Among(neighbours []ruleset.Neighbour) bool {
	s := &Site{Host: n.host, Contacts: Contacts{Neighbours: neighbours}}
	return slices.ContainsFunc(n.networks, func(network ruleset.Network) bool { return len(seen(s, network)) > 0 })
}

// seen returns the neighbours in a network, without gateways and name servers.
func seen(s *Site, n ruleset.Network) []netip.Addr {
	var list []netip.Addr
	for _, neighbour := range s.Contacts.Neighbours {
		a := neighbour.Address
		if neighbour.Interface == n.Interface && n.Prefix.Contains(a) &&
			!slices.Contains(s.Host.Gateways, a) && !slices.Contains(s.Host.NameServers, a) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// uncovered are the networks inside whose hosts are not let in, whether any are there or
// not.
func uncovered(s *Site) []ruleset.Network {
	if len(s.Host.OwnNetworks()) == 0 {
		return nil // which is known sooner than what a large policy allows
	}
	return plan.FindInside(s.Host, func(name string) bool { return judges(s, name) }, s.Policy.Allowed())
}

// inside returns the networks inside that the site would cut off, without those that
// were accepted.
func inside(s *Site, accepted []ruleset.Network) plan.Inside {
	cut := plan.Inside{Forwards: s.Host.Forwards}
	for _, n := range uncovered(s) {
		if slices.Contains(accepted, n) {
			continue
		}
		there := seen(s, n)
		if s.Host.Forwards || len(there) > 0 {
			cut.Networks = append(cut.Networks, n)
			cut.Seen = append(cut.Seen, there...)
		}
	}
	return cut
}

// Cuts are the networks inside whose phones the site cuts off.
func (s *Site) Cuts() plan.Inside {
	if s.Policy.Monitor || s.Policy.Unknown.Admits() {
		return plan.Inside{}
	}
	return inside(s, nil)
}

// CutLive are the flows that are up now and whose packets the site would drop, without
// those that another site drops already; nil is no other.
func CutLive(s, before *Site) []ruleset.Flow {
	if len(s.Contacts.Flows) == 0 {
		return nil
	}
	drop := drops(s)
	dropped := func(ruleset.Flow) bool { return false }
	if before != nil {
		dropped = drops(before)
	}
	cut := slices.DeleteFunc(slices.Clone(s.Contacts.Flows), func(f ruleset.Flow) bool { return !drop(f) || dropped(f) })
	slices.SortFunc(cut, ruleset.Flow.Compare)
	return slices.CompactFunc(cut, func(a, b ruleset.Flow) bool { return a.Compare(b) == 0 })
}

// drops returns what says whether the packets of a flow are dropped.
func drops(s *Site) func(ruleset.Flow) bool {
	if s.Policy.Monitor {
		return func(ruleset.Flow) bool { return false }
	}
	state, _ := s.Compile()
	in := func(name string, a netip.Addr) bool {
		family := "4"
		if a.Is6() {
			family = "6"
		}
		return state.Sets[name+family].Contains(a)
	}
	return func(f ruleset.Flow) bool {
		ports := s.Policy.Ports.UDP
		if f.Protocol == ruleset.TCP {
			ports = s.Policy.Ports.TCP
		}
		switch {
		case !slices.Contains(ports, f.Port) || !judgesFrom(s, f.From):
			return false
		case in("providers", f.From), in("trusted", f.From), slices.Contains(s.Contacts.ByHand, f.From):
			return false
		case in("blocked", f.From):
			return true
		case f.Opened && s.Policy.Unknown.AllowReplies:
			return false
		}
		return !s.Policy.Unknown.Accepts()
	}
}

// judgesFrom reports whether packets of an address are judged, by the interface that
// leads to it.
func judgesFrom(s *Site, a netip.Addr) bool {
	var by *ruleset.Network
	networks := slices.Clip(s.Host.Routed)
	for _, i := range s.Host.Interfaces {
		for _, own := range i.Addresses {
			if own.Addr() == a {
				return false
			}
			networks = append(networks, ruleset.Network{Interface: i.Name, Prefix: own.Masked()})
		}
	}
	for _, n := range networks {
		if n.Prefix.Contains(a) && (by == nil || n.Prefix.Bits() > by.Prefix.Bits()) {
			by = &n
		}
	}
	if by != nil {
		return judges(s, by.Interface)
	}
	if len(s.Host.Outside) > 0 {
		return slices.ContainsFunc(s.Host.Outside, func(name string) bool { return judges(s, name) })
	}
	return slices.ContainsFunc(s.FencedInterfaces(), func(name string) bool { return judges(s, name) })
}
