package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/journal"
)

// allFiles are the small files of the journal.
var allFiles = []journal.File{
	journal.KernelFile, journal.HostFile, journal.NoticesFile, journal.CountsFile, journal.AllowedFile, journal.MovesFile, journal.PhonesFile,
}

// TestSweepAll: whatever file a killed run was writing, its temporary file is removed.
func TestSweepAll(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	must(t, journal.MakeFolder(j))
	var names []string
	for _, f := range allFiles {
		names = append(names, "journal/."+string(f)+"123")
	}
	for _, f := range []string{j.DownFile(), j.UnconfirmedFile(), j.BegunFile(), j.EntryFile(7)} {
		names = append(names, "journal/."+filepath.Base(f)+"123")
	}
	must(t, os.Mkdir(filepath.Join(j.Folder, "journal"), 0o750))
	for _, name := range names {
		must(t, os.WriteFile(filepath.Join(j.Folder, name), nil, 0o600))
	}
	journal.Sweep(j)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(j.Folder, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// TestOddFiles: what cannot be a file of ringfence is damaged, and is not read to its end:
// a pipe has none.
func TestOddFiles(t *testing.T) {
	for name, test := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"a pipe": {func(path string) error { return unix.Mkfifo(path, 0o600) }, "it is no regular file"},
		"a link": {func(path string) error { return os.Symlink("/etc/passwd", path) }, "it is a symbolic link"},
		"too much": {func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 300<<20))
		}, "it has 314572800 bytes, and no state file has more than 268435456"},
	} {
		t.Run(name, func(t *testing.T) {
			j := journal.Journal{Folder: t.TempDir()}
			must(t, os.Mkdir(filepath.Join(j.Folder, "journal"), 0o750))
			for _, path := range []string{filepath.Join(j.Folder, "addresses.json"), filepath.Join(j.Folder, "journal", string(journal.KernelFile))} {
				must(t, test.put(path))
			}
			var known map[string]string
			err := journal.Read(j, journal.KernelFile, &known)
			if _, ok := errors.AsType[*journal.Damaged](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("a file is %v, want %s", err, test.want)
			}
			err = j.ReadAddresses(&memory{}, true)
			damaged, ok := errors.AsType[*journal.Damaged](err)
			if !ok || damaged.SetAside == "" {
				t.Errorf("the addresses are %v", err)
			}
			// It is out of the way: what comes next can be written.
			must(t, j.WriteAddresses(memory{"a": "b"}))
			must(t, j.ReadAddresses(&memory{}, false))
		})
	}
}

// TestWrongType: content with the right checksum and another form, as a program of another
// version may write it, is damage, and what was known stays.
func TestWrongType(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	must(t, journal.Write(j, journal.NoticesFile, []int{1, 2}))
	known := map[string]string{"kept": "as it was"}
	err := journal.Read(j, journal.NoticesFile, &known)
	if _, ok := errors.AsType[*journal.Damaged](err); !ok || known["kept"] != "as it was" || !strings.Contains(err.Error(), "its content is an array") {
		t.Errorf("read %v with %v", known, err)
	}
	if err := journal.Write(j, journal.NoticesFile, func() {}); err == nil {
		t.Error("a function was written")
	}
}

// TestReadOrAside: a file that people will miss is renamed when it is damaged, and is
// known to have been there.
func TestReadOrAside(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	if j.Kept(journal.AllowedFile) {
		t.Error("there is a file in an empty folder")
	}
	must(t, journal.Write(j, journal.AllowedFile, []string{"192.0.2.1"}))
	var list []string
	must(t, journal.ReadOrAside(j, journal.AllowedFile, &list))
	if len(list) != 1 || !j.Kept(journal.AllowedFile) {
		t.Errorf("read %q; kept: %t", list, j.Kept(journal.AllowedFile))
	}
	path := filepath.Join(j.Folder, "journal", string(journal.AllowedFile))
	must(t, os.Truncate(path, 12))
	err := journal.ReadOrAside(j, journal.AllowedFile, &list)
	if d, ok := errors.AsType[*journal.Damaged](err); !ok || d.SetAside == "" || len(list) != 1 {
		t.Errorf("a damaged one: %v, read %q", err, list)
	}
	if _, err := os.Stat(path); err == nil || !j.Kept(journal.AllowedFile) {
		t.Errorf("it is still in its place, or forgotten: %v", err)
	}
	must(t, journal.ReadOrAside(j, journal.AllowedFile, &list))
}

