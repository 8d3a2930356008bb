package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// store is the journal, with what to say and do where a file is damaged.
type store struct {
	journal.Journal
	notice notice.Func
}

// newest reads the newest generation, nil if there is none.
func (s store) newest() (*journal.Entry, error) {
	entry, err := s.Newest()
	if errors.Is(err, journal.ErrNone) {
		return nil, nil
	}
	if isDamaged(err) {
		return nil, notice.WithHint(err, "run ringfence apply: it makes a new generation from the policy file")
	}
	return entry, err
}

func isDamaged(err error) bool {
	_, damaged := errors.AsType[*journal.Damaged](err)
	return damaged
}

// generation reads the newest generation, without which there is nothing to
// work from.
func (s store) generation() (*journal.Entry, error) {
	newest, err := s.newest()
	if err == nil && newest == nil {
		err = journal.ErrNone
	}
	return newest, err
}

func numberOf(e *journal.Entry) int {
	if e == nil {
		return 0
	}
	return e.Number
}

// newestOrDamaged is newest for commands that do not need it: a damaged one is a
// warning and as good as none.
func (s store) newestOrDamaged() (*journal.Entry, error) {
	newest, err := s.newest()
	if isDamaged(err) {
		s.notice.Warn(notice.StateDamaged, "%v", err)
		return nil, nil
	}
	return newest, err
}

// recall reads the memory of names, and fills in what it lacks from generations,
// the first one first: the memory may be damaged or gone, and a generation may
// know names that the policy in force has not. With aside, a damaged file is set
// aside.
func (s store) recall(aside bool, generations ...*journal.Entry) (resolve.Memory, error) {
	memory := resolve.NewMemory()
	if err := s.ReadAddresses(&memory, aside); err != nil {
		if !isDamaged(err) {
			return memory, err
		}
		memory = resolve.NewMemory()
		s.notice.Warn(notice.StateDamaged, "%v; going on with the addresses of the newest generation", err)
	}
	for _, e := range generations {
		if e == nil {
			continue
		}
		kept, err := memoryOf(e)
		if err != nil {
			return memory, err
		}
		memory = memory.Merge(kept)
	}
	return memory, nil
}

// memoryOf reads the addresses that were known when a generation was made.
func memoryOf(e *journal.Entry) (resolve.Memory, error) {
	var kept resolve.Memory
	err := json.Unmarshal(e.Addresses, &kept)
	if err == nil {
		err = kept.Check()
	}
	if err != nil {
		return kept, fmt.Errorf("read addresses of generation %d: %w", e.Number, err)
	}
	return kept, nil
}

// peekMemory is recall without the lock and without a notice: what it returns may
// be old.
func (s store) peekMemory(newest *journal.Entry) resolve.Memory {
	s.notice = nil
	memory, err := s.recall(false, newest)
	if err != nil {
		return resolve.Memory{}
	}
	return memory
}

// lastHost are the facts of the host that the rules were last compiled with.
func (s store) lastHost(newest *journal.Entry) ruleset.Host {
	last := newest.Host
	if err := s.ReadHost(&last); err != nil {
		s.notice.Warn(notice.StateDamaged, "%v; going on with those of the newest generation", err)
	}
	return last
}

// keep writes down the addresses and the facts of the host for the next run.
func (s store) keep(of *site.Site) error {
	if err := s.WriteAddresses(of.Whole()); err != nil {
		return err
	}
	return s.keepHost(of.Host)
}

func (s store) keepHost(h ruleset.Host) error {
	var last ruleset.Host
	if err := s.ReadHost(&last); err == nil && reflect.DeepEqual(last, h) {
		return nil
	}
	return s.WriteHost(h)
}

// snapshot is what the kernel was last given, nil if that is not known.
func (s store) snapshot() (backend.Snapshot, error) {
	var snapshot backend.Snapshot
	err := journal.ReadKernel(s.Journal, &snapshot)
	return snapshot, err
}

// down says whether the fence was taken down on purpose, nil if it was not.
func (s store) down() (*journal.Down, error) {
	down, err := s.IsDown()
	if isDamaged(err) {
		s.notice.Warn(notice.StateDamaged, "%v; it says that the fence was taken down, and that holds", err)
		err = nil
	}
	return down, err
}

// setPhase notes what is about to happen to a fence that is down, so that a run
// that finds this one killed knows.
func (s store) setPhase(d journal.Down, phase journal.Phase) error {
	d.Phase = phase
	return s.SetDown(d)
}

// comingUp notes that a fence that is down is about to be put up; one that is not
// down needs no note.
func (s store) comingUp(down *journal.Down) error {
	if down == nil {
		return nil
	}
	return s.setPhase(*down, journal.Coming)
}

// isUp forgets that the fence was down, after it was put up.
func (s store) isUp(down *journal.Down) {
	if down == nil {
		return
	}
	if err := s.ClearDown(); err != nil {
		s.notice.Warn(notice.StateUnsaved, "the fence is up, but is remembered as being put up still: %v", err)
	}
}

// restoreDown undoes ClearDown or SetDown for a command that has failed.
func (s store) restoreDown(before *journal.Down, failure error) error {
	if before != nil {
		return errors.Join(failure, s.SetDown(*before))
	}
	return errors.Join(failure, s.ClearDown())
}

// ErrNoGeneration says that there is no generation yet.
var ErrNoGeneration = journal.ErrNone
