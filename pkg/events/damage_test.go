package events_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/events"
	"github.com/ringfence/ringfence/pkg/journal"
)

// whole returns the content of a file with several hours, small and large ones, and pages
// that are free.
func whole(t testing.TB) []byte {
	t.Helper()
	s := newStore(t)
	for h, size := range []int{3, 900, 40, 1500} {
		at := noon.Add(time.Duration(h) * time.Hour)
		var tally events.Tally
		for i := range size {
			tally.Add(flood(at, i))
		}
		for i := range 10 {
			tally.Count(at, fmt.Sprintf("counter_%d", i), 7)
		}
		_, err := s.Write(&tally, at)
		must(t, err)
	}
	write(t, s, noon.Add(3*time.Hour), scanner(noon.Add(3*time.Hour)))
	data, err := os.ReadFile(s.Path)
	must(t, err)
	return data
}

// use reads and writes a file of some content, and wants no more than an error that says
// what is wrong with the file. It returns how many packets were read.
func use(t testing.TB, path string, data []byte) (uint64, error) {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o640))
	packets := uint64(0)
	err := events.Read(path, time.Time{}, time.Time{}, func(r events.Record) error { packets += r.Packets; return nil })
	_, countsErr := events.Counts(path, time.Time{}, time.Time{})
	for _, e := range []error{err, countsErr} {
		_, damaged := errors.AsType[*journal.Damaged](e)
		_, newer := errors.AsType[*journal.Newer](e)
		if e != nil && !damaged && !newer {
			t.Errorf("got %v", e)
		}
	}
	s := events.Store{Path: path, Keep: 30 * 24 * time.Hour}
	var tally events.Tally
	tally.Add(scanner(noon))
	aside, writeErr := s.Write(&tally, noon.Add(4*time.Hour))
	if _, newer := errors.AsType[*journal.Newer](writeErr); writeErr != nil && !newer {
		t.Errorf("write: %v", writeErr)
	}
	if aside != nil {
		must(t, os.Remove(aside.SetAside))
	}
	return packets, err
}

// TestDamageOfEveryKind: a file with any byte changed, any part zeroed, cut off or copied to
// another place is read and written without a crash.
func TestDamageOfEveryKind(t *testing.T) {
	data := whole(t)
	path := filepath.Join(t.TempDir(), "events.db")
	want, err := use(t, path, data)
	must(t, err)
	if want != 3+900+40+1500+1 {
		t.Fatalf("%d packets", want)
	}
	rounds := 100
	if n, err := strconv.Atoi(os.Getenv("RINGFENCE_DAMAGE_ROUNDS")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	found := 0
	for range rounds {
		bad := append([]byte(nil), data...)
		at := random.IntN(len(bad))
		page := at / 4096 * 4096
		switch random.IntN(6) {
		case 0:
			bad[at] ^= 1 << random.IntN(8)
		case 1: // in the header of a page, or of its elements
			bad[page+random.IntN(64)] ^= byte(1 + random.IntN(255))
		case 2:
			binary.NativeEndian.PutUint64(bad[page+random.IntN(16)*8:], random.Uint64N(uint64(len(bad)/4096)+2))
		case 3:
			clear(bad[page : page+4096])
		case 4:
			copy(bad[page:page+4096], bad[random.IntN(len(bad)/4096)*4096:])
		case 5:
			bad = bad[:at]
		}
		if _, err := use(t, path, bad); err != nil {
			found++
		}
	}
	t.Logf("%d of %d were found damaged", found, rounds)
}

// FuzzFile: no content crashes who reads or writes the file.
func FuzzFile(f *testing.F) {
	data := whole(f)
	f.Add(data[:16384])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		use(t, filepath.Join(t.TempDir(), "events.db"), data)
	})
}

// TestNewerVersion: the file of a newer version stays as it is.
func TestNewerVersion(t *testing.T) {
	s := newStore(t)
	write(t, s, noon, scanner(noon))
	must(t, events.SetFormat(s.Path, 2))
	before, err := os.ReadFile(s.Path)
	must(t, err)
	var tally events.Tally
	tally.Add(scanner(noon))
	aside, writeErr := s.Write(&tally, noon)
	readErr := events.Read(s.Path, time.Time{}, time.Time{}, func(events.Record) error { return nil })
	for _, err := range []error{writeErr, readErr} {
		if _, ok := errors.AsType[*journal.Newer](err); !ok {
			t.Errorf("got %v", err)
		}
	}
	if after, err := os.ReadFile(s.Path); err != nil || string(after) != string(before) || aside != nil {
		t.Errorf("the file was changed: %v, %v", aside, err)
	}
}

// TestNoRegularFile: a link, a folder or a pipe in the place of the file is reported.
func TestNoRegularFile(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, "link")
	must(t, os.Symlink("/dev/zero", link))
	for _, path := range []string{link, folder, "/dev/null"} {
		err := events.Read(path, time.Time{}, time.Time{}, func(events.Record) error { return nil })
		if _, ok := errors.AsType[*journal.Damaged](err); !ok {
			t.Errorf("%s: got %v", path, err)
		}
	}
}
