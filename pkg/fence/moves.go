package fence

import (
	"net/netip"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/site"
)

// Moved is an address or network that answers have let in or shut out without a new generation.
type Moved struct {
	Time    time.Time `json:"time"`
	Address string    `json:"address"`
	Gone    bool      `json:"gone,omitempty"`
	// Reason says by which name it is or was allowed, and for whom.
	Reason     string `json:"reason"`
	Command    string `json:"command"`
	Generation int    `json:"generation"` // in force then
}

// network is the address or network as a prefix, the zero one if it is neither.
func (m Moved) network() netip.Prefix {
	if p, err := netip.ParsePrefix(m.Address); err == nil {
		return p
	}
	a, err := netip.ParseAddr(m.Address)
	if err != nil {
		return netip.Prefix{}
	}
	return whole(a)
}

// mostMoved is how many moves are kept.
const mostMoved = 1000

// recordMoves stores which addresses of a site have come and gone since before. The lock
// is held. It is for people only, so its failure is not an error.
func recordMoves(f *session, before, now *site.Site, generation int, command string) {
	if before == nil {
		return
	}
	moves := now.Memory.Moves(before.Memory.Only(site.Targets(now.Policy)))
	if len(moves) == 0 {
		return
	}
	var all []Moved
	if err := journal.ReadOrAside(f.Journal, journal.MovesFile, &all); err != nil {
		f.Notice.Warn(notice.StateDamaged, "%v", err)
	}
	for _, m := range moves {
		all = append(all, Moved{f.Now().Time, m.Address, m.Gone, m.Reason, command, generation})
	}
	if err := journal.Write(f.Journal, journal.MovesFile, all[max(0, len(all)-mostMoved):]); err != nil {
		f.Log.Info("save which addresses have come and gone", "error", err)
	}
}

// Moves returns which addresses have come and gone by answers, the oldest first.
func (f *session) Moves() ([]Moved, error) {
	var all []Moved
	err := journal.Read(f.Journal, journal.MovesFile, &all)
	return all, err
}
