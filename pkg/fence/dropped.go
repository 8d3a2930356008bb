package fence

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// Dropped is a source whose packets were dropped, or would be in monitor mode.
type Dropped struct {
	backend.Dropped
	// Reason is a counter's name without dropped_, and Text a sentence about it.
	Reason, Text string
	// What it has sent last: 0 and "" where the daemon has not seen it.
	Port                                 uint16
	Method, UserAgent, Called, Signature string

	reported time.Time // when what it has sent was reported
}

// Drops are the sources whose packets were dropped.
type Drops struct {
	// Monitor says that they would be dropped, and pass.
	Monitor bool
	// Sources begin with the one that came last.
	Sources []Dropped
}

// ShortestSince is how exactly the kernel keeps when a source came last.
const ShortestSince = time.Minute

// Dropped returns the sources whose packets were dropped lately, the first ones with their
// reasons. It works without the daemon, from what the kernel keeps; what the daemon has
// written is added.
func (f View) Dropped(ctx context.Context, since time.Duration, explained int) (Drops, error) {
	kernel := f.kernel(false)
	kept, err := kernel.Dropped(ctx, netip.Addr{})
	if err != nil {
		return Drops{}, err
	}
	list := droppedIn(&f.session, kept, netip.Addr{}, f.Now().Time.Add(-since))
	if len(list) == 0 {
		return Drops{Monitor: monitors(&f.session)}, nil
	}
	monitor, err := explainDrops(ctx, f, kernel, list[:min(len(list), explained)])
	return Drops{monitor, list}, err
}

// droppedIn brings together what the kernel and the daemon keep of all sources, or of an
// address, without reasons that nobody has written down.
func droppedIn(f *session, kept []backend.Dropped, of netip.Addr, since time.Time) []Dropped {
	r, err := readReports(f, of, since)
	if err != nil {
		f.Notice.Warn(notice.EventsUnknown, "what the sources sent is not known: %v", err)
	}
	return r.with(kept, since)
}

// reports are what the daemon has written, by source.
type reports map[netip.Addr]*Dropped

// readReports reads what the daemon has written of all sources, or of an address. With an
// error it is incomplete.
func readReports(f *session, of netip.Addr, since time.Time) (reports, error) {
	found := reports{}
	take := func(r events.Record) error {
		if r.Source.IsValid() {
			add(found, r)
		}
		return nil
	}
	if of.IsValid() {
		return found, events.ReadSource(f.EventsFile(), of, since, take)
	}
	return found, events.Read(f.EventsFile(), since, time.Time{}, take)
}

// with adds what the kernel keeps, and leaves out who came last before a time. The one that
// came last is first.
func (r reports) with(kept []backend.Dropped, since time.Time) []Dropped {
	list := make([]Dropped, 0, max(len(r), len(kept)))
	both := map[netip.Addr]bool{}
	for _, k := range kept {
		d := ofKernel(k)
		if known, ok := r[k.Address]; ok {
			both[k.Address] = true
			d = *known
			d.Packets = max(d.Packets, k.Packets)
			if !k.First.IsZero() && k.First.Before(d.First) {
				d.First = k.First
			}
			if k.Last.After(d.Last) {
				d.Last = k.Last
			}
		}
		list = append(list, d)
	}
	for a, d := range r {
		if !both[a] {
			list = append(list, *d)
		}
	}
	list = slices.DeleteFunc(list, func(d Dropped) bool { return d.Last.Before(since) })
	slices.SortFunc(list, Latest)
	return list
}

// ofKernel is a source of which nothing is known but what the kernel keeps.
func ofKernel(k backend.Dropped) Dropped {
	d := Dropped{Dropped: k}
	if k.Scanner {
		d.Reason = site.ReasonSignature
	}
	return d
}

// Latest orders sources: the one that came last is first.
func Latest(a, b Dropped) int {
	return cmp.Or(b.Last.Compare(a.Last), a.Address.Compare(b.Address))
}

// add takes over a record of the daemon. Records come by their hours, so that the last one
// of a source is about its last packet, but for the order within an hour.
func add(found reports, r events.Record) {
	d, ok := found[r.Source]
	if !ok {
		d = &Dropped{Dropped: backend.Dropped{Address: r.Source}}
		found[r.Source] = d
	}
	d.Packets += r.Packets
	if d.First.IsZero() || r.First.Before(d.First) {
		d.First = r.First
	}
	if d.Reason == "" || !r.Last.Before(d.reported) {
		d.reported = r.Last
		d.Reason, d.Port, d.Method, d.UserAgent, d.Called, d.Signature = r.Reason, r.Port, r.Method, r.UserAgent, r.Called, r.Signature
	}
	if r.Last.After(d.Last) {
		d.Last = r.Last
	}
}

// explainDrops gives the sources their reasons. It reports whether what is in force drops
// nothing.
func explainDrops(ctx context.Context, f View, kernel backend.Kernel, list []Dropped) (monitor bool, err error) {
	newest, err := f.newest()
	if err != nil || newest == nil {
		return false, err
	}
	s, err := siteOfNow(f, newest)
	if err != nil {
		return false, err
	}
	byHand, err := allowedByHand(ctx, kernel)
	if err != nil {
		return false, err
	}
	return s.Policy.Monitor, explainBy(ctx, &f.session, kernel, s, byHand, list)
}

// explainBy gives the sources their reasons, by what is in force.
func explainBy(ctx context.Context, f *session, kernel backend.Bans, s *site.Site, byHand []ByHand, list []Dropped) error {
	bans, err := kernel.Bans(ctx)
	if err != nil {
		return err
	}
	banned := map[netip.Addr]string{}
	for _, b := range bans {
		banned[b.Address] = b.Comment
	}
	addresses := make([]netip.Addr, len(list))
	for i, d := range list {
		addresses[i] = d.Address
	}
	former := formerly(f, addresses)
	judged := s.Judged()
	for i := range list {
		d := &list[i]
		stranger := site.Stranger{
			Address: d.Address, Reason: d.Reason, Signature: d.Signature,
			ByHand: isByHand(byHand, d.Address), Allowed: former[d.Address],
		}
		stranger.BannedBy, stranger.Banned = banned[d.Address]
		d.Reason, d.Text = s.WhyDropped(judged, stranger)
	}
	return nil
}

// otherReader is the program that receives the dropped packets in place of the daemon, nil
// for none.
func otherReader(f *session, s *site.Site) *host.Program {
	if f.LogReader == nil || s == nil || s.Policy.Events.Keep == 0 {
		return nil
	}
	p, err := f.LogReader()
	if err != nil {
		f.Log.Info("read who receives dropped packets", "error", err)
	}
	return p
}

// mostLatest is how many sources the status has.
const mostLatest = 5

// describeDrops adds the sources that came last.
func describeDrops(ctx context.Context, f *session, r *Status, kernel backend.Kernel, s *site.Site) error {
	list := droppedIn(f, r.kept, netip.Addr{}, f.Now().Time.Add(-ruleset.KeptFor))
	r.Dropped, r.Latest = len(list), list[:min(len(list), mostLatest)]
	return explainBy(ctx, f, kernel, s, r.ByHand, r.Latest)
}
