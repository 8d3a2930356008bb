package resolve

import (
	"net/netip"
	"time"
)

// Settings are what the policy and the host say about names.
type Settings struct {
	// Names are all names of the policy. What is remembered about others is forgotten,
	// and their addresses are removed at once.
	Names []Name
	// Lists are the published lists of the policy's providers; the same goes for them.
	Lists []List
	// Filter says which addresses are rejected.
	Filter AddressFilter
	// Hold is how long an address is kept that good answers lack.
	Hold time.Duration
	// Min and Max are the limits of the time between two lookups of a name that
	// answers.
	Min, Max time.Duration
	// StaleAlarm is how old the last good answer may be.
	StaleAlarm time.Duration
}

// Name is a name of the policy.
type Name struct {
	Target
	// Owners are the parts of the policy that list it: providers, or trusted.
	Owners []string
	// Servers are the name servers that are asked for it; none are the usual ones.
	Servers []netip.AddrPort
}

// holdOfType is the least time for which addresses are kept after a provider has given
// up a whole type of record: phones that were told to use it come back late.
const holdOfType = 72 * time.Hour

// missed returns for how long an address has been missing, after good answers
// have lacked it for some time and a lookup that came passed later lacks it too.
//
// A lookup that comes late says nothing about the time before it: nobody has
// asked, or nobody was there. Then it counts only up to a little before the
// limit, so that the first answer after any silence, however long the wall clock
// says that it was, removes nothing that good answers had not found missing for
// nearly as long already.
func (t Settings) missed(before, passed time.Duration, measured bool, limit time.Duration) time.Duration {
	if !measured || passed > 2*t.Max {
		if last := limit - min(t.Max, limit/4); before < last {
			return min(before+passed, last)
		}
	}
	return before + passed
}

// owned are the targets of each owner.
func (t Settings) owned() map[string][]Target {
	owned := map[string][]Target{}
	for _, n := range t.Names {
		for _, o := range n.Owners {
			owned[o] = append(owned[o], n.Target)
		}
	}
	return owned
}
