package cli

import (
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
)

// say writes one line to standard error, even if the text has line breaks.
func (a *app) say(kind, text string) {
	output.Printf(a.stderr, "ringfence: %s: %s\n", kind, view.Line(text))
}

// print writes a notice, and what to do about it.
func (a *app) print(n notice.Notice) {
	a.say(string(n.Severity), n.Text)
	if n.WayOut != "" {
		a.say("hint", n.WayOut)
	}
}

// printAll writes notices in their order.
func (a *app) printAll(notices []notice.Notice) {
	for _, n := range notices {
		a.print(n)
	}
}

// warn writes a warning.
func (a *app) warn(text string) { a.say("warning", text) }
