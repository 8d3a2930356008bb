package view

import (
	"io"
	"time"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
)

// Bans prints the banned addresses.
func Bans(w io.Writer, list []report.Banned) {
	if len(list) == 0 {
		output.Println(w, "No address is banned.")
		return
	}
	bans(w, "", list)
}

// bans prints addresses with the time that is left.
func bans(out io.Writer, indent string, list []report.Banned) {
	output.Table(out, func(w io.Writer) {
		for _, b := range list {
			left := "permanently"
			if b.Left != nil {
				left = policy.DurationText(time.Duration(*b.Left)*time.Second) + " left"
			}
			output.Printf(w, "%s%s\t%s\t%s\n", indent, b.Address, left, b.Why)
		}
	})
}
