package policy

import (
	"regexp"
	"sync"
)

// expression is a regular expression that is compiled when it is first needed: most
// commands read no policy, or one that was read before.
func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
