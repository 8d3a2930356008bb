package view

import (
	"fmt"
	"io"
	"strings"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/report"
)

// Makers prints the makers of phones and their models.
func Makers(w io.Writer, list []report.Maker) {
	output.Table(w, func(w io.Writer) {
		fmt.Fprintln(w, "MAKER\tPHONES")
		for _, r := range list {
			name := strings.Join(append([]string{r.Name}, r.Also...), ", ")
			for _, f := range r.Families {
				output.Printf(w, "%s\t%s\n", name, f.Title)
				name = ""
			}
		}
	})
	fmt.Fprintln(w, "\nringfence phone MAKER --model MODEL prints the settings.")
}
