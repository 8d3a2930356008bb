package site_test

import (
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/site"
)

func ExampleSite_Compile() {
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders: [{name: acme, addresses: [192.0.2.0/28]}]\n"), policy.Available{})
	if err != nil {
		fmt.Println(err)
		return
	}
	s := &site.Site{Policy: p, Memory: resolve.NewMemory()}
	state, origins := s.Compile()
	fmt.Println(state.Sets["providers4"].Elements, origins.Providers)
	// Output:
	// [192.0.2.0/28] [acme]
}
