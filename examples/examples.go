// Package examples holds policies to begin with. Tests compile and apply each of them.
package examples

import _ "embed"

// Reference is a policy with every key, its default and what it is for.
//
//go:embed reference.yaml
var Reference string
