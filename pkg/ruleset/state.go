// Package ruleset describes ringfence's table as plain data, both as it should be and
// as it was observed. It says which elements, sets, chains and rules exist and how each
// is written, in one canonical form, so that two states are equal exactly if the kernel
// treats every packet in the same way.
//
// It decides nothing: pkg/compile makes the desired state, a back end observes the
// present one, and pkg/plan compares them.
package ruleset

import (
	"cmp"
	"net/netip"
	"slices"
)

// Table is the name of the only table that ringfence owns, in family inet.
const Table = "ringfence"

// State is the whole table. The zero State is a host without the table: observed, it
// was never made; desired, it is to be removed.
type State struct {
	// GenID is the back end's stamp of what it has observed: two observations with
	// the same one, other than 0, saw the same. What it counts, or whether it counts at
	// all, is the back end's business. It is 0 in a desired state.
	GenID uint64 `json:"-"`
	// Exists distinguishes an empty table from no table.
	Exists bool `json:"exists"`
	// Flags holds the table's flags as nft writes them ("dormant"), "" for
	// none. ringfence never sets one.
	Flags string `json:"flags,omitempty"`
	// Sets and Chains are keyed by name. Anonymous sets are part of their rule.
	Sets   map[string]Set   `json:"sets,omitempty"`
	Chains map[string]Chain `json:"chains,omitempty"`
	// Counters are the named counters, sorted. Their values are not part of the state.
	Counters []string `json:"counters,omitempty"`
	// ForeignObjects are objects of kinds that ringfence never makes, added to its
	// table by another program: quotas, limits, flowtables.
	ForeignObjects []ForeignObject `json:"strangers,omitempty"`
	// Place is where a back end has it, as users see it; "" is a table of nftables.
	Place string `json:"-"`
	// Others are the places of fences that other back ends have left. None is wanted.
	Others []string `json:"-"`
	// Base is what the elements of large sets were made from, nil if that is not known.
	Base *Base `json:"-"`
	// Classifier marks packets before the table sees them.
	Classifier Classifier `json:"classifier,omitempty"`
}

// OnlyOurs reports whether everything in the table may have been written by ringfence.
func (s *State) OnlyOurs() bool {
	if s.Flags != "" || len(s.ForeignObjects) > 0 {
		return false
	}
	for _, set := range s.Sets {
		if set.Foreign != "" || slices.ContainsFunc(set.Elements, func(e Element) bool { return e.Foreign != "" }) {
			return false
		}
	}
	for _, c := range s.Chains {
		if c.Foreign != "" || c.Bound || slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Statements() == nil }) {
			return false
		}
	}
	return true
}

// ForeignObject names an object of a kind that ringfence never makes.
type ForeignObject struct {
	Kind string `json:"kind"` // as nft writes it, "flowtable" or "quota"
	Type uint32 `json:"type"` // NFT_OBJECT_*; 0 for a flowtable
	Name string `json:"name"`
}

// Stage is the point on its way at which a packet reaches a chain. Each back end has
// its own name for it. For a chain of another program at any other point, it is the
// text of the back end.
type Stage string

// The stages at which ringfence judges packets. A packet that passes the last rule
// continues on its way.
const (
	// BeforeTracking is before connection tracking and before other programs handle raw
	// packets: dropping a flood here makes no connection-tracking entries.
	BeforeTracking Stage = "before connection tracking"
	// AfterTracking is after connection tracking, which allow_replies needs, and before
	// the translation of destinations, which changes the port.
	AfterTracking Stage = "after connection tracking"
	// BeforeFilter is after the translation of destinations, where the port is the one
	// that the packet is delivered to, and before other firewalls filter.
	BeforeFilter Stage = "before filtering"
	// Leaving is where a packet leaves the host, after every translation: its addresses
	// and ports are those that the peer sees.
	Leaving Stage = "leaving"
)

