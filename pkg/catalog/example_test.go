package catalog_test

import (
	"fmt"

	"github.com/ringfence/ringfence/pkg/catalog"
)

// A policy may name any preset that ringfence ships.
func ExampleParse() {
	p, err := catalog.Parse("policy.yaml", []byte("version: 1\nproviders: [{preset: telnyx}]\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Providers[0].Name)
	// Output:
	// telnyx
}
