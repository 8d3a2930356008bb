package fence

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestHistoryOfOlderVersion: a generation that stores a hook and a priority for a chain
// differs from one that stores a stage only in what both have.
func TestHistoryOfOlderVersion(t *testing.T) {
	stored, err := os.ReadFile("testdata/state_with_hooks.json")
	if err != nil {
		t.Fatal(err)
	}
	var before ruleset.State
	if err := json.Unmarshal(stored, &before); err != nil {
		t.Fatal(err)
	}
	after := &ruleset.State{Exists: true, Chains: map[string]ruleset.Chain{
		"protect": {Stage: ruleset.AfterTracking},
		"early":   {Stage: ruleset.BeforeTracking},
	}}
	changes := plan.Diff(withStages(&before, after), after).Changes
	if len(changes) != 0 {
		t.Errorf("the same chains in both forms differ: %+v", changes)
	}
	if len(plan.Diff(&before, after).Changes) == 0 {
		t.Error("the stored file has stages: it does not test the older form")
	}
	if before.Chains["protect"].Stage != "" {
		t.Error("the stored generation was changed")
	}
}
