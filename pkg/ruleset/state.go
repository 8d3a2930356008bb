// Package ruleset is ringfence's table as plain data: what it should be, and
// what it was seen to be. It says which elements, sets, chains and rules exist
// and how each is written, in one canonical form, so that two states are equal
// exactly when the kernel would treat every packet the same way.
//
// It decides nothing: pkg/compile makes the desired state, pkg/nft observes the
// other, pkg/plan compares them.
package ruleset

import "slices"

// Table is the name of the one table that ringfence owns, in family inet.
const Table = "ringfence"

// State is the whole table. The zero State is a host without the table, both
// as something observed (nobody made it) and as something desired (take it
// down).
type State struct {
	// GenID is the back end's stamp of what it has observed: two observations with
	// the same one, other than 0, saw the same. What it counts, or whether it counts at
	// all, is the back end's business. It is 0 in a desired state.
	GenID uint64 `json:"-"`
	// Exists tells a table without content from no table.
	Exists bool `json:"exists"`
	// Flags holds the table's flags as nft writes them ("dormant"), "" for
	// none. ringfence never sets one.
	Flags string `json:"flags,omitempty"`
	// Sets and Chains are keyed by name. Anonymous sets are part of their rule.
	Sets   map[string]Set   `json:"sets,omitempty"`
	Chains map[string]Chain `json:"chains,omitempty"`
	// Counters are the named counters, sorted. Their values are no state.
	Counters []string `json:"counters,omitempty"`
	// ForeignObjects are objects of kinds that ringfence never makes, put into its
	// table by another program: quotas, limits, flowtables.
	ForeignObjects []ForeignObject `json:"strangers,omitempty"`
	// Others are the places of fences that other back ends have left. Nobody wants any.
	Others []string `json:"-"`
	// Classifier marks packets before the table sees them.
	Classifier Classifier `json:"classifier,omitempty"`
}

// OnlyOurs reports whether the table holds nothing but what ringfence could have
// written.
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

// Stage is where on its way a packet comes to a chain. Each back end knows what it calls
// the place. Of a chain of another program, at any other place, it is the back end's
// own words.
type Stage string

// The stages at which ringfence judges. What leaves the last rule goes on.
const (
	// BeforeTracking is before connection tracking, and before everything that others
	// do with raw packets: a dropped flood makes no connection-tracking entry.
	BeforeTracking Stage = "before connection tracking"
	// AfterTracking is behind connection tracking, whose answer allow_replies needs,
	// and before the translation of destinations, which changes the port.
	AfterTracking Stage = "after connection tracking"
	// BeforeFilter is behind the translation of destinations, where the port is the one
	// that the packet is delivered to, and before other firewalls filter.
	BeforeFilter Stage = "before filtering"
)

// Chain is a chain with its rules in order. A chain without a stage is reached by jump
// and goto only.
type Chain struct {
	Stage Stage `json:"stage,omitempty"`
	// Foreign holds attributes that ringfence never sets, as text.
	Foreign string `json:"foreign,omitempty"`
	// Bound chains are part of the rule that another program has written them
	// into ("jump { … }"): they go when it goes, and cannot go alone.
	Bound bool   `json:"bound,omitempty"`
	Rules []Rule `json:"rules,omitempty"`
}

// SameFrame reports whether both chains are the same but for their rules.
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

// Key is what a set holds.
type Key string

// The keys of ringfence's sets, by nft's names. An observed set of another
// type has that type's name or number.
const (
	IPv4 Key = "ipv4_addr"
	IPv6 Key = "ipv6_addr"
	Port Key = "inet_service"
	// Service is a port of a transport protocol.
	Service Key = "inet_proto . inet_service"
)

// Set is a named set.
type Set struct {
	Key      Key    `json:"key"`
	Interval bool   `json:"interval,omitempty"`
	Timeout  bool   `json:"timeout,omitempty"`
	Dynamic  bool   `json:"dynamic,omitempty"`
	Size     uint32 `json:"size,omitempty"` // most elements; 0 = no limit
	// Elements are sorted and do not overlap. The elements of a dynamic
	// set are run-time state: the packet path adds them and the kernel removes
	// them, so they are neither observed nor compared.
	Elements []Element `json:"elements,omitempty"`
	// Foreign holds attributes that ringfence never sets, as text.
	Foreign string `json:"foreign,omitempty"`
}

// SameFrame reports whether both sets have the same type, flags and size. The
// kernel changes none of these on a set that exists.
func (s Set) SameFrame(o Set) bool {
	return s.Key == o.Key && s.Interval == o.Interval && s.Timeout == o.Timeout &&
		s.Dynamic == o.Dynamic && s.Size == o.Size && s.Foreign == o.Foreign
}
