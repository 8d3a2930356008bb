package resolve_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// A lookup from a table takes the place of a name server.
func ExampleResolver_Resolve() {
	lookup := func(_ context.Context, q resolve.Question) (resolve.Answer, error) {
		if q.Name != "sip.example.net" || q.Type != resolve.A {
			return resolve.Answer{}, nil
		}
		return resolve.Answer{Records: []resolve.Record{
			{Owner: q.Name, Type: q.Type, TTL: time.Minute, Address: netip.MustParseAddr("192.0.2.1")},
		}}, nil
	}
	results := resolve.Resolver{Lookup: lookup}.Resolve(context.Background(), []resolve.Target{{Name: "sip.example.net"}})
	for _, node := range results[0].Roots {
		for _, record := range node.Records {
			fmt.Println(results[0].Target.Name, record.Type, record.Address)
		}
	}
	// Output:
	// sip.example.net A 192.0.2.1
}
