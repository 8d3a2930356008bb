package resolve_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// A lookup from a table takes the place of a name server.
func ExampleResolve() {
	lookup := func(_ context.Context, q resolve.Question) (resolve.Answer, error) {
		if q.Name != "sip.example.net" || q.Type != resolve.A {
			return resolve.Answer{}, nil
		}
		return resolve.Answer{Records: []resolve.Record{
			{Owner: q.Name, Type: q.Type, TTL: time.Minute, Address: netip.MustParseAddr("192.0.2.1")},
		}}, nil
	}
	for _, r := range resolve.Resolve(context.Background(), lookup, []resolve.Target{{Name: "sip.example.net"}}) {
		for _, found := range r.Addresses() {
			fmt.Println(r.Target.Name, found.Address)
		}
	}
	// Output:
	// sip.example.net 192.0.2.1
}
