package labtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// measuredFile names the file that Measured.Write writes to.
const measuredFile = "RINGFENCE_MEASURED"

// Measured is what a benchmark has measured, several times, beside something else.
type Measured struct {
	What   string // what was measured, and beside what
	Unit   string // "x", "ns", "ms", …
	Most   float64
	Least  float64   // the goal, if Most is 0; none if both are
	Values []float64 // one for each time
}

// Write says what was measured: the median, and the lowest and highest of all times.
// scripts/bench makes its table of these lines.
func (m Measured) Write(t testing.TB) {
	t.Helper()
	slices.Sort(m.Values)
	number := func(v float64) string {
		if m.Unit == "x" {
			return fmt.Sprintf("%.2f", v)
		}
		return fmt.Sprintf("%.0f", v)
	}
	median := m.Values[len(m.Values)/2]
	goal, met := "", ""
	switch {
	case m.Most != 0:
		goal, met = "at most "+number(m.Most), reached(median <= m.Most)
	case m.Least != 0:
		goal, met = "at least "+number(m.Least), reached(median >= m.Least)
	}
	spread := number(m.Values[0]) + " to " + number(m.Values[len(m.Values)-1])
	t.Logf("%s: %s %s (%s) %s %s", m.What, number(median), m.Unit, spread, goal, met)
	path := os.Getenv(measuredFile)
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	Must(t, err)
	defer file.Close()
	_, err = file.WriteString(strings.Join([]string{m.What, number(median), m.Unit, spread, goal, met}, "\t") + "\n")
	Must(t, err)
}

func reached(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}
