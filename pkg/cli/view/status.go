package view

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/site"
)

// Status prints first what needs attention, then the fence, then the addresses and
// the counters.
func Status(out io.Writer, s *fence.Status, r *report.Status) {
	writeAlarms(out, r.Alarms)
	output.Table(out, func(w io.Writer) { writeFence(w, s, r) })
	for _, p := range r.Providers {
		writeAddresses(out, "provider "+p.Name, p.Addresses)
	}
	if len(r.Trusted) > 0 {
		writeAddresses(out, "trusted", r.Trusted)
	}
	if len(r.Allowed) > 0 {
		output.Printf(out, "\nallowed by hand\n")
		bans(out, "  ", r.Allowed)
	}
	writeLeftOut(out, r.LeftOut)
	writeHits(out, r.Signatures)
	writeLatest(out, r.Dropped, s.Monitor)
	if len(r.Counters) == 0 {
		return
	}
	made := "table"
	if strings.HasPrefix(r.Backend, string(policy.BackendIPTables)) {
		made = "fence"
	}
	output.Printf(out, "\npackets since the %s was made\n", made)
	output.Table(out, func(w io.Writer) {
		for _, name := range slices.Sorted(maps.Keys(r.Counters)) {
			output.Printf(w, "  %s\t%d", name, r.Counters[name])
			if s.Monitor && strings.HasPrefix(name, "dropped_") {
				fmt.Fprint(w, "\twould be dropped")
			}
			output.Println(w)
		}
	})
}

func writeAddresses(out io.Writer, title string, list []report.Address) {
	output.Printf(out, "\n%s\n", title)
	if len(list) == 0 {
		output.Println(out, "  no address is known")
		return
	}
	output.Table(out, func(w io.Writer) {
		for _, r := range list {
			// There may be very many, and Printf takes longer.
			_, _ = io.WriteString(w, "  "+output.Escape(r.Address)+"\t"+output.Escape(r.From))
			if r.LastSeen != nil {
				output.Printf(w, "\t%s\tseen %s", r.Via, notice.Ago(*r.LastSeen))
			}
			if r.Missing != nil {
				output.Printf(w, ", missing from answers since %s", r.Missing.Local().Format(time.DateTime))
			}
			output.Println(w)
		}
	})
}

// writeFence prints whether the fence is up, and its generation and back end.
func writeFence(w io.Writer, s *fence.Status, r *report.Status) {
	output.Printf(w, "fence\t%s\n", fenceText(s, r))
	if s.Begun {
		return
	}
	if r.Generation == 0 {
		output.Printf(w, "generation\tnone: write a policy and run ringfence apply\n")
		return
	}
	output.Printf(w, "mode\t%s\n", r.Mode)
	if s.Monitor && r.Fence {
		output.Printf(w, "\twhat would be dropped is counted, and passes\n")
	}
	output.Printf(w, "back end\t%s\n", r.Backend)
	output.Printf(w, "engine\t%s: %s\n", r.Engine, r.EngineWhy)
	output.Printf(w, "generation\t%d, by %s, %s\n", r.Generation, r.MadeBy, notice.Ago(*r.Made))
	if s.Pending != nil {
		output.Printf(w, "pending\t%s\n", Alarm(pending(s.Pending)))
	}
	if r.Drift && r.Down == nil {
		output.Printf(w, "drift\t%s\n", Alarm(notice.Count(s.Differences, "difference")+" in the kernel; ringfence diff shows it, ringfence refresh removes it"))
	} else if !r.Drift {
		output.Printf(w, "drift\tnone\n")
	}
	if r.Phones != nil {
		output.Printf(w, "phones\t%d let in because they have registered; ringfence phones lists them\n", *r.Phones)
	}
	if r.PolicyChanged {
		output.Printf(w, "policy file\tdiffers from the generation; ringfence diff shows what it would change\n")
	}
	writeRefresh(w, s, r)
}

// fenceText says whether there is a fence.
func fenceText(s *fence.Status, r *report.Status) string {
	switch {
	case r.Down != nil && r.Fence:
		return Alarm("taken down " + notice.Ago(*r.Down) + ", but there is a fence: ringfence down removes it, ringfence up makes it the fence")
	case r.Down != nil && r.Drift:
		return Alarm("taken down " + notice.Ago(*r.Down) + ", but the classifier is still attached: ringfence down removes it")
	case r.Down != nil:
		return "taken down " + notice.Ago(*r.Down) + "; put it up with ringfence up"
	case !r.Fence && r.Generation > 0:
		return Alarm("not in the kernel: nothing is dropped; put it up with ringfence up")
	case !r.Fence:
		return "none"
	case s.Begun:
		return Alarm("up, but the ringfence apply for it has not ended: if that was killed, ringfence refresh completes it")
	case r.Generation == 0:
		return Alarm("not ringfence's, but there is a " + s.Backend.Place)
	}
	return "up"
}

func writeRefresh(w io.Writer, s *fence.Status, r *report.Status) {
	switch {
	case s.Names == 0:
		output.Printf(w, "addresses\tas listed; the policy has no names to ask for\n")
	case r.Refresh.Time == nil:
		output.Printf(w, "addresses\tnever asked for\n")
	case r.Refresh.OK:
		output.Printf(w, "addresses\tasked for %s, without failures\n", notice.Ago(*r.Refresh.Time))
	default:
		output.Printf(w, "addresses\tasked for %s, %s\n", notice.Ago(*r.Refresh.Time), notice.Count(len(r.Refresh.Failures), "failure"))
	}
	for _, f := range r.Refresh.Failures {
		output.Printf(w, "  failed\t%s\n", site.ProblemText(f))
	}
}

// writeAlarms prints what stands, each with its way out, before anything else.
func writeAlarms(out io.Writer, alarms []site.Alarm) {
	for _, stands := range alarms {
		output.Paragraph(out, Alarm("alarm")+"  ", stands.Notice().Text)
		output.Paragraph(out, "       ", stands.WayOut)
	}
	if len(alarms) > 0 {
		output.Println(out)
	}
}

func writeLeftOut(out io.Writer, list []report.LeftOut) {
	if len(list) == 0 {
		return
	}
	output.Printf(out, "\nleft out\n")
	output.Table(out, func(w io.Writer) {
		for _, left := range list {
			output.Printf(w, "  %s\t%s\t%s\n", left.Address, left.Name, left.Why)
		}
	})
}

// writeHits prints how often each signature was matched.
func writeHits(out io.Writer, hits map[string]uint64) {
	names := slices.Sorted(maps.Keys(hits))
	names = slices.DeleteFunc(names, func(name string) bool { return hits[name] == 0 })
	if len(names) == 0 {
		return
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(hits[b], hits[a]) })
	output.Printf(out, "\npackets that matched a signature since it was loaded\n")
	output.Table(out, func(w io.Writer) {
		for _, name := range names {
			output.Printf(w, "  %s\t%d\n", name, hits[name])
		}
	})
}

// pending says what happens to a generation that waits for a confirmation.
func pending(p *fence.Pending) string {
	if p.Left == 0 {
		return fmt.Sprintf("generation %d was not confirmed in time: ringfence refresh undoes it", p.Generation)
	}
	return fmt.Sprintf("generation %d is undone in %s unless you run ringfence confirm", p.Generation, p.Left.Round(time.Second))
}
