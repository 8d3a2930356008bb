package resolve

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Records lets tests feed packets without a network.
var Records = records

// SetTimeout changes how long the client waits for each server.
func (c *Client) SetTimeout(d time.Duration) { c.timeout = d }

// Resolve asks everything about all targets with the usual limits.
func Resolve(ctx context.Context, lookup Lookup, targets []Target) []Result {
	return Resolver{Lookup: lookup}.Resolve(ctx, targets)
}

// Found is an address of a result.
type Found struct {
	Address netip.Addr // unmapped
	// Via is the shortest chain of records that led to it, as in
	// "SRV _sip._udp -> edge.example.net A".
	Via string
	TTL time.Duration // the shortest on the chain
}

// Addresses are all addresses that the result holds, each once, sorted.
func (r Result) Addresses() []Found {
	best := map[netip.Addr]Found{}
	r.each(func(n, _ *Node, via string, ttl time.Duration) {
		for _, record := range n.Records {
			if !record.Address.IsValid() {
				continue
			}
			f := Found{record.Address.Unmap(), via, ttl}
			old, seen := best[f.Address]
			if seen && strings.Count(old.Via, chainArrow) <= strings.Count(via, chainArrow) {
				f = Found{f.Address, old.Via, min(old.TTL, f.TTL)}
			}
			best[f.Address] = f
		}
	})
	var found []Found
	for _, f := range best {
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b Found) int { return a.Address.Compare(b.Address) })
	return found
}
