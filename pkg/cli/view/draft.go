package view

import (
	"fmt"
	"io"
	"strings"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Draft says what a first policy for this host holds, and why.
func Draft(w io.Writer, path string, d policy.Draft) {
	output.Printf(w, "Wrote %s for this host:\n", path)
	output.Table(w, func(w io.Writer) {
		none := func(texts []string, otherwise string) string {
			if len(texts) == 0 {
				return otherwise
			}
			return strings.Join(texts, ", ")
		}
		output.Printf(w, "  leads outside\t%s\n", none(d.Host.Outside, "no interface has a default route"))
		output.Printf(w, "  fenced\t%s\n", none(d.Interfaces, "every interface but lo"))
		output.Printf(w, "  trusted\t%s\n", none(texts(d.Trusted), "no private network is connected"))
		if d.Host.Forwards {
			output.Printf(w, "  inside\t%s\n", none(texts(d.Inside), "none"))
		}
		output.Printf(w, "  SIP server\t%s\n", none(serverTexts(d.Servers), "none listens now"))
	})
	switch {
	case len(d.Exposed) > 0:
		output.Printf(w, `It drops nothing yet (mode: monitor): %s can be reached from everywhere, and no
network of phones is connected, so phones may be anywhere. They are let in when they
have registered (unknown.action: register). ringfence phones shows who has, and ringfence
status counts what enforce would drop; then write enforce.
`, strings.Join(serverTexts(d.Exposed), ", "))
	case d.Monitor:
		output.Println(w, "It drops nothing yet (mode: monitor): add your provider, and then write enforce.")
	}
	output.Println(w, "Read it, then: ringfence diff")
}

func texts[T fmt.Stringer](items []T) []string {
	var list []string
	for _, item := range items {
		list = append(list, item.String())
	}
	return list
}

func serverTexts(servers []ruleset.Listener) []string {
	var list []string
	for _, s := range servers {
		text := fmt.Sprintf("%s %d", strings.ToUpper(string(s.Protocol)), s.Port)
		if s.Program != "" {
			text += " (" + s.Program + ")"
		}
		list = append(list, text)
	}
	return list
}
