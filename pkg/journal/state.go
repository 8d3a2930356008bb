package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (j Journal) addressesPath() string { return filepath.Join(j.Folder, "addresses.json") }

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
	data, err := read(j.addressesPath())
	if _, damaged := errors.AsType[*Damaged](err); err != nil && !damaged {
		if err = ifThere(err); err != nil {
			err = fmt.Errorf("read addresses: %w", err)
		}
		return err
	}
	var written struct{ Version int }
	if err == nil && json.Unmarshal(data, &written) == nil && memory.Newer(written.Version) {
		return &Newer{j.addressesPath()}
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
		damaged = &Damaged{Path: j.addressesPath(), Err: err}
	}
	if aside {
		return setAside(damaged)
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
	return write(j.addressesPath(), bytes.TrimSuffix(data.Bytes(), []byte("\n")))
}

// ReadKernel reads into known what the kernel was last given. known is not changed if
// there is no such file, or if the file is damaged, which is an error.
func ReadKernel[T any](j Journal, known *T) error {
	return ifThere(unseal(j.path("kernel.json"), known))
}

// WriteKernel records what the kernel was just given.
func (j Journal) WriteKernel(known any) error { return seal(j.path("kernel.json"), known) }

// ReadHost reads the facts of the host that the rules in the kernel were compiled with.
// host is not changed if they are not known.
func (j Journal) ReadHost(host *ruleset.Host) error {
	return ifThere(unseal(j.path("host.json"), host))
}

// WriteHost records the facts of the host that the rules are compiled with.
func (j Journal) WriteHost(host ruleset.Host) error { return seal(j.path("host.json"), host) }

// ReadNotices reads what earlier runs have found and may hold still into notices, which
// stay as they are if there are none.
func ReadNotices[T any](j Journal, notices *T) error {
	return ifThere(unseal(j.path("notices.json"), notices))
}

// WriteNotices notes what was found and may hold still.
func (j Journal) WriteNotices(notices any) error { return seal(j.path("notices.json"), notices) }

// ReadCounts reads what an earlier run has found in counters into counts, which stay as
// they are if none has.
func ReadCounts[T any](j Journal, counts *T) error {
	return ifThere(unseal(j.path("counts.json"), counts))
}

// WriteCounts records what was found in counters.
func (j Journal) WriteCounts(counts any) error { return seal(j.path("counts.json"), counts) }

// ReadMoves reads which addresses have come and gone into moves, which stay as they are
// if that is not known. With aside, a damaged file is renamed.
func ReadMoves[T any](j Journal, moves *T, aside bool) error {
	err := ifThere(unseal(j.path("moves.json"), moves))
	if damaged, ok := errors.AsType[*Damaged](err); ok && aside {
		return setAside(damaged)
	}
	return err
}

// WriteMoves records which addresses have come and gone.
func (j Journal) WriteMoves(moves any) error { return seal(j.path("moves.json"), moves) }

// ReadAllowed reads what is allowed by hand into allowed, which stays as it is if nothing
// is.
func ReadAllowed[T any](j Journal, allowed *T) error {
	return ifThere(unseal(j.path("allowed.json"), allowed))
}

// WriteAllowed notes what is allowed by hand.
func (j Journal) WriteAllowed(allowed any) error { return seal(j.path("allowed.json"), allowed) }

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