// TestDamagedIsNotReplaced: a damaged file is renamed before another one takes its place.
func TestDamagedIsNotReplaced(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	for _, f := range []journal.File{journal.KernelFile, journal.HostFile, journal.NoticesFile, journal.CountsFile} {
		path := filepath.Join(j.Folder, "journal", string(f))
		must(t, journal.Write(j, f, "first"))
		must(t, os.WriteFile(path, []byte("no JSON"), 0o640))
		must(t, journal.Write(j, f, "second"))
		must(t, journal.Write(j, f, "third"))
		aside, err := filepath.Glob(path + ".damaged-*")
		must(t, err)
		var got string
		must(t, journal.Read(j, f, &got))
		if len(aside) != 1 || got != "third" {
			t.Fatalf("%s is %q, and set aside are %q", f, got, aside)
		}
		if content, _ := os.ReadFile(aside[0]); string(content) != "no JSON" {
			t.Errorf("set aside is %q", content)
		}
	}
}

// TestFolders: a folder in which everybody may replace files is refused, with the command
// that mends it; one like /tmp, where each has their own files, is not.
func TestFolders(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	j := journal.Journal{Folder: folder}
	must(t, journal.Check(j)) // it is not there yet
	must(t, journal.MakeFolder(j))
	must(t, journal.MakeFolder(j))
	must(t, journal.Check(j))
	must(t, os.Chmod(folder, 0o777))
	if err := journal.Check(j); err == nil || err.Error() != "everybody may write to folder "+folder+": run chmod o-w "+folder {
		t.Errorf("a folder for everybody: %v", err)
	}
	if _, err := journal.Lock(t.Context(), folder, "apply"); err == nil || !strings.Contains(err.Error(), "everybody may write") {
		t.Errorf("a lock in a folder for everybody: %v", err)
	}
	must(t, os.Chmod(folder, 0o777|os.ModeSticky))
	must(t, journal.Check(j))

	// A file in the place of a folder.
	must(t, os.WriteFile(filepath.Join(folder, "journal"), nil, 0o600))
	if _, err := j.Numbers(); err == nil {
		t.Error("a file is listed as a journal")
	}
	for name, err := range map[string]error{
		"write": journal.Write(j, journal.KernelFile, 1), "down": j.SetDown(journal.Down{}), "unconfirmed": j.SetUnconfirmed(journal.Unconfirmed{}),
	} {
		if err == nil {
			t.Errorf("%s works in a file", name)
		}
	}
	for name, err := range map[string]error{
		"newest": second(j.Newest()), "next": second(j.NextNumber()), "undone": second(j.LastUndone()), "begin": second(j.Begin(entry("one"))),
	} {
		if err == nil || errors.Is(err, journal.ErrNone) {
			t.Errorf("%s in a file: %v", name, err)
		}
	}
	if _, _, err := j.NewestReadable(); err == nil || errors.Is(err, journal.ErrNone) {
		t.Errorf("the newest readable one in a file: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestNumbering: a generation that cannot get its number says so and keeps none.
func TestNumbering(t *testing.T) {
	j := journal.Journal{Folder: t.TempDir()}
	p, err := j.Begin(entry("one"))
	must(t, err)
	must(t, os.Remove(j.BegunFile()))
	if err := p.Finish(); err == nil || !strings.HasPrefix(err.Error(), "number generation: ") || p.Number != 0 {
		t.Errorf("it is generation %d: %v", p.Number, err)
	}
	if _, _, err := j.NewestReadable(); !errors.Is(err, journal.ErrNone) {
		t.Errorf("the newest is %v", err)
	}
}

// TestLockLinks: a lock that is a link, or no file at all, is not followed and not waited
// for.
func TestLockLinks(t *testing.T) {
	for name, test := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"a link":   {func(path string) error { return os.Symlink("/etc/passwd", path) }, "is a symbolic link: remove it"},
		"a folder": {func(path string) error { return os.Mkdir(path, 0o700) }, "take lock: "},
	} {
		folder := t.TempDir()
		must(t, test.put(filepath.Join(folder, "lock")))
		if _, err := journal.Lock(t.Context(), folder, "apply"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLockOfAnother: the error names the process that holds the lock, although it has not
// written its name into the file.
func TestLockOfAnother(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	defer file.Close()
	must(t, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	for content, want := range map[string]string{
		"":                           "holds " + path,
		"pid 1, ringfence refresh\n": "holds " + path, // of a run before
	} {
		must(t, os.WriteFile(path, []byte(content), 0o600))
		if _, err := journal.Lock(expired(t), folder, "apply"); !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "refresh") {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// expired is a context whose time is over soon.
func expired(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
