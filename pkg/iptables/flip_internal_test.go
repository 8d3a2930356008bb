package iptables

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestLastOfItsLength adds and removes prefixes of a length that nothing else in a set has,
// as fast as it can, while a provider of a shorter prefix sends: a set that is swapped in
// hides nothing. One that the prefix is deleted from does, a few times in ten thousands:
// what is lost then is only logged.
func TestLastOfItsLength(t *testing.T) {
	f := labtest.NewFlood(t)
	labtest.Run(t, f.PBX, "sh", "-ec", `ipset create ringfence-providers4 hash:net; ipset create ringfence-providers6 hash:net family inet6
		ipset add ringfence-providers4 192.0.2.96/28; ipset add ringfence-providers6 2001:db8::100/120
		iptables-legacy -t raw -A PREROUTING -p udp -m set ! --match-set ringfence-providers4 src -j DROP
		ip6tables-legacy -t raw -A PREROUTING -p udp -m set ! --match-set ringfence-providers6 src -j DROP`)
	want := &ruleset.State{Sets: map[string]ruleset.Set{}}
	for _, s := range []struct {
		name   string
		key    ruleset.Key
		prefix string
	}{{"providers4", ruleset.IPv4, "192.0.2.96/28"}, {"providers6", ruleset.IPv6, "2001:db8::100/120"}} {
		want.Sets[s.name] = ruleset.Set{Key: s.key, Elements: ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix(s.prefix)})}
	}
	longer := map[string]netip.Prefix{"providers4": netip.MustParsePrefix("10.0.0.0/30"), "providers6": netip.MustParsePrefix("2001:db8:9::/124")}
	lost := func(do func(c *change, name string) error) int64 {
		times := 0
		flooded := f.During(t, func() {
			labtest.In(t, f.PBX, func() error {
				conn, err := openSets()
				if err != nil {
					return err
				}
				defer conn.close()
				c := &change{kernel: &Kernel{}, sets: conn, want: want, have: &view{elements: map[string][]entry{}}}
				for end := time.Now().Add(time.Duration(labtest.Count(2, 20)) * time.Second); time.Now().Before(end); times++ {
					for name, more := range longer {
						if err := conn.add(t.Context(), setName(name), plain([]netip.Prefix{more})); err != nil {
							return err
						}
						c.have.elements[setName(name)] = plain([]netip.Prefix{more})
						if err := do(c, name); err != nil {
							return err
						}
					}
				}
				return nil
			})
		})
		t.Logf("%d changes, %d packets, %d lost", times, flooded.Sent, flooded.Lost)
		return flooded.Lost
	}
	if n := lost(func(c *change, name string) error { return c.deleteElements(t.Context(), name) }); n > 0 {
		t.Errorf("%d of the provider's packets were lost", n)
	}
	f.Lossy = true // and a machine that is busy may lose a packet too
	lost(func(c *change, name string) error {
		return c.sets.remove(t.Context(), setName(name), plain([]netip.Prefix{longer[name]}))
	})
}
