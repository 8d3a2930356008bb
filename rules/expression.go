package rules

import (
	"regexp"
	"sync"
)

// expression is a regular expression that is compiled when it is first needed: few
// commands read these files.
func expression(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
