// Package events keeps who was dropped, and what he sent, in a database file: by the
// hour, the source and what the packets were. It is the only package that uses bbolt.
//
// The daemon counts packets in a Tally and writes that from time to time by a Store, which
// opens the file only for that. Commands read it meanwhile by Read and Counts.
//
// Anybody can send packets, so everything has a limit. A Tally holds 8,192 records, and an
// hour of the file 4,096. Where there are more, those with the fewest packets are added up to
// one record for each reason, without a source. Among them those that came first stay, some
// of every content, and some by chance. So a flood of forged sources hides neither who came
// before it, nor who comes again and again, nor a scanner in the middle of it. When the file
// has 256 MiB, of the oldest hours only 256 records stay, and at last the oldest hours go.
package events

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/sip"
)

// Drop is one dropped packet of which the kernel has sent a copy.
type Drop struct {
	Time             time.Time
	Source           netip.Addr
	SourcePort, Port uint16
	Protocol         string // udp, tcp, sctp, dccp or udplite
	Interface        string // by which it came in
	Reason           string // a counter's name without dropped_
	// What the sender has written. It is "" where the packet has none of it, or cannot be
	// read.
	Method, UserAgent, Called string
	// Signature is the name of the signature that the packet matches, "" for none.
	Signature string
}

// Record says how many packets of a kind came in an hour. The kernel reports at most one
// packet a minute for each source and reason, so there were as many or more.
type Record struct {
	Hour, First, Last time.Time
	// Source is the zero address where records of several sources were added up; then only
	// the reason and the packets are known.
	Source                               netip.Addr
	Port                                 uint16
	Protocol, Reason                     string
	Method, UserAgent, Called, Signature string
	Packets                              uint64
}

// Count is by how many packets a counter of the table has grown in an hour.
type Count struct {
	Hour    time.Time
	Name    string
	Packets uint64
}

// hourOf is the beginning of an hour.
func hourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }

// record is the record of one packet.
func (d Drop) record() Record {
	return Record{
		Hour: hourOf(d.Time), First: d.Time, Last: d.Time, Source: d.Source.Unmap().WithZone(""), Port: d.Port,
		Protocol: sip.Clean(d.Protocol), Reason: sip.Clean(d.Reason), Method: sip.Clean(d.Method), UserAgent: sip.Clean(d.UserAgent),
		Called: sip.Clean(d.Called), Signature: sip.Clean(d.Signature), Packets: 1,
	}
}

// kind is the record without its times and packets, as a key.
func (r Record) kind() Record {
	r.First, r.Last, r.Packets = time.Time{}, time.Time{}, 0
	return r
}

// other is the record to which r is added where there are too many.
func (r Record) other() Record {
	return Record{Hour: r.Hour, First: r.First, Last: r.Last, Reason: r.Reason, Packets: r.Packets}
}

// plus adds up two records of a kind.
func (r Record) plus(other Record) Record {
	r.Packets += other.Packets
	if other.First.Before(r.First) {
		r.First = other.First
	}
	if other.Last.After(r.Last) {
		r.Last = other.Last
	}
	return r
}

// heaviest sorts records: first those with the most packets, among them those that came
// first.
func heaviest(a, b Record) int {
	return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.First.Compare(b.First))
}

// content is what senders have in common that use the same program.
type content struct{ reason, method, userAgent, signature string }

// fold adds up all records but some to one for each reason, and returns what is left. The
// records are of one hour. One half of those that stay are the heaviest ones. The other half
// are of as many contents as possible: a scanner that comes during a flood has not many
// packets, but other ones than the flood. Among those chance decides, so that who comes
// again is kept at some time and is heavier from then on.
func fold(records []Record, most int) []Record {
	if len(records) <= most {
		return records
	}
	slices.SortFunc(records, heaviest)
	light := records[most/2:]
	rand.Shuffle(len(light), func(i, j int) { light[i], light[j] = light[j], light[i] })
	ranks := make(map[Record]int, len(records)) // among those of the same content
	seen := map[content]int{}
	for _, r := range records {
		c := content{r.Reason, r.Method, r.UserAgent, r.Signature}
		ranks[r] = seen[c]
		seen[c]++
	}
	slices.SortStableFunc(light, func(a, b Record) int { return cmp.Compare(ranks[a], ranks[b]) })
	others := map[string]Record{}
	kept := make([]Record, 0, most)
	for i, r := range records {
		switch {
		case r.Source.IsValid() && i < most:
			kept = append(kept, r)
		case others[r.Reason].Packets > 0:
			others[r.Reason] = others[r.Reason].plus(r)
		default:
			others[r.Reason] = r.other()
		}
	}
	return slices.AppendSeq(kept, maps.Values(others))
}
