package fence_test

import (
	"slices"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// costs work out what was measured.
type costs struct{ cells map[string]*costCell }

// over is what a packet takes longer at a place than where one rule drops it.
func (c costs) over(place, packet string, group int) float64 {
	return c.cells[place+"-"+packet].of(group) - c.cells["none-"+packet].of(group)
}

func (costs) each(value func(group int) float64) []float64 {
	values := make([]float64, costGroups)
	for i := range values {
		values[i] = value(i)
	}
	return values
}

func (c costs) median(value func(group int) float64) float64 {
	return slices.Sorted(slices.Values(c.each(value)))[costGroups/2]
}

// times is how many times what is written by hand a place costs.
func (c costs) times(place, packet string) []float64 {
	return c.each(func(g int) float64 { return c.over(place, packet, g) / c.over("hand", packet, g) })
}

// more is what one place costs more than another one.
func (c costs) more(place, than, packet string) []float64 {
	return c.each(func(g int) float64 { return c.over(place, packet, g) - c.over(than, packet, g) })
}

// write says what was measured, and which goals are met.
func (c costs) write(b *testing.B) {
	perSecond := func(place string) []float64 {
		return c.each(func(g int) float64 { return c.cells["hand-flood"].of(g) / c.cells[place+"-flood"].of(g) })
	}
	classifier := c.each(func(g int) float64 {
		return (c.over("fence", "scan", g) - c.over("plain", "scan", g)) / c.over("string", "scan", g)
	})
	nothing := c.each(func(g int) float64 {
		return (c.over("empty", "scan", g) - c.over("plain", "scan", g)) / c.over("string", "scan", g)
	})
	for _, m := range []labtest.Measured{
		{What: "scan dropped, without classifier, beside rules by hand", Unit: "x", Most: 1.5, Values: c.times("plain", "scan")},
		{What: "the same without what keeps and reports who was dropped", Unit: "x", Most: 1.5, Values: c.times("unkept", "scan")},
		{What: "what keeps and reports who was dropped", Unit: "ns", Most: 150, Values: c.more("plain", "unkept", "scan")},
		{What: "the classifier on a scan, beside one rule of xt_string", Unit: "x", Most: 1, Values: classifier},
		{What: "a tc filter in its place that reads nothing, beside xt_string", Unit: "x", Values: nothing},
		{What: "INVITE allowed, without classifier, beside rules by hand", Unit: "x", Most: 1.5, Values: c.times("plain", "invite")},
		{What: "the same with the classifier, which reads it", Unit: "x", Values: c.times("fence", "invite")},
		{What: "to another port, without classifier, beside rules by hand", Unit: "x", Most: 1.2, Values: c.times("plain", "other")},
		{What: "the same with the classifier", Unit: "x", Values: c.times("fence", "other")},
		{What: "the classifier on a packet to another port", Unit: "ns", Most: 30, Values: c.more("fence", "plain", "other")},
		{What: "a tc filter in its place that reads nothing", Unit: "ns", Values: c.more("empty", "plain", "other")},
		{What: "packets a second of a flood, beside rules by hand", Unit: "x", Least: 0.9, Values: perSecond("fence")},
		{What: "the same with a tc filter that reads nothing", Unit: "x", Values: perSecond("empty")},
		{What: "the same without classifier", Unit: "x", Values: perSecond("plain")},
		{What: "marks, unseen and allowed_scanner, on a dropped scan", Unit: "ns", Most: 40, Values: c.more("fence", "unmarked", "scan")},
		{What: "a scan under accept, beside drop", Unit: "ns", Values: c.more("accept", "fence", "scan")},
		{What: "a scan under register, beside drop", Unit: "ns", Values: c.more("register", "fence", "scan")},
		{What: "INVITE allowed under register, beside drop", Unit: "ns", Values: c.more("register", "fence", "invite")},
		{What: "a stranger's INVITE under register, beside drop", Unit: "ns", Values: c.more("register", "fence", "call")},
		{What: "a stranger's REGISTER under register, beside drop", Unit: "ns", Values: c.more("register", "fence", "register")},
		{What: "an answer of the PBX under register, beside drop", Unit: "ns", Values: c.more("register", "fence", "answer")},
		{What: "media of the PBX under register, beside drop", Unit: "ns", Values: c.more("register", "fence", "media")},
		{What: "media of the PBX under accept, beside drop", Unit: "ns", Values: c.more("accept", "fence", "media")},
	} {
		m.Write(b)
	}
}
