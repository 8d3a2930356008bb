package ruleset_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestClassifier(t *testing.T) {
	c := ruleset.Classifier{"ppp0": "ringfence:00112233aabbccdd", "eth0": "ringfence:00112233aabbccdd"}
	if diff := cmp.Diff("classifier \"eth0\" ringfence:00112233aabbccdd\nclassifier \"ppp0\" ringfence:00112233aabbccdd\n", c.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"eth0", "ppp0"}, c.Interfaces()); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var again ruleset.Classifier
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if !again.Equal(c) {
		t.Errorf("%s reads as %v", text, again)
	}
	for _, other := range []ruleset.Classifier{nil, {"eth0": "ringfence:00112233aabbccdd"}, {"eth0": "ringfence:00112233aabbccdd", "ppp0": "ringfence:0000000000000000"}} {
		if c.Equal(other) {
			t.Errorf("equal to %v", other)
		}
	}
	if none := (ruleset.Classifier{}); !none.Equal(nil) || none.String() != "" {
		t.Error("none is not none")
	}
}
