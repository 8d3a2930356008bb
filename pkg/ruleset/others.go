package ruleset

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
	Table, Name string
	Program     string
	// Hook is where packets come to it, "" for one that others jump to.
	Hook     string
	Priority int
	Drops    bool // by its policy
	Rules    []OtherRule
}

// OtherRule is what is understood of a rule of another program.
type OtherRule struct {
	// Ports are the destination ports that it looks for, each range with both ends; none
	// if it looks for none.
	Ports [][2]uint16
	// Drops says that it drops or rejects, Accepts that it accepts, and neither that it
	// does something else.
	Drops, Accepts bool
	// Marks are the bits of the packet's mark that it reads or writes.
	Marks uint32
	// Untracked says that it takes packets out of connection tracking.
	Untracked bool
	// Helper is the connection-tracking helper that it hands packets to.
	Helper string
	// Proxied is the port whose server gets the packets, by TPROXY or because the rule
	// writes it into them; 0 for none or for that to which they are sent.
	Proxied uint16
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
