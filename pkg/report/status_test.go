package report_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/site"
)

// TestLineWithoutGeneration: a table that no generation is about is one alarm. It is not
// known which interfaces a policy would name.
func TestLineWithoutGeneration(t *testing.T) {
	s := &fence.Status{Table: true, Alarms: []site.Alarm{{Name: "table", Text: "no generation says what it should hold"}}}
	if line, want := report.Line(s), "ALARM (1): table: no generation says what it should hold"; line != want {
		t.Errorf("the line is %q, want %q", line, want)
	}
	if report.Well(s) {
		t.Error("all is said to be well")
	}
}
