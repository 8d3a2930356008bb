package report

import (
	"iter"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
)

// Dropped is the object that dropped prints for one source. What it has sent is empty
// where the daemon has not seen it.
type Dropped struct {
	Address string     `json:"address"`
	Packets uint64     `json:"packets"`
	First   *time.Time `json:"first"` // null if it is not known
	Last    time.Time  `json:"last"`
	Reason  string     `json:"reason"`
	Text    string     `json:"text"`
	Port    *uint16    `json:"port"` // null if it is not known

	Method    string `json:"method"`
	UserAgent string `json:"user_agent"`
	Called    string `json:"called"`
	Signature string `json:"signature"`
}

// DroppedOf makes the objects of the sources that were dropped.
func DroppedOf(list []fence.Dropped) []Dropped {
	return slices.AppendSeq([]Dropped{}, EachDropped(list))
}

// EachDropped makes them one after the other.
func EachDropped(list []fence.Dropped) iter.Seq[Dropped] {
	return func(yield func(Dropped) bool) {
		for _, d := range list {
			if !yield(droppedOf(d)) {
				return
			}
		}
	}
}

func droppedOf(d fence.Dropped) Dropped {
	r := Dropped{
		Address: d.Address.String(), Packets: d.Packets, Last: d.Last.Truncate(time.Second), Reason: d.Reason, Text: d.Text,
		Method: d.Method, UserAgent: d.UserAgent, Called: d.Called, Signature: d.Signature,
	}
	if !d.First.IsZero() {
		r.First = new(d.First.Truncate(time.Second))
	}
	if d.Port != 0 {
		r.Port = new(d.Port)
	}
	return r
}

// Watched is the object that watch prints for a source of which packets have come.
type Watched struct {
	Dropped
	// More is how many have come.
	More uint64 `json:"more"`
}

// WatchedOf makes the objects of sources of which packets have come.
func WatchedOf(list []fence.More) (reports []Watched) {
	for _, m := range list {
		reports = append(reports, Watched{droppedOf(m.Dropped), m.Packets})
	}
	return reports
}
