package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func addressesPath(j Journal) string { return filepath.Join(j.Folder, "addresses.json") }

// Memory is what is kept in addresses.json. Check says what is wrong with it
// after reading: people may edit this file, so it bears no seal.
//
// Newer says whether a version of it is one that only newer programs read.
type Memory interface {
	Check() error
	Newer(version int) bool
}

// ReadAddresses reads the resolved names into memory, which stays as it is if
// there are none. The error is *Newer if a newer version has written the file. If the
// content is not valid, the error is *Damaged, and memory may hold anything; with
// aside, the file is then renamed.
func (j Journal) ReadAddresses(memory Memory, aside bool) error {
	data, err := read(addressesPath(j))
	if _, damaged := errors.AsType[*Damaged](err); err != nil && !damaged {
		if err = ifThere(err); err != nil {
			err = fmt.Errorf("read addresses: %w", err)
		}
		return err
	}
	var written struct{ Version int }
	if err == nil && json.Unmarshal(data, &written) == nil && memory.Newer(written.Version) {
		return &Newer{addressesPath(j)}
	}
	if err == nil {
		err = json.Unmarshal(data, memory)
	}
	if err == nil {
		err = memory.Check()
	}
	if err == nil {
		return nil
	}
	damaged, ok := errors.AsType[*Damaged](err)
	if !ok {
		damaged = &Damaged{Path: addressesPath(j), Err: err}
	}
	if aside {
		return SetAside(damaged)
	}
	return damaged
}

// WriteAddresses writes the resolved names, one fact per line, because people read this
// file.
func (j Journal) WriteAddresses(memory any) error {
	var data bytes.Buffer
	e := json.NewEncoder(&data)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // chains of records contain arrows
	if err := e.Encode(memory); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return write(addressesPath(j), bytes.TrimSuffix(data.Bytes(), []byte("\n")))
}

// File is a small file that a run leaves for the next one. A program that finds none, or a
// damaged one, does without it.
type File string

// The files.
const (
	KernelFile  File = "kernel.json"  // what the kernel was last given
	HostFile    File = "host.json"    // the facts of the host that the rules in the kernel were compiled with
	NoticesFile File = "notices.json" // what earlier runs have found and may hold still
	CountsFile  File = "counts.json"  // what an earlier run has found in counters
	AllowedFile File = "allowed.json" // what is allowed by hand
	PhonesFile  File = "phones.json"  // whom the rules let in and ban by what they have seen
	MovesFile   File = "moves.json"   // which addresses have come and gone by answers
)

// Read reads a file into value. value is not changed if there is no such file, or if the
// file is damaged, which is an error.
func Read[T any](j Journal, f File, value *T) error { return ifThere(unseal(j.path(string(f)), value)) }

// ReadOrAside is Read for a file that people will miss: a damaged one is renamed.
func ReadOrAside[T any](j Journal, f File, value *T) error {
	err := Read(j, f, value)
	if damaged, ok := errors.AsType[*Damaged](err); ok {
		return SetAside(damaged)
	}
	return err
}

// Kept reports whether there is such a file, or a damaged one that was set aside.
func (j Journal) Kept(f File) bool {
	found, err := filepath.Glob(j.path(string(f)) + "*")
	return err == nil && len(found) > 0
}

// Write writes a file, completely or not at all. A damaged one that it replaces is renamed.
func Write[T any](j Journal, f File, value T) error {
	var before json.RawMessage
	if damaged, ok := errors.AsType[*Damaged](Read(j, f, &before)); ok {
		_ = SetAside(damaged) // or it is replaced
	}
	if f == KernelFile { // which is of no use when the power was lost
		_, err := sealSum(j.path(string(f)), value)
		return err
	}
	return seal(j.path(string(f)), value)
}

// Down says that the fence was taken down on purpose.
type Down struct {
	Time time.Time `json:"time"`
	User string    `json:"user"`
	// Phase says what the run that wrote it was doing.
	Phase Phase `json:"phase,omitempty"`
}

// Phase is a step of taking the fence down or putting it up.
type Phase string

// The phases. The empty one means that no step is in progress.
const (
	Resting Phase = ""
	Going   Phase = "going down"
	Coming  Phase = "coming up"
)

// DownFile is the file that records that the fence was taken down.
func (j Journal) DownFile() string { return j.path("down.json") }

// SetDown records that the fence is to stay down.
func (j Journal) SetDown(d Down) error { return seal(j.DownFile(), d) }

// ClearDown removes that record.
func (j Journal) ClearDown() error { return remove(j.DownFile()) }

// IsDown returns when and by whom the fence was taken down, nil if it was not. A
// damaged file still means that it was: IsDown then returns the zero Down and a
// *Damaged.
func (j Journal) IsDown() (*Down, error) {
	if _, err := os.Stat(j.DownFile()); err != nil {
		return nil, ifThere(err)
	}
	var d Down
	err := unseal(j.DownFile(), &d)
	return &d, err
}
