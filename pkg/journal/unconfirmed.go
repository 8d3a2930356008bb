package journal

import (
	"errors"
	"fmt"
	"os"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// Unconfirmed says that the newest generation is undone unless somebody confirms it.
type Unconfirmed struct {
	// ID is different for each.
	ID string `json:"id"`
	// Generation is the number of the generation, which it may not have got yet.
	Generation int `json:"generation"`
	// Before is the generation to go back to. It is 0 if nothing was in force.
	Before int `json:"before"`
	// Down says that the fence was taken down on purpose before. It is down again then.
	Down   *Down          `json:"down,omitempty"`
	User   string         `json:"user"`
	Made   resolve.Moment `json:"made"`
	Window resolve.Span   `json:"window"`
	// Confirmed says that it was confirmed, and that the kernel may not reflect that yet.
	Confirmed bool `json:"confirmed,omitempty"`
}

// UnconfirmedFile is the file that marks the newest generation as unconfirmed.
func (j Journal) UnconfirmedFile() string { return j.path("unconfirmed.json") }

// MakeFolder makes the state folder if it is not there.
func MakeFolder(j Journal) error { return makeFolder(j.Folder) }

// SetUnconfirmed marks a generation as unconfirmed, before it is committed.
func (j Journal) SetUnconfirmed(u Unconfirmed) error { return seal(j.UnconfirmedFile(), u) }

// ClearUnconfirmed removes that mark.
func (j Journal) ClearUnconfirmed() error {
	if err := remove(j.UnconfirmedFile()); err != nil {
		return err
	}
	if _, err := os.Stat(j.path("")); err != nil {
		return ifThere(err)
	}
	return syncFolder(j.path(""))
}

// Unconfirmed returns the mark, nil if there is none. A damaged one is an error.
func (j Journal) Unconfirmed() (*Unconfirmed, error) {
	var u Unconfirmed
	if err := unseal(j.UnconfirmedFile(), &u); err != nil {
		return nil, ifThere(err)
	}
	return &u, nil
}

// SetAsideUnconfirmed removes the mark, after it has renamed its generation, which does
// not count any more. It does what is left to do if an earlier call was killed.
func SetAsideUnconfirmed(j Journal, u *Unconfirmed) error {
	if err := remove(j.BegunFile()); err != nil {
		return err
	}
	err := os.Rename(j.path(entryFile(u.Generation)), j.path(undoneFile(u.Generation)))
	if err = ifThere(err); err != nil {
		return fmt.Errorf("set generation aside: %w", err)
	}
	dropUndone(j)
	return j.ClearUnconfirmed()
}

const undoneSuffix = ".undone.json"

func undoneFile(number int) string { return fmt.Sprintf("%08d%s", number, undoneSuffix) }

// Undone lists the generations that were undone and are kept, oldest first.
func (j Journal) Undone() ([]int, error) { return numbered(j, undoneSuffix) }

// UndoneEntry reads a generation that was undone.
func UndoneEntry(j Journal, number int) (*Entry, error) {
	var entry Entry
	if err := unseal(j.path(undoneFile(number)), &entry); err != nil {
		return nil, err
	}
	entry.Number = number
	return &entry, nil
}

// LastUndone returns the number of the last generation that was undone, 0 if there is
// none.
func (j Journal) LastUndone() (int, error) {
	numbers, err := j.Undone()
	if len(numbers) == 0 || err != nil {
		return 0, err
	}
	return numbers[len(numbers)-1], nil
}

// NextNumber returns the number of the next generation. That of a generation which was
// undone is not used again.
func (j Journal) NextNumber() (int, error) {
	numbers, err := j.Numbers()
	if err != nil {
		return 0, err
	}
	last, err := j.LastUndone()
	if len(numbers) > 0 {
		last = max(last, numbers[len(numbers)-1])
	}
	return last + 1, err
}

// keepUndone is how many of the generations that were undone are kept.
const keepUndone = 20

// dropUndone removes the oldest of them.
func dropUndone(j Journal) {
	numbers, _ := j.Undone()
	for _, n := range numbers[:max(len(numbers)-keepUndone, 0)] {
		_ = os.Remove(j.path(undoneFile(n)))
	}
}

// SetUnconfirmedAside renames a mark that cannot be read.
func SetUnconfirmedAside(err error) error {
	if damaged, ok := errors.AsType[*Damaged](err); ok {
		return SetAside(damaged)
	}
	return err
}
