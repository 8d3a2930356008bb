package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// TestUnconfirmed: the mark is there until it is removed, and a damaged one is an error
// until it is set aside.
func TestUnconfirmed(t *testing.T) {
	j := journal.Journal{Folder: filepath.Join(t.TempDir(), "state")}
	must(t, j.ClearUnconfirmed()) // without a folder
	is := func(want *journal.Unconfirmed) {
		t.Helper()
		got, err := j.Unconfirmed()
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	is(nil)
	u := journal.Unconfirmed{
		ID: "one", Generation: 2, Before: 1, User: "root",
		Made: resolve.Moment{Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}, Window: resolve.Span(time.Minute),
	}
	must(t, j.SetUnconfirmed(u))
	is(&u)
	must(t, j.ClearUnconfirmed())
	is(nil)

	must(t, j.SetUnconfirmed(u))
	must(t, os.Truncate(j.UnconfirmedFile(), 20))
	_, err := j.Unconfirmed()
	damaged, ok := errors.AsType[*journal.Damaged](err)
	if !ok || damaged.Path != j.UnconfirmedFile() {
		t.Fatalf("a damaged mark is %v", err)
	}
	err = journal.SetUnconfirmedAside(err)
	if set, ok := errors.AsType[*journal.Damaged](err); !ok || !strings.HasPrefix(filepath.Base(set.SetAside), "unconfirmed.json.damaged-") {
		t.Errorf("set aside it is %v", err)
	}
	if _, err := os.Stat(damaged.SetAside); err != nil {
		t.Errorf("what was set aside is not there: %v", err)
	}
	is(nil)
	if err := journal.SetUnconfirmedAside(fs.ErrPermission); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another error becomes %v", err)
	}
}

// TestUndone: a generation that was not confirmed does not count any more, can still be
// read, and its number is not used again. It does not matter where an earlier call was
// killed.
func TestUndone(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	commit(t, j, "one")
	undo := func(policy string) {
		t.Helper()
		n, err := j.NextNumber()
		must(t, err)
		must(t, j.SetUnconfirmed(journal.Unconfirmed{ID: policy, Generation: n, Before: 1}))
		if got := commit(t, j, policy); got != n {
			t.Fatalf("%s is generation %d, want %d", policy, got, n)
		}
		u, err := j.Unconfirmed()
		must(t, err)
		must(t, journal.SetAsideUnconfirmed(j, u))
		must(t, journal.SetAsideUnconfirmed(j, u)) // as after one that was killed at its end
	}
	undo("two")
	undo("three")
	newest, err := j.Newest()
	must(t, err)
	last, err := j.LastUndone()
	must(t, err)
	next, err := j.NextNumber()
	must(t, err)
	if newest.Policy != "one" || last != 3 || next != 4 {
		t.Errorf("the newest is %q, the last undone %d, the next %d; want one, 3 and 4", newest.Policy, last, next)
	}
	if u, err := j.Unconfirmed(); u != nil || err != nil {
		t.Errorf("the mark is still there: %v, %v", u, err)
	}
	two, err := journal.UndoneEntry(j, 2)
	must(t, err)
	if two.Number != 2 || two.Policy != "two" {
		t.Errorf("undone generation 2 is %d, %q", two.Number, two.Policy)
	}
	if _, err := journal.UndoneEntry(j, 9); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that there is not is %v", err)
	}

	// One that was marked and begun, and whose run was killed before it had a number.
	must(t, j.SetUnconfirmed(journal.Unconfirmed{ID: "four", Generation: 4, Before: 1}))
	_, err = j.Begin(entry("four"))
	must(t, err)
	if !j.Begun() {
		t.Error("a generation that was begun is not seen")
	}
	must(t, journal.SetAsideUnconfirmed(j, &journal.Unconfirmed{Generation: 4}))
	if left, err := j.Interrupted(); left != nil || err != nil || j.Begun() {
		t.Errorf("it is still begun: %v, %v", left, err)
	}

	for i := range 25 {
		undo(fmt.Sprint("more ", i))
	}
	numbers, err := j.Undone()
	must(t, err)
	if len(numbers) != 20 || numbers[0] != 9 || !slices.IsSorted(numbers) {
		t.Errorf("kept are %v, want the last 20", numbers)
	}
}

// TestNewestWhileUndone: a generation that another run undoes while it is looked for is
// not taken for damage: the one before is the newest then.
func TestNewestWhileUndone(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	commit(t, j, "one")
	commit(t, j, "two")
	// A dangling name is listed and cannot be read, as one that has just been renamed.
	must(t, os.Remove(j.EntryFile(2)))
	must(t, os.Symlink("nowhere", j.EntryFile(2)))
	if _, err := j.Newest(); err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
		t.Errorf("a link in its place is %v", err)
	}
	must(t, os.Remove(j.EntryFile(2)))
	newest, err := j.Newest()
	must(t, err)
	if newest.Number != 1 {
		t.Errorf("the newest is %d", newest.Number)
	}
}
