package fence

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

// store is the journal, with the handling of damaged files.
type store struct {
	journal.Journal
	notice notice.Func
	last   *lastEntry
	// program says by which program generations were read that are stored as it has read
	// them; "" is not known.
	program func() string
}

// lastEntry is the generation that was read last. A command asks for it several times,
// and it may be large. Nobody changes it.
type lastEntry struct {
	mu    sync.Mutex
	mark  fileMark
	entry *journal.Entry
}

// Newest is journal.Journal.Newest. A file that has not changed is not read again. The
// generation may lack its state.
func (s store) Newest() (*journal.Entry, error) {
	numbers, err := s.Numbers()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, journal.ErrNone
	}
	s.last.mu.Lock()
	defer s.last.mu.Unlock()
	number := numbers[len(numbers)-1]
	mark := markOf(s.EntryFile(number))
	if s.last.entry != nil && s.last.entry.Number == number && mark.same(s.last.mark) {
		return s.last.entry, nil
	}
	entry := s.Formed(number, s.program())
	if entry == nil {
		if entry, err = s.Entry(number); err != nil {
			return nil, err
		}
	}
	s.last.mark, s.last.entry = mark, entry
	return entry, nil
}

// forget lets go of the generation that was read last.
func (l *lastEntry) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry = nil
}

// newest reads the newest generation. It returns nil if there is none.
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

// generation reads the newest generation, and fails if there is none.
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

// newestOrDamaged is like newest, for commands that can work without a generation: a
// damaged one causes a warning and counts as none.
func (s store) newestOrDamaged() (*journal.Entry, error) {
	newest, err := s.newest()
	if isDamaged(err) {
		s.notice.Warn(notice.StateDamaged, "%v", err)
		return nil, nil
	}
	return newest, err
}

// recall reads the memory of names and adds what it lacks from generations, of which
// the first takes precedence: the memory may be damaged or missing, and a generation
// may know names that the policy in force does not have. With aside, a damaged file is
// set aside.
func (s store) recall(aside bool, generations ...*journal.Entry) (resolve.Memory, error) {
	memory := resolve.NewMemory()
	if err := s.ReadAddresses(&memory, aside); err != nil {
		if !isDamaged(err) {
			return memory, err
		}
		memory = resolve.NewMemory()
		s.notice.Warn(notice.StateDamaged, "%v; using the addresses of the newest generation", err)
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

// peekMemory is recall without the lock and without notices. The result may be out of
// date.
func (s store) peekMemory(newest *journal.Entry) resolve.Memory {
	s.notice = nil
	memory, err := s.recall(false, newest)
	if err != nil {
		return resolve.Memory{}
	}
	return memory
}

// lastHost returns the facts of the host that the rules were last compiled with.
func (s store) lastHost(newest *journal.Entry) ruleset.Host {
	last := newest.Host
	if err := journal.Read(s.Journal, journal.HostFile, &last); err != nil {
		s.notice.Warn(notice.StateDamaged, "%v; using those of the newest generation", err)
	}
	return last
}

// keep saves the addresses and the facts of the host for the next run.
func (s store) keep(of *site.Site) error {
	kept := aside(func() error { return s.keepHost(of.Host) })
	return errors.Join(s.WriteAddresses(of.Whole()), kept())
}

// aside does something that takes its time on the disk, beside what the caller does until
// it waits for the result. It must not use the network, whose namespace is the caller's.
func aside(do func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return func() error { return <-done }
}

func (s store) keepHost(h ruleset.Host) error {
	var last ruleset.Host
	if err := journal.Read(s.Journal, journal.HostFile, &last); err == nil && reflect.DeepEqual(last, h) {
		return nil
	}
	return journal.Write(s.Journal, journal.HostFile, h)
}

// snapshot returns what the kernel was last given, nil if not known.
func (s store) snapshot() (backend.Snapshot, error) {
	var snapshot backend.Snapshot
	err := journal.Read(s.Journal, journal.KernelFile, &snapshot)
	return snapshot, err
}

// down returns whether the fence was taken down on purpose, nil if it was not.
func (s store) down() (*journal.Down, error) {
	down, err := s.IsDown()
	if isDamaged(err) {
		s.notice.Warn(notice.StateDamaged, "%v; the fence still counts as taken down", err)
		err = nil
	}
	return down, err
}

// setPhase records what is about to happen to a fence that is down, for a later run if
// this one is killed.
func (s store) setPhase(d journal.Down, phase journal.Phase) error {
	d.Phase = phase
	return s.SetDown(d)
}

// comingUp records that a fence that is down is about to be put up. It does nothing if
// the fence is not down.
func (s store) comingUp(down *journal.Down) error {
	if down == nil {
		return nil
	}
	return s.setPhase(*down, journal.Coming)
}

// isUp removes the record that the fence was down, after it was put up.
func (s store) isUp(down *journal.Down) {
	if down == nil {
		return
	}
	if err := s.ClearDown(); err != nil {
		s.notice.Warn(notice.StateUnsaved, "the fence is up, but the record that it was down could not be removed: %v", err)
	}
}

// restoreDown undoes ClearDown or SetDown after a command has failed.
func (s store) restoreDown(before *journal.Down, failure error) error {
	if before != nil {
		return errors.Join(failure, s.SetDown(*before))
	}
	return errors.Join(failure, s.ClearDown())
}

// ErrNoGeneration says that there is no generation yet.
var ErrNoGeneration = journal.ErrNone
