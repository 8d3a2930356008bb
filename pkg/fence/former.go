package fence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// sought are addresses in their order. There may be very many.
type sought []netip.Addr

// between are those from one address to another.
func (s sought) between(from, to netip.Addr) sought {
	begin, _ := slices.BinarySearchFunc(s, from, netip.Addr.Compare)
	length, found := slices.BinarySearchFunc(s[begin:], to, netip.Addr.Compare)
	if found {
		length++
	}
	return s[begin:][:length]
}

// allowedBy are those that a table lets in, whatever they send.
func (s sought) allowedBy(state *ruleset.State) map[netip.Addr]bool {
	in := map[netip.Addr]bool{}
	for _, name := range []string{"providers4", "providers6", "trusted4", "trusted6"} {
		set := state.Sets[name]
		if len(s) < len(set.Elements) {
			for _, a := range s {
				if set.Contains(a) {
					in[a] = true
				}
			}
			continue
		}
		for _, e := range set.Elements {
			for _, a := range s.between(e.From, e.To) {
				in[a] = true
			}
		}
	}
	return in
}

// formerly finds until when addresses were allowed: by an answer of a name, or by a
// generation. What cannot be read says nothing.
func formerly(f *session, addresses []netip.Addr) map[netip.Addr]*site.Former {
	list := sought(slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare))
	former := map[netip.Addr]*site.Former{}
	note := func(a netip.Addr, as string, until time.Time) {
		if known := former[a]; known == nil || known.Until.Before(until) {
			former[a] = &site.Former{As: as, Until: until}
		}
	}
	moves, err := f.Moves()
	if err != nil {
		f.Log.Info("read which addresses have come and gone", "error", err)
	}
	for _, m := range moves {
		network := m.network()
		if !m.Gone || !network.IsValid() {
			continue
		}
		owner, _, _ := strings.Cut(m.Reason, ":")
		for _, a := range list.between(network.Addr(), netipx.PrefixLastIP(network)) {
			note(a, owner, m.Time)
		}
	}
	if err := formerGenerations(f, list, note); err != nil {
		f.Log.Info("read which addresses were allowed before", "error", err)
	}
	return former
}

// formerGenerations notes which addresses a generation has allowed that the next one does
// not allow.
func formerGenerations(f *session, list sought, note func(a netip.Addr, as string, until time.Time)) error {
	numbers, err := f.Numbers()
	if err != nil {
		return err
	}
	if len(list) == 0 || len(numbers) < 2 {
		return nil // generations may be very large
	}
	allowed := map[netip.Addr]ruleset.Origins{}
	var before json.RawMessage
	for _, n := range numbers {
		entry, err := f.Entry(n)
		if err != nil {
			return err
		}
		if bytes.Equal(entry.State, before) {
			continue
		}
		before = entry.State
		var state ruleset.State
		if err := json.Unmarshal(entry.State, &state); err != nil {
			return fmt.Errorf("read rules of generation %d: %w", n, err)
		}
		in := list.allowedBy(&state)
		for a, was := range allowed {
			if !in[a] {
				note(a, ownerOf(was, a), entry.Time)
				delete(allowed, a)
			}
		}
		if len(in) == 0 {
			continue
		}
		origins := originsThen(f, entry)
		for a := range in {
			allowed[a] = origins
		}
	}
	return nil
}

// ownerOf says whose address it was.
func ownerOf(origins ruleset.Origins, a netip.Addr) string {
	for _, set := range []string{"providers", "trusted"} {
		for _, o := range origins.Of(set+familyOf(a), whole(a)) {
			return o.Owner
		}
	}
	return ""
}
