package iptables

import (
	"strings"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The match of a text, as iptables writes it. kmp also finds a text that is split over
// parts of a packet's buffer, which bm does not.
const (
	payloadMatch = "-m string --string "
	payloadHow   = " --algo kmp --icase"
)

var payloadEscapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// payload reads a text between quotes, in which single spaces may be, and how it is
// looked for.
func payload(w *words) (ruleset.Payload, bool) {
	text := w.next()
	ends := func() bool {
		plain := strings.NewReplacer(`\\`, "", `\"`, "").Replace(text)
		return len(plain) > 1 && strings.HasSuffix(plain, `"`)
	}
	for !ends() && len(*w) > 0 {
		text += " " + w.next()
	}
	if !ends() || text[0] != '"' {
		return "", false
	}
	return ruleset.Payload(strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text[1 : len(text)-1])), w.take(payloadHow)
}
