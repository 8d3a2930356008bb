package journal_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/journal"
)

// TestForm: what a program has made of a generation is found by that program, for that
// generation, as long as both files are whole.
func TestForm(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	begin := func(policy string) *journal.Entry {
		pending, err := j.Begin(&journal.Entry{
			Time: time.Unix(1, 0).UTC(), User: "alice", Policy: policy, Addresses: json.RawMessage("{}"), State: json.RawMessage("{}"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := pending.Finish(); err != nil {
			t.Fatal(err)
		}
		return pending.Entry
	}
	made := begin("version: 1\n")
	if j.Formed(made.Number, "1.0") != nil {
		t.Error("a form is found that nobody has stored")
	}
	if err := j.KeepForm(made, "1.0", []byte("first"), nil, []byte("third")); err != nil {
		t.Fatal(err)
	}
	want, err := j.Entry(made.Number)
	if err != nil {
		t.Fatal(err)
	}
	want.State, want.Form = nil, [][]byte{[]byte("first"), {}, []byte("third")}
	if got := j.Formed(made.Number, "1.0"); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if j.Formed(made.Number, "1.1") != nil {
		t.Error("the form of another program is taken")
	}

	for _, path := range []string{j.FormFile(), j.EntryFile(made.Number)} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			flipped := slices.Clone(whole)
			flipped[i] ^= 1 << (i % 8)
			for _, damaged := range [][]byte{flipped, whole[:i]} {
				if err := os.WriteFile(path, damaged, 0o640); err != nil {
					t.Fatal(err)
				}
				// Blanks behind the content, and the names of what a seal has, are not sealed.
				if got := j.Formed(made.Number, "1.0"); got != nil && !reflect.DeepEqual(got, want) {
					t.Fatalf("%s with byte %d of %d changed, or cut there, is read as %+v", path, i, len(whole), got)
				}
			}
		}
		if err := os.WriteFile(path, whole, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if next := begin("version: 1\nmode: monitor\n"); j.Formed(next.Number, "1.0") != nil {
		t.Error("the form of the generation before is taken")
	}
}
