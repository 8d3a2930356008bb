// Package journal keeps what must outlive a run: the numbered generations, the
// resolved addresses, what the kernel was last given, whether the fence was
// taken down. Every file is written whole and synced before anything relies on
// it; one that cannot be read is named, never silently replaced.
//
// It keeps and finds. What a generation means, and when one is made, is decided
// elsewhere.
//
//	addresses.json               the resolved names
//	journal/00000012.json        generation 12
//	journal/next.json            a generation that is being committed
//	journal/kernel.json          what the kernel holds since our last commit
//	journal/host.json            the facts of the host that it was compiled with
//	journal/notices.json         what was found and may hold still
//	journal/down.json            the fence was taken down
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Journal is the state folder.
type Journal struct {
	// Folder is the state folder, /var/lib/ringfence if nobody says otherwise.
	Folder string
}

// keep is how many generations are kept.
const keep = 50

// ErrNone says that there is no generation yet.
var ErrNone = errors.New("there is no generation yet")

// Entry is one generation: a policy and what it compiled to.
type Entry struct {
	// Number counts from 1. It is the file's name, not its content, because it
	// is given only once the kernel has taken the rules.
	Number  int       `json:"-"`
	Time    time.Time `json:"time"`
	User    string    `json:"user"`    // who made it
	Command string    `json:"command"` // by what
	Version string    `json:"version"` // of ringfence
	Source  string    `json:"source"`  // the policy file's path
	Policy  string    `json:"policy"`  // its text
	// Host are the facts that the policy was compiled with.
	Host ruleset.Host `json:"host"`
	// Addresses is the memory of resolved names at that time.
	Addresses json.RawMessage `json:"addresses"`
	// State is what it compiled to, a ruleset.State. It is seldom needed, so it
	// is not decoded.
	State json.RawMessage `json:"state"`
}

func (j Journal) path(name string) string { return filepath.Join(j.Folder, "journal", name) }

var entryName = regexp.MustCompile(`^([0-9]{8})\.json$`)

// Numbers lists the generations that are kept, oldest first.
func (j Journal) Numbers() ([]int, error) {
	files, err := os.ReadDir(j.path(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var numbers []int
	for _, f := range files {
		if m := entryName.FindStringSubmatch(f.Name()); m != nil {
			n, err := strconv.Atoi(m[1])
			if err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func entryFile(number int) string { return fmt.Sprintf("%08d.json", number) }

// Entry reads one generation. Its error is *Damaged if the file is not what was
// written.
func (j Journal) Entry(number int) (*Entry, error) {
	var entry Entry
	if err := unseal(j.path(entryFile(number)), &entry); err != nil {
		return nil, err
	}
	entry.Number = number
	return &entry, nil
}

// Newest reads the newest generation; ErrNone if there is none. A damaged one
// is an error: an older one would be another policy.
func (j Journal) Newest() (*Entry, error) {
	numbers, err := j.Numbers()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, ErrNone
	}
	return j.Entry(numbers[len(numbers)-1])
}

// NewestReadable reads the newest generation that can be read, and returns the
// errors of those that it passed over.
func (j Journal) NewestReadable() (*Entry, []error, error) {
	numbers, err := j.Numbers()
	if err != nil {
		return nil, nil, err
	}
	var passed []error
	for _, n := range slices.Backward(numbers) {
		entry, err := j.Entry(n)
		if err == nil {
			return entry, passed, nil
		}
		passed = append(passed, err)
	}
	return nil, passed, ErrNone
}

// Pending is a generation on disk that has no number yet.
type Pending struct {
	*Entry
	journal Journal
}

const pendingFile = "next.json"

// Begin writes a generation that is about to be committed. The caller holds the
// lock until Finish or Discard.
func (j Journal) Begin(e *Entry) (*Pending, error) {
	if err := seal(j.path(pendingFile), e); err != nil {
		return nil, err
	}
	return &Pending{e, j}, nil
}

// Interrupted returns the generation that a run has begun and neither finished
// nor discarded, because it was killed; nil if there is none. The caller holds
// the lock. One that was not even written whole is discarded.
func (j Journal) Interrupted() (*Pending, error) {
	p := &Pending{&Entry{}, j}
	err := unseal(j.path(pendingFile), p.Entry)
	if _, damaged := errors.AsType[*Damaged](err); damaged {
		return nil, p.Discard()
	}
	if err != nil {
		return nil, ifThere(err)
	}
	return p, nil
}

// BegunFile is the file of a generation that was begun and has no number.
func (j Journal) BegunFile() string { return j.path(pendingFile) }

// Begun reports whether there is a generation that was begun and has no number:
// a run is at it, or was killed while it was.
func (j Journal) Begun() bool {
	_, err := os.Stat(j.path(pendingFile))
	return err == nil
}

// Finish gives the generation the next number, once it is in force, and forgets
// the oldest ones. Its error says that it has no number; that an old one could
// not be forgotten is none.
func (p *Pending) Finish() error {
	numbers, err := p.journal.Numbers()
	if err != nil {
		return err
	}
	number := 1
	if len(numbers) > 0 {
		number = numbers[len(numbers)-1] + 1
	}
	if err := os.Rename(p.journal.path(pendingFile), p.journal.path(entryFile(number))); err != nil {
		return fmt.Errorf("number generation: %w", err)
	}
	p.Number = number
	if err := syncFolder(p.journal.path("")); err != nil {
		return err
	}
	for len(numbers) >= keep {
		// The next generation tries again.
		_ = os.Remove(p.journal.path(entryFile(numbers[0])))
		numbers = numbers[1:]
	}
	return nil
}

// Discard removes the generation, which was not committed.
func (p *Pending) Discard() error { return remove(p.journal.path(pendingFile)) }
