package plan_test

import (
	"fmt"
	"net/netip"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func ExampleDiff() {
	table := func(provider string) *ruleset.State {
		return &ruleset.State{Exists: true, Sets: map[string]ruleset.Set{"providers4": {
			Key: ruleset.IPv4, Interval: true,
			Elements: ruleset.Addresses([]netip.Prefix{netip.MustParsePrefix(provider)}),
		}}}
	}
	p := plan.Diff(table("192.0.2.1/32"), table("192.0.2.2/32"))
	for _, c := range p.Changes {
		fmt.Println(c.Action, c.Name, c.Value)
	}
	fmt.Println(plan.Diff(table("192.0.2.1/32"), table("192.0.2.1/32")).Empty())
	// Output:
	// delete providers4 192.0.2.1
	// add providers4 192.0.2.2
	// true
}
