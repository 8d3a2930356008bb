package hint

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/phone"
)

// Maker finds the maker by its name, or by the model alone.
func Maker(known []phone.Maker, args []string, model string) (phone.Maker, error) {
	if len(args) == 0 {
		found := phone.WithModel(known, model)
		if len(found) == 1 {
			return found[0], nil
		}
		return phone.Maker{}, notice.WithHint(fmt.Errorf("there is not exactly one maker with a model %q", model), "name the maker: ringfence phone MAKER --model %s", Word(model))
	}
	if m, ok := phone.Find(known, args[0]); ok {
		return m, nil
	}
	perhaps := "ringfence phone list names the makers"
	if found := phone.WithModel(known, args[0]); len(found) == 1 {
		perhaps = fmt.Sprintf("that is a model of %s: ringfence phone %s --model %s", found[0].Title, found[0].Name, Word(args[0]))
	}
	return phone.Maker{}, notice.WithHint(fmt.Errorf("unknown maker %q", args[0]), "%s", perhaps)
}

// Phone says which flags have no effect here, and what they do not protect
// from.
func Phone(s phone.Snippet, o phone.Options, provider string) []string {
	var warnings []string
	if !s.Refuses() {
		warnings = append(warnings, "no confirmed setting makes this phone refuse strangers' calls: fence its router, or put it behind a PBX")
	}
	switch {
	case o.Port == 0:
	case !s.SetsPort():
		warnings = append(warnings, "no setting is known that changes this phone's own port: --port has no effect")
	case o.SRV:
		warnings = append(warnings, fmt.Sprintf("--port is the phone's own port; do not add one to its server: %s has SRV records, and with a port there the phone asks for A only and trusts fewer servers than call it", provider))
	case provider == "":
		warnings = append(warnings, "--port is the phone's own port; if your provider has SRV records (ringfence resolve NAME shows them), do not add one to the phone's server: with a port there the phone asks for A only and trusts fewer servers than call it")
	}
	return warnings
}

// Word quotes an argument for a shell.
func Word(arg string) string {
	if strings.ContainsFunc(arg, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	}) {
		return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return arg
}
