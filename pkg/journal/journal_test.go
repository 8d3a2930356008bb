package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/journal"
)

func entry(policy string) *journal.Entry {
	return &journal.Entry{
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), User: "root", Command: "apply", Policy: policy,
		Addresses: json.RawMessage(`{"names":["a"]}`), State: json.RawMessage(`{"exists":true}`),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, j journal.Journal, policy string) int {
	t.Helper()
	p, err := j.Begin(entry(policy))
	must(t, err)
	must(t, p.Finish())
	return p.Number
}

func TestGenerations(t *testing.T) {
	j := journal.Journal{Folder: filepath.Join(t.TempDir(), "state")}
	if _, err := j.Newest(); !errors.Is(err, journal.ErrNone) {
		t.Errorf("the newest of none is %v", err)
	}
	for want := 1; want <= 60; want++ {
		if got := commit(t, j, fmt.Sprintf("policy <%d>", want)); got != want {
			t.Fatalf("generation %d, want %d", got, want)
		}
	}
	numbers, err := j.Numbers()
	must(t, err)
	if len(numbers) != 50 || numbers[0] != 11 || numbers[49] != 60 {
		t.Errorf("kept are %v", numbers)
	}
	newest, err := j.Newest()
	must(t, err)
	want := entry("policy <60>")
	want.Number, want.Sum = 60, newest.Sum
	if diff := cmp.Diff(want, newest); diff != "" || newest.Sum == "" {
		t.Errorf("its checksum is %q; %s", newest.Sum, diff)
	}
}

// TestDiscarded: a generation that was begun and not finished is not kept.
func TestDiscarded(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	commit(t, j, "one")
	p, err := j.Begin(entry("two"))
	must(t, err)
	must(t, p.Discard())
	must(t, p.Discard())
	left, err := j.Interrupted()
	must(t, err)
	if left != nil {
		t.Errorf("a discarded generation is still there: %v", left.Policy)
	}
	// A run that is killed here leaves its generation behind.
	_, err = j.Begin(entry("three"))
	must(t, err)
	left, err = j.Interrupted()
	must(t, err)
	if left == nil || left.Policy != "three" {
		t.Errorf("what a killed run has begun is %v", left)
	}
	// One that was not written completely is discarded.
	must(t, os.Truncate(filepath.Join(j.Folder, "journal", "next.json"), 10))
	left, err = j.Interrupted()
	must(t, err)
	if left != nil {
		t.Errorf("half a generation is taken for one: %v", left)
	}
	newest, err := j.Newest()
	must(t, err)
	if newest.Policy != "one" || newest.Number != 1 {
		t.Errorf("the newest is %d, %q", newest.Number, newest.Policy)
	}
	if n := commit(t, j, "four"); n != 2 {
		t.Errorf("the next is %d, want 2", n)
	}
}

func TestDamagedGenerations(t *testing.T) {
	for name, damage := range map[string]func(content string) string{
		"empty":                   func(string) string { return "" },
		"cut":                     func(c string) string { return c[:len(c)/2] },
		"not JSON":                func(string) string { return "hello" },
		"one letter is different": func(c string) string { return strings.Replace(c, "two", "twx", 1) },
		"other JSON":              func(string) string { return `{"a": 1}` },
		"null":                    func(string) string { return "null" },
	} {
		t.Run(name, func(t *testing.T) {
			j := journal.Journal{Folder: t.TempDir()}
			commit(t, j, "one")
			commit(t, j, "two")
			path := filepath.Join(j.Folder, "journal", "00000002.json")
			content, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, []byte(damage(string(content))), 0o640))

			_, err = j.Newest()
			if d, ok := errors.AsType[*journal.Damaged](err); !ok || d.Path != path {
				t.Errorf("the newest is %v", err)
			}
			older, passed, err := j.NewestReadable()
			must(t, err)
			if older.Number != 1 || len(passed) != 1 || !strings.Contains(passed[0].Error(), "00000002.json is damaged") {
				t.Errorf("the newest readable is %d, passed over %v", older.Number, passed)
			}
		})
	}
}

