package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (j Journal) addressesPath() string { return filepath.Join(j.Folder, "addresses.json") }

// Memory is what is kept in addresses.json. Check says what is wrong with it
// after reading: people may edit this file, so it bears no seal.
type Memory interface{ Check() error }

// ReadAddresses reads the resolved names into memory, which stays as it is if
// there are none. The error is *Damaged if the file makes no sense, and memory
// may then hold anything; with aside the file was moved out of the way.
func (j Journal) ReadAddresses(memory Memory, aside bool) error {
	data, err := os.ReadFile(j.addressesPath())
	if err != nil {
		if err = ifThere(err); err != nil {
			err = fmt.Errorf("read addresses: %w", err)
		}
		return err
	}
	err = json.Unmarshal(data, memory)
	if err == nil {
		err = memory.Check()
	}
	if err == nil {
		return nil
	}
	damaged := &Damaged{Path: j.addressesPath(), Err: err}
	if aside {
		return setAside(damaged)
	}
	return damaged
}

// WriteAddresses writes the resolved names, one line a fact: people read this
// file.
func (j Journal) WriteAddresses(memory any) error {
	var data bytes.Buffer
	e := json.NewEncoder(&data)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // chains of records have arrows
	if err := e.Encode(memory); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return write(j.addressesPath(), bytes.TrimSuffix(data.Bytes(), []byte("\n")))
}

// ReadKernel reads what the kernel was last given into known, which stays as it
// is if there is nothing or, with *Damaged, something that was not written.
func ReadKernel[T any](j Journal, known *T) error {
	return ifThere(unseal(j.path("kernel.json"), known))
}

// WriteKernel notes what the kernel was just given.
func (j Journal) WriteKernel(known any) error { return seal(j.path("kernel.json"), known) }

// ReadHost reads the facts of the host that the rules in the kernel were compiled
// with; host stays as it is if they are not known.
func (j Journal) ReadHost(host *ruleset.Host) error {
	return ifThere(unseal(j.path("host.json"), host))
}

// WriteHost notes the facts of the host that the rules are compiled with.
func (j Journal) WriteHost(host ruleset.Host) error { return seal(j.path("host.json"), host) }

// ReadNotices reads what earlier runs have found and may hold still into notices, which
// stay as they are if there are none.
func ReadNotices[T any](j Journal, notices *T) error {
	return ifThere(unseal(j.path("notices.json"), notices))
}

// WriteNotices notes what was found and may hold still.
func (j Journal) WriteNotices(notices any) error { return seal(j.path("notices.json"), notices) }

// Down says that the fence was taken down on purpose.
type Down struct {
	Time time.Time `json:"time"`
	User string    `json:"user"`
	// Phase says what a run is about to do, or was when it was killed.
	Phase Phase `json:"phase,omitempty"`
}

// Phase is what happens to a fence that is down.
type Phase string

// The phases: nothing, it is being taken down, it is being put up.
const (
	Resting Phase = ""
	Going   Phase = "going down"
	Coming  Phase = "coming up"
)

// DownFile is the file that says that the fence was taken down.
func (j Journal) DownFile() string { return j.path("down.json") }

// SetDown remembers that the fence is to stay down.
func (j Journal) SetDown(d Down) error { return seal(j.DownFile(), d) }

// ClearDown forgets it.
func (j Journal) ClearDown() error { return remove(j.DownFile()) }

// IsDown returns when and by whom the fence was taken down, nil if it was not.
// A file that makes no sense still says that it was: then the zero Down comes
// with a *Damaged.
func (j Journal) IsDown() (*Down, error) {
	if _, err := os.Stat(j.DownFile()); err != nil {
		return nil, ifThere(err)
	}
	var d Down
	err := unseal(j.DownFile(), &d)
	return &d, err
}
