package labtest

import (
	"net/netip"
	"sync"
	"testing"
)

// PBX is a real PBX with digest authentication.
type PBX interface {
	// Stop ends it, and Start starts it again.
	Stop()
	Start(t testing.TB)
	// Contacts returns from where the phones have registered that it knows now.
	Contacts(t testing.TB) []netip.AddrPort
	// Requests returns how many requests of a method have come from an address; "" is for
	// all methods.
	Requests(source, method string) int
}

// tally counts requests by source and method.
type tally struct {
	mu       sync.Mutex
	requests map[string]map[string]int
}

func (c *tally) note(method, source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[string]map[string]int{}
	}
	if c.requests[source] == nil {
		c.requests[source] = map[string]int{}
	}
	c.requests[source][method]++
}

func (c *tally) count(source, method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if method != "" {
		return c.requests[source][method]
	}
	n := 0
	for _, count := range c.requests[source] {
		n += count
	}
	return n
}