// TestStrangeFiles: other files in the folder are left alone.
func TestStrangeFiles(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	commit(t, j, "one")
	for _, name := range []string{"notes.txt", "1.json", "00000009.json.bak", ".00000008.json123", "x00000007.json"} {
		must(t, os.WriteFile(filepath.Join(j.Folder, "journal", name), []byte("mine"), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(j.Folder, "journal", "folder"), 0o755))
	if n := commit(t, j, "two"); n != 2 {
		t.Errorf("the next is %d, want 2", n)
	}
}

// TestSweep: temporary files of a killed run are removed, and nothing else.
func TestSweep(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	commit(t, j, "one")
	must(t, j.WriteAddresses(1))
	stays := []string{"addresses.json", "journal/00000001.json", ".notes.json1", ".addresses.json", "journal/.next.json.bak1", "x.next.json1"}
	goes := []string{".addresses.json123", "journal/.next.json5577006791947779410", "journal/.00000002.json1", "journal/.kernel.json9", "journal/.newest.form9"}
	for _, name := range append(stays[2:], goes...) {
		must(t, os.WriteFile(filepath.Join(j.Folder, name), nil, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(j.Folder, ".addresses.json7"), 0o755))
	journal.Sweep(j)
	for _, name := range append(stays, ".addresses.json7") {
		if _, err := os.Stat(filepath.Join(j.Folder, name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
	for _, name := range goes {
		if _, err := os.Stat(filepath.Join(j.Folder, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	journal.Sweep(journal.Journal{Folder: filepath.Join(j.Folder, "absent")})
}

// memory is what the tests store as addresses.
type memory map[string]string

func (m *memory) Check() error {
	if (*m)["a"] == "senseless" {
		return errors.New("senseless")
	}
	return nil
}

func (m *memory) Newer(version int) bool { return version > 1 }

// TestNewerFiles: what a newer version has written is neither damaged nor set aside.
func TestNewerFiles(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	path := filepath.Join(j.Folder, "addresses.json")
	const addresses = `{"version": 2, "names": "another form"}`
	must(t, os.WriteFile(path, []byte(addresses), 0o640))
	newer, ok := errors.AsType[*journal.Newer](j.ReadAddresses(&memory{}, true))
	if !ok || newer.Error() != path+" was written by ringfence of a newer version: use that one" {
		t.Errorf("got %v", newer)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != addresses {
		t.Errorf("the file is now %q (%v)", content, err)
	}
	must(t, j.SetDown(journal.Down{User: "somebody"}))
	must(t, os.WriteFile(j.DownFile(), []byte(`{"format": 1, "sha256": "?", "content": 7}`), 0o640))
	if _, err := j.IsDown(); !errors.As(err, &newer) {
		t.Errorf("a sealed file of a newer version is %v", err)
	}
	commit(t, j, "one")
	commit(t, j, "two")
	must(t, os.WriteFile(filepath.Join(j.Folder, "journal", "00000002.json"), []byte(`{"format": 1, "sha256": "?", "content": 7}`), 0o640))
	if older, _, err := j.NewestReadable(); !errors.As(err, &newer) {
		t.Errorf("in place of a generation of a newer version there is %+v (%v)", older, err)
	}
}

func TestAddresses(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	memory := memory{"kept": "as it was"}
	must(t, j.ReadAddresses(&memory, true))
	if memory["kept"] != "as it was" {
		t.Errorf("reading nothing gave %v", memory)
	}
	must(t, j.WriteAddresses(map[string]string{"a": "1"}))
	memory = nil
	must(t, j.ReadAddresses(&memory, true))
	if memory["a"] != "1" {
		t.Errorf("read %v", memory)
	}
	must(t, j.WriteAddresses(map[string]string{"a": "senseless"}))
	if err := j.ReadAddresses(&memory, false); err == nil {
		t.Error("what makes no sense was read")
	}
	path := filepath.Join(j.Folder, "addresses.json")
	must(t, os.Truncate(path, 3))
	if err := j.ReadAddresses(&memory, false); err == nil {
		t.Error("a damaged file was read")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("who only looks has moved the damaged file")
	}
	err := j.ReadAddresses(&memory, true)
	d, ok := errors.AsType[*journal.Damaged](err)
	if !ok || d.SetAside == "" {
		t.Fatalf("got %v", err)
	}
	if content, err := os.ReadFile(d.SetAside); err != nil || len(content) != 3 {
		t.Errorf("set aside is %q (%v)", content, err)
	}
	must(t, j.ReadAddresses(&memory, true))
}

func TestDown(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	isDown := func(want bool) {
		t.Helper()
		d, err := j.IsDown()
		must(t, err)
		if (d != nil) != want {
			t.Errorf("down: %v, want %t", d, want)
		}
	}
	isDown(false)
	must(t, j.ClearDown())
	must(t, j.SetDown(journal.Down{Time: time.Now(), User: "root"}))
	isDown(true)
	// A damaged file still means that the fence was taken down.
	must(t, os.Truncate(filepath.Join(j.Folder, "journal", "down.json"), 2))
	d, err := j.IsDown()
	if _, damaged := errors.AsType[*journal.Damaged](err); d == nil || !damaged {
		t.Errorf("a damaged file is %v, %v", d, err)
	}
	must(t, j.ClearDown())
	isDown(false)
}

// TestLock: only one run at a time holds the lock, a waiting one learns who holds it,
// and the lock ends with its holder.
func TestLock(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "run")
	unlock, err := journal.Lock(t.Context(), folder, "apply")
	must(t, err)
	hurried, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = journal.Lock(hurried, folder, "refresh")
	if want := fmt.Sprintf("another ringfence process is running: pid %d, ringfence apply", os.Getpid()); !errors.Is(err, journal.ErrLocked) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	if _, err := journal.Lock(interrupted, folder, "refresh"); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted wait is %v", err)
	}
	unlock()
	unlock, err = journal.Lock(t.Context(), folder, "refresh")
	must(t, err)
	unlock()
}

// TestSeals: a file that only programs write is refused if anything in it has changed,
// and the value read into is not touched.
func TestSeals(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	must(t, journal.Write(j, journal.KernelFile, map[string]string{"state": "that"}))
	path := filepath.Join(j.Folder, "journal", "kernel.json")
	content, err := os.ReadFile(path)
	must(t, err)
	for _, damaged := range []string{"", "null", "{}", "[]", strings.Replace(string(content), "that", "this", 1), string(content[:len(content)-4])} {
		must(t, os.WriteFile(path, []byte(damaged), 0o640))
		known := map[string]string{"kept": "as it was"}
		err := journal.Read(j, journal.KernelFile, &known)
		if _, ok := errors.AsType[*journal.Damaged](err); !ok || known["kept"] != "as it was" || len(known) != 1 {
			t.Errorf("%q: read %v with %v", damaged, known, err)
		}
	}
	must(t, os.Remove(path))
	known := map[string]string{"kept": "as it was"}
	if err := journal.Read(j, journal.KernelFile, &known); err != nil || known["kept"] != "as it was" {
		t.Errorf("nothing: read %v with %v", known, err)
	}
}

// TestModes: other users cannot read a policy, whatever the umask.
func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	folder := t.TempDir()
	j := journal.Journal{Folder: filepath.Join(folder, "state")}
	commit(t, j, "one")
	must(t, j.WriteAddresses(1))
	unlock, err := journal.Lock(t.Context(), filepath.Join(folder, "run"), "apply")
	must(t, err)
	unlock()
	for path, want := range map[string]os.FileMode{
		"state": 0o750, "state/journal": 0o750, "run": 0o750,
		"state/addresses.json": 0o640, "state/journal/00000001.json": 0o640, "run/lock": 0o640,
	} {
		info, err := os.Stat(filepath.Join(folder, path))
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

// TestDamageInPlainWords: what is wrong with a state file is said without the words of Go,
// and a file that people will miss is set aside, not replaced.
func TestDamageInPlainWords(t *testing.T) {
	for content, want := range map[string]string{
		"{":              "it ends too early",
		`{"sha256": }`:   "it is not JSON: byte 12 is wrong",
		`{"sha256": 1}`:  "sha256 is a number at byte 12",
		`{"content": 1}`: "its content does not match its checksum",
	} {
		j := journal.Journal{Folder: t.TempDir()}
		if err := journal.Write(j, journal.MovesFile, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(j.Folder, "journal", string(journal.MovesFile))
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		var moves []string
		err := journal.ReadOrAside(j, journal.MovesFile, &moves)
		damaged, ok := errors.AsType[*journal.Damaged](err)
		if !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", content, err, want)
			continue
		}
		if kept, err := os.ReadFile(damaged.SetAside); err != nil || string(kept) != content {
			t.Errorf("%s: set aside is %q, %v", content, kept, err)
		}
	}
}
