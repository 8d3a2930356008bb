package ruleset

import (
	"net/netip"
	"slices"
)

// Others is what other programs have in nftables, as far as it can work against a
// fence. Rules of iptables-nft are among it.
type Others struct {
	Chains []OtherChain
	// Flowtables are those whose packets pass no chain.
	Flowtables []string
	// Compatible are the tables that iptables-nft has made.
	Compatible []string
	// SIPHelpers are the objects that track SIP.
	SIPHelpers []string
}

// OtherChain is a chain of another program.
type OtherChain struct {
	// Table is its family and name, as nft writes them. Program is what shows it, "" for
	// nft.
	Table   string `json:"table"`
	Name    string `json:"chain"`
	Program string `json:"program,omitempty"`
	// Hook is where packets come to it, "" for one that others jump to.
	Hook     string `json:"hook,omitempty"`
	Priority int    `json:"priority,omitempty"`
	// Drops says that it does so by its policy, Mapped that a map leads to it.
	Drops  bool        `json:"-"`
	Mapped bool        `json:"-"`
	Rules  []OtherRule `json:"-"`
}

// String names the chain for a user.
func (c OtherChain) String() string {
	if c.Program != "" {
		return "chain " + c.Name + " of " + c.Program
	}
	return "chain " + c.Name + " of table " + c.Table
}

// Look is the command that shows the chain.
func (c OtherChain) Look() string {
	if c.Program != "" {
		return c.Program + " -S"
	}
	return "nft list table " + c.Table
}

// OtherRule is what is understood of a rule of another program.
type OtherRule struct {
	// Ports are the destination ports that it looks for, each range with both ends; none
	// if it looks for none. Either says that a packet may have one as its source port too.
	Ports  [][2]uint16
	Either bool
	// When is what it looks for besides, and Partly says that it also looks for what is
	// not understood.
	When   []Condition
	Partly bool
	// Drops says that it drops or rejects, Accepts that it accepts, and neither that it
	// does something else.
	Drops, Accepts bool
	// Leads is the chain in which packets go on. Leaves says that no later rule of this
	// chain sees the packets that meet this one.
	Leads  string
	Leaves bool
	// Marks are the bits of the packet's mark that it reads or writes.
	Marks uint32
	// Untracked says that it takes packets out of connection tracking.
	Untracked bool
	// Helper is the connection-tracking helper that it hands packets to.
	Helper string
	// Proxied is the port whose server gets the packets, by TPROXY or, if Written is set,
	// because the rule writes it into them; 0 for none or for that to which they are sent.
	Proxied uint16
	Written bool
}

// Condition is one thing that a rule looks for. One of its lists is not empty.
type Condition struct {
	Not bool `json:"not,omitempty"` // that a packet has none of these
	// Interfaces are those by which it comes in; a trailing * is a prefix.
	Interfaces []string       `json:"interfaces,omitempty"`
	Sources    []netip.Prefix `json:"sources,omitempty"`
	Protocols  []Protocol     `json:"protocols,omitempty"`
	Ports      [][2]uint16    `json:"ports,omitempty"` // to which it is sent
}

// OtherProtocol is one that no rule of ringfence is about.
const OtherProtocol Protocol = "other"

// empty reports whether the condition says nothing.
func (c Condition) empty() bool {
	return len(c.Interfaces)+len(c.Sources)+len(c.Protocols)+len(c.Ports) == 0
}

// conditions are all that is understood of what the rule looks for.
func (r OtherRule) conditions() []Condition {
	if len(r.Ports) == 0 || r.Either {
		return r.When
	}
	return append(slices.Clip(r.When), Condition{Ports: r.Ports})
}

// Meets reports whether the rule looks for one of the ports.
func (r OtherRule) Meets(ports []uint16) bool {
	for _, looked := range r.Ports {
		for _, p := range ports {
			if looked[0] <= p && p <= looked[1] {
				return true
			}
		}
	}
	return false
}
