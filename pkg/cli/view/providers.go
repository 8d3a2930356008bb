package view

import (
	"fmt"
	"io"
	"strings"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/output"
)

// Providers prints a line for each preset.
func Providers(w io.Writer, list []catalog.Provider) {
	output.Table(w, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tPROVIDER\tKNOWN BY\tCONFIDENCE\tCHECKED")
		for _, r := range list {
			output.Printf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Title, r.KnownBy(), r.Confidence, r.Checked)
		}
	})
	fmt.Fprintln(w, "\nringfence providers show NAME shows the rest.")
}

// Provider prints everything that is known about a provider.
func Provider(w io.Writer, r catalog.Provider) {
	output.Printf(w, "%s: %s\n\nIn the policy:\n\n    providers:\n", r.Name, r.Title)
	for line := range strings.SplitSeq(r.Policy, "\n") {
		output.Printf(w, "      %s\n", line)
	}
	output.Println(w)
	output.Table(w, func(w io.Writer) { writeProvider(w, r) })
}

// CheckedProvider says that a file about a provider is valid.
func CheckedProvider(w io.Writer, path string, r catalog.Provider) {
	output.Printf(w, "%s is valid: %s. In a policy:\n\n", path, r.KnownBy())
	for line := range strings.SplitSeq(r.Policy, "\n") {
		output.Printf(w, "    %s\n", line)
	}
}

func writeProvider(w io.Writer, r catalog.Provider) {
	row := func(what, text string) {
		if text != "" {
			output.Printf(w, "%s\t%s\n", what, text)
		}
	}
	rows := func(what string, texts []string) {
		for i, text := range texts {
			if i > 0 {
				what = ""
			}
			output.Printf(w, "%s\t%s\n", what, text)
		}
	}
	for _, p := range r.Parameters {
		row(p.Name, p.Means+", such as "+p.Example)
	}
	rows("names", r.Registrars)
	row("records", strings.Join(r.Records, ", "))
	rows("addresses", r.Addresses)
	if r.List != nil {
		row("list", r.List.URL)
	}
	row("ports", r.Ports)
	row("media", r.Media)
	row("caveat", r.Caveat)
	row("source", r.Source)
	row("checked", r.Checked)
	row("confidence", string(r.Confidence))
}