// Chain is a chain with its rules in order. A chain without a stage is only reached by
// jump and goto.
type Chain struct {
	Stage Stage `json:"stage,omitempty"`
	// Foreign holds attributes that ringfence never sets, as text.
	Foreign string `json:"foreign,omitempty"`
	// Bound chains are part of a rule of another program ("jump { … }"): they are
	// removed with that rule and not alone.
	Bound bool   `json:"bound,omitempty"`
	Rules []Rule `json:"rules,omitempty"`
}

// Contains reports whether an address is in one of the set's elements.
func (s Set) Contains(a netip.Addr) bool {
	behind, found := slices.BinarySearchFunc(s.Elements, a, func(e Element, a netip.Addr) int { return e.From.Compare(a) })
	return found || behind > 0 && a.Compare(s.Elements[behind-1].To) <= 0
}

// SameFrame reports whether the chains differ at most in their rules.
func (c Chain) SameFrame(o Chain) bool {
	return c.Stage == o.Stage && c.Foreign == o.Foreign && c.Bound == o.Bound
}

// SameRules reports whether both chains have the same rules in the same order.
func (c Chain) SameRules(o Chain) bool { return slices.Equal(c.texts(), o.texts()) }

func (c Chain) texts() []string {
	texts := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		texts[i] = r.String()
	}
	return texts
}

// Key is the type of a set's elements.
type Key string

// The types of ringfence's sets, by nft's names. An observed set of another type has
// that type's name or number.
const (
	IPv4 Key = "ipv4_addr"
	IPv6 Key = "ipv6_addr"
	Port Key = "inet_service"
	// Service is a port of a transport protocol.
	Service Key = "inet_proto . inet_service"
	// A peer is an address with a port.
	IPv4Peer Key = "ipv4_addr . inet_service"
	IPv6Peer Key = "ipv6_addr . inet_service"
)

// Set is a named set.
type Set struct {
	Key      Key    `json:"key"`
	Interval bool   `json:"interval,omitempty"`
	Timeout  bool   `json:"timeout,omitempty"`
	Dynamic  bool   `json:"dynamic,omitempty"`
	Size     uint32 `json:"size,omitempty"` // largest number of elements; 0 = no limit
	// SizeFrom is observed where a back end makes the same set for sizes from this one to
	// Size; else it is 0.
	SizeFrom uint32 `json:"-"`
	// Limited says that each element keeps what is left of a limit, so that one cannot be
	// taken over from a set that is made again. It is not observed.
	Limited bool `json:"-"`
	// Elements are sorted and do not overlap. The elements of a dynamic set are
	// run-time state, added by the rules and removed by the kernel, so they are neither
	// observed nor compared.
	Elements []Element `json:"elements,omitempty"`
	// Foreign holds attributes that ringfence never sets, as text.
	Foreign string `json:"foreign,omitempty"`
}

// Room returns the size that a set of addresses gets, 0 for none. With a size, the kernel
// keeps single IPv4 addresses in a table that is faster to search (nft_hash). The size
// leaves room for others, and is one of few, because a set has to be made again for
// another size.
func (s Set) Room() uint32 {
	if s.Key != IPv4 || s.Interval {
		return 0
	}
	room := uint32(1024)
	for int(room) < len(s.Elements)+len(s.Elements)/2 {
		room *= 4
	}
	return room
}

// SameFrame reports whether both sets have the same type, flags and size. The kernel
// cannot change any of these in an existing set.
func (s Set) SameFrame(o Set) bool {
	return s.Key == o.Key && s.Interval == o.Interval && s.Timeout == o.Timeout &&
		s.Dynamic == o.Dynamic && s.SameSize(o) && s.Foreign == o.Foreign
}

// SameSize reports whether both sets have the same size, or one that may be the same.
func (s Set) SameSize(o Set) bool {
	from := func(s Set) uint32 { return cmp.Or(s.SizeFrom, s.Size) }
	return from(s) <= o.Size && from(o) <= s.Size
}
