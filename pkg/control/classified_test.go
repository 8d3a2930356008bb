package control_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/plan/plantest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// fakeClassifier records the calls that it gets, and fails in the step that it is
// given.
type fakeClassifier struct {
	attached ruleset.Classifier
	events   []string
	fails    map[string]error
}

func (e *fakeClassifier) Observe() (ruleset.Classifier, error) { return e.attached, nil }

func (e *fakeClassifier) Begin(want ruleset.Classifier) (control.Change, error) {
	e.events = append(e.events, "begin")
	return &fakeChange{e, want}, e.fails["begin"]
}

type fakeChange struct {
	*fakeClassifier
	want ruleset.Classifier
}

func (c *fakeChange) Finish() error {
	c.events = append(c.events, "finish")
	err := c.fails["finish"]
	delete(c.fails, "finish")
	if err == nil {
		c.attached = c.want
	}
	return err
}

func (c *fakeChange) Undo() error {
	c.events = append(c.events, "undo")
	return nil
}

// TestClassified: the classifier goes in before the rules and out after them; it
// stays as it was if the rules fail, and is right if they have changed all the
// same.
func TestClassified(t *testing.T) {
	failure := errors.New("no")
	want := func() *ruleset.State {
		s := wanted(5060).State
		s.Classifier = ruleset.Classifier{"eth0": "ringfence:1"}
		return s
	}
	for _, test := range []struct {
		name     string
		kernel   *plantest.Kernel
		fails    map[string]error
		err      error
		events   []string
		attached ruleset.Classifier
		exists   bool
	}{
		{name: "all well", kernel: &plantest.Kernel{}, events: []string{"begin", "finish"}, attached: want().Classifier, exists: true},
		{name: "the classifier fails", kernel: &plantest.Kernel{}, fails: map[string]error{"begin": failure}, err: control.ErrClassifier, events: []string{"begin"}},
		{name: "the rules fail", kernel: &plantest.Kernel{Fails: true, Err: failure}, err: failure, events: []string{"begin", "undo"}},
		{
			name: "the rules fail and are in force", kernel: &plantest.Kernel{AfterCommit: true, Err: failure},
			events: []string{"begin", "finish"}, attached: want().Classifier, exists: true,
		},
		{
			name: "another program was faster", kernel: &plantest.Kernel{Between: func(*ruleset.State) {}},
			events: []string{"begin", "undo", "begin", "finish"}, attached: want().Classifier, exists: true,
		},
		{
			name: "what was there before does not go at once", kernel: &plantest.Kernel{}, fails: map[string]error{"finish": failure},
			events: []string{"begin", "finish", "begin", "finish"}, attached: want().Classifier, exists: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &fakeClassifier{fails: test.fails}
			c := control.Controller{Kernel: control.Classified{Rules: test.kernel, Classifier: e}}
			_, err := c.Sync(t.Context(), control.Desired{State: want()}, nothing)
			if !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.events, e.events); diff != "" {
				t.Error(diff)
			}
			if !e.attached.Equal(test.attached) {
				t.Errorf("attached is %v, want %v", e.attached, test.attached)
			}
			if s, _ := test.kernel.Observe(t.Context()); s.Exists != test.exists {
				t.Errorf("there is a table: %t, want %t", s.Exists, test.exists)
			}
			if err != nil {
				return
			}
			p, err := c.Sync(t.Context(), control.Desired{State: want()}, nothing)
			if err != nil || !p.Empty() {
				t.Errorf("the second time: %v, %+v", err, p.Changes)
			}
			// Down: the rules first.
			e.events = nil
			if _, err := c.Sync(t.Context(), control.Desired{State: &ruleset.State{}}, nothing); err != nil {
				t.Error(err)
			}
			if len(e.attached) > 0 {
				t.Errorf("after down attached is %v", e.attached)
			}
		})
	}
}
