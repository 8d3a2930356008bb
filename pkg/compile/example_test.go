package compile_test

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func ExampleState() {
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders: [{name: acme, registrars: [sip.example.net]}]\n"), policy.Available{})
	if err != nil {
		fmt.Println(err)
		return
	}
	addresses := map[compile.Name][]compile.Address{
		{Host: "sip.example.net", Registrar: true}: {{Addr: netip.MustParseAddr("192.0.2.1"), Via: "A"}},
	}
	state, origins := compile.State(p, addresses, ruleset.Host{})
	fmt.Println(state.Sets["providers4"].Elements)
	fmt.Println(origins.Addresses("acme"))
	// Output:
	// [192.0.2.1]
	// 1
}
