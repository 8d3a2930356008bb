package ruleset_test

import (
	"fmt"
	"net/netip"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func ExampleNewRule() {
	rule := ruleset.NewRule(
		ruleset.Source{Set: "providers4"},
		ruleset.Count("allowed_provider"),
		ruleset.Verdict{Kind: ruleset.Goto, Chain: "pass"},
	)
	fmt.Println(rule)
	// Output:
	// ip saddr @providers4 counter name "allowed_provider" goto pass
}

// A prefix within another is left out; neighbours remain two elements.
func ExampleAddresses() {
	fmt.Println(ruleset.Addresses([]netip.Prefix{
		netip.MustParsePrefix("192.0.2.128/25"),
		netip.MustParsePrefix("192.0.2.130/32"),
		netip.MustParsePrefix("192.0.2.0/25"),
		netip.MustParsePrefix("198.51.100.7/32"),
	}))
	// Output:
	// [192.0.2.0/25 192.0.2.128/25 198.51.100.7]
}
