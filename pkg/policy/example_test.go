package policy_test

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
)

// All mistakes are found at once, each with its place.
func ExampleParse() {
	_, err := policy.Parse("policy.yaml", strings.NewReader(`version: 1
mode: on
providers:
- name: acme
  adresses: [192.0.2.1]
`), policy.Available{})
	fmt.Println(err)
	// Output:
	// policy.yaml:2:7: mode is "on": write enforce or monitor
	// policy.yaml:4:9: provider "acme" has neither preset nor registrars nor addresses: add one of them
	// policy.yaml:5:3: unknown key "adresses": known here are name, preset, with, registrars, addresses, dns
}
