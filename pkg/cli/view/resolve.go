package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// Resolved prints the tree of answers for each name, and the addresses that follow.
func Resolved(w io.Writer, resolved []resolve.Report) {
	for i, n := range resolved {
		if i > 0 {
			output.Println(w)
		}
		output.Println(w, n.Name)
		for _, line := range n.Lines() {
			output.Println(w, "  "+line)
		}
		if servers := n.Servers(); len(servers) > 0 {
			output.Println(w, "answered by "+strings.Join(servers, ", "))
		}
		if len(n.Cut) > 0 {
			var limits []string
			for _, limit := range n.Cut {
				limits = append(limits, string(limit))
			}
			output.Printf(w, "left out is what goes beyond %s\n", strings.Join(limits, ", "))
		}
		output.Println(w, "allowed:")
		if len(n.Addresses) == 0 {
			output.Println(w, "  no address")
		}
		output.Table(w, func(w io.Writer) {
			for _, address := range n.Addresses {
				output.Printf(w, "  %s\t%s\t%s\n", address.Address, address.Via, ttlText(address.TTL))
			}
		})
		if len(n.Rejected) > 0 {
			output.Println(w, "left out:")
		}
		for _, r := range n.Rejected {
			output.Printf(w, "  %s %s\n", r.Address, r.Why)
		}
	}
}

// ttlText writes how long an answer may be kept; what the host's own file says holds
// until somebody changes it.
func ttlText(seconds int64) string {
	if time.Duration(seconds)*time.Second >= resolve.LongestTTL {
		return ""
	}
	return fmt.Sprintf("TTL %d s", seconds)
}
