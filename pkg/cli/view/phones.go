package view

import (
	"fmt"
	"io"
	"time"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// Registered prints the phones that are let in because they have registered.
func Registered(out io.Writer, list []report.Registered) {
	if len(list) == 0 {
		output.Println(out, "No phone is let in for having registered.")
		return
	}
	output.Table(out, func(w io.Writer) {
		output.Printf(w, "ADDRESS\tPORT\tSINCE\tUNTIL\tUSER-AGENT\n")
		for _, p := range list {
			port := "*"
			if p.Port != nil {
				port = fmt.Sprint(*p.Port)
			}
			output.Printf(w, "%s\t%s\t%s\t%s\t%s\n", p.Address, port,
				p.Since.Local().Format(time.DateTime), p.Until.Local().Format(time.DateTime), p.UserAgent)
		}
	})
}
