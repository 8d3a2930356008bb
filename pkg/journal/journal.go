// Package journal stores what must outlive a run: the numbered generations, the
// resolved addresses, what the kernel was last given, and whether the fence was taken
// down. Every file is written as a whole and synced before anything relies on it. A
// file that cannot be read is reported, never silently replaced.
//
// It only stores and finds. What a generation means and when one is made is decided
// elsewhere.
//
//	addresses.json               the resolved names
//	journal/00000012.json        generation 12
//	journal/next.json            a generation that is being committed
//	journal/newest.form          the newest generation as this program has read it
//	journal/kernel.json          what the kernel holds since our last commit
//	journal/host.json            the facts of the host that it was compiled with
//	journal/notices.json         what was found and may hold still
//	journal/moves.json           which addresses have come and gone by answers
//	journal/allowed.json         what is allowed by hand, and until when
//	journal/phones.json          the phones that have registered and the bans, and until when
//	journal/down.json            the fence was taken down
//	journal/unconfirmed.json     the newest generation is undone unless it is confirmed
//	journal/00000013.undone.json generation 13, which was not confirmed
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Journal is the state folder.
type Journal struct {
	// Folder is the state folder, by default /var/lib/ringfence.
	Folder string
}

// keep is how many generations are kept.
const keep = 50

// ErrNone says that there is no generation yet.
var ErrNone = errors.New("there is no generation yet")

// Entry is one generation: a policy and what it compiled to.
type Entry struct {
	// Number counts from 1. It is part of the file's name, not of its content, because
	// a generation gets its number only when the kernel has accepted the rules.
	Number  int       `json:"-"`
	Time    time.Time `json:"time"`
	User    string    `json:"user"`    // the user who made it
	Command string    `json:"command"` // the command that made it
	Version string    `json:"version"` // the version of ringfence
	Source  string    `json:"source"`  // the policy file's path
	Policy  string    `json:"policy"`  // the text of the policy file
	// Host holds the facts of the host that the policy was compiled with.
	Host ruleset.Host `json:"host"`
	// Addresses is the memory of resolved names at that time.
	Addresses json.RawMessage `json:"addresses"`
	// State is what the policy compiled to, a ruleset.State. It is seldom needed and
	// therefore not decoded.
	State json.RawMessage `json:"state"`
	// Sum is the checksum of the file, and Form what KeepForm has stored, nil for nothing.
	Sum  string   `json:"-"`
	Form [][]byte `json:"-"`
}

func (j Journal) path(name string) string { return filepath.Join(j.Folder, "journal", name) }

// entrySuffix is behind the number of a generation in the name of its file.
const entrySuffix = ".json"

// Numbers lists the generations that are kept, oldest first.
func (j Journal) Numbers() ([]int, error) { return numbered(j, entrySuffix) }

// isNumbered reports whether a name is a number of eight digits and the suffix.
func isNumbered(name, suffix string) bool {
	digits, ok := strings.CutSuffix(name, suffix)
	return ok && len(digits) == 8 && strings.Trim(digits, "0123456789") == ""
}

// numbered lists the numbers of the files that have nothing but one and the suffix in their
// names.
func numbered(j Journal, suffix string) ([]int, error) {
	files, err := os.ReadDir(j.path(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var numbers []int
	for _, f := range files {
		if isNumbered(f.Name(), suffix) {
			n, err := strconv.Atoi(f.Name()[:8])
			if err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func entryFile(number int) string { return fmt.Sprintf("%08d%s", number, entrySuffix) }

// Entry reads one generation. The error is *Damaged if the file's content is not what
// was written.
func (j Journal) Entry(number int) (*Entry, error) {
	var entry Entry
	sum, err := unsealSum(j.path(entryFile(number)), &entry)
	if err != nil {
		return nil, err
	}
	entry.Number, entry.Sum = number, sum
	return &entry, nil
}

// EntryFile is the file of a generation.
func (j Journal) EntryFile(number int) string { return j.path(entryFile(number)) }

// Newest reads the newest generation. The error is ErrNone if there is none. If the
// newest one is damaged, Newest fails: an older one would be another policy.
func (j Journal) Newest() (*Entry, error) {
	for last := 0; ; {
		numbers, err := j.Numbers()
		if err != nil {
			return nil, err
		}
		if len(numbers) == 0 {
			return nil, ErrNone
		}
		newest := numbers[len(numbers)-1]
		entry, err := j.Entry(newest)
		if !errors.Is(err, fs.ErrNotExist) || newest == last {
			return entry, err
		}
		last = newest // another run has undone it meanwhile
	}
}

// NewestReadable reads the newest generation that can be read. It also returns the
// errors of those that it skipped. One of a newer version is not skipped: nothing is wrong
// with it, and an older policy is not what is asked for.
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
		if _, newer := errors.AsType[*Newer](err); newer {
			return nil, passed, err
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
// lock until Finish or Discard. The folder is not synced before Finish: when the power is
// lost, the rules are lost too, and so may be the generation that was begun for them.
func (j Journal) Begin(e *Entry) (*Pending, error) {
	sum, err := sealSum(j.path(pendingFile), e)
	if err != nil {
		return nil, err
	}
	e.Sum = sum
	return &Pending{e, j}, nil
}

// Interrupted returns the generation that a run began and, because it was killed,
// neither finished nor discarded; nil if there is none. The caller holds the lock. A
// generation that was not written completely is discarded.
func (j Journal) Interrupted() (*Pending, error) {
	p := &Pending{&Entry{}, j}
	sum, err := unsealSum(j.path(pendingFile), p.Entry)
	p.Sum = sum
	if _, damaged := errors.AsType[*Damaged](err); damaged {
		return nil, p.Discard()
	}
	if err != nil {
		return nil, ifThere(err)
	}
	return p, nil
}

// BegunFile is the file of a generation that was begun and has no number yet.
func (j Journal) BegunFile() string { return j.path(pendingFile) }

// Begun reports whether there is a generation that was begun and has no number yet: a
// run is working on it, or was killed while it did.
func (j Journal) Begun() bool {
	_, err := os.Stat(j.path(pendingFile))
	return err == nil
}

// Finish gives the generation, which is now in force, the next number, and removes the
// oldest generations. If it returns an error, the generation has no number. A failure
// to remove an old one is not an error.
func (p *Pending) Finish() error {
	numbers, err := p.journal.Numbers()
	if err != nil {
		return err
	}
	number, err := p.journal.NextNumber()
	if err != nil {
		return err
	}
	if err := os.Rename(p.journal.path(pendingFile), p.journal.path(entryFile(number))); err != nil {
		return fmt.Errorf("number generation: %w", err)
	}
	p.Number = number
	if err := syncFolder(p.journal.path("")); err != nil {
		return err
	}
	for len(numbers) >= keep {
		// If this fails, the next generation tries again.
		_ = os.Remove(p.journal.path(entryFile(numbers[0])))
		numbers = numbers[1:]
	}
	return nil
}

// Discard removes a generation that was not committed.
func (p *Pending) Discard() error { return remove(p.journal.path(pendingFile)) }
