package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"time"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/journal"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func (a *app) journal() journal.Journal { return journal.Journal{Folder: a.stateDir} }

func (a *app) journalFolder() string { return filepath.Join(a.stateDir, "journal") }

// kernel is the nftables back end with what the last commit has noted. With
// full it knows nothing and reads the whole table.
func (a *app) kernel(full bool) *nft.Kernel {
	k := &nft.Kernel{Log: a.log}
	if full {
		return k
	}
	k.Known = &nft.Known{}
	if err := journal.ReadKernel(a.journal(), k.Known); err != nil {
		a.say("warning", err.Error()+"; reading the kernel instead")
	}
	return k
}

// noteKernel writes down what the kernel holds now, and returns it, nil if that
// cannot be known. It is a shortcut for the next look only, so a failure is no
// error.
func (a *app) noteKernel(k *nft.Kernel, p *plan.Plan) *nft.Known {
	generation := p.Base
	if len(p.Steps) > 0 {
		generation = nft.NextGeneration(p.Base)
	}
	if k.Known.Holds(generation) {
		return k.Known
	}
	known, err := nft.Here(generation, p.Want)
	if err == nil {
		err = a.journal().WriteKernel(known)
	}
	if err != nil {
		a.log.Info("note what the kernel holds", "error", err)
	}
	return known
}

// newest reads the newest generation, nil if there is none.
func (a *app) newest() (*journal.Entry, error) {
	entry, err := a.journal().Newest()
	if errors.Is(err, journal.ErrNone) {
		return nil, nil
	}
	if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
		return nil, withHint(err, "run ringfence apply: it makes a new generation from the policy file")
	}
	return entry, err
}

func numberOf(e *journal.Entry) int {
	if e == nil {
		return 0
	}
	return e.Number
}

// beginGeneration writes the generation that is about to be committed.
func (a *app) beginGeneration(s *site, state *ruleset.State, command string) (*journal.Pending, error) {
	addresses, err := json.Marshal(s.memory)
	if err != nil {
		return nil, fmt.Errorf("write addresses: %w", err)
	}
	compiled, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("write state: %w", err)
	}
	return a.journal().Begin(&journal.Entry{
		Time: time.Now(), User: userName(), Command: command, Version: version(),
		Source: s.source, Policy: s.text, Host: s.host, Addresses: addresses, State: compiled,
	})
}

// recall reads the memory of names, and fills in what it lacks from generations,
// the first one first: the memory may be damaged or gone, and a generation may
// know names that the policy in force has not. With aside, a damaged file is set
// aside.
func (a *app) recall(aside bool, generations ...*journal.Entry) (resolve.Memory, error) {
	memory := resolve.NewMemory()
	if err := a.journal().ReadAddresses(&memory, aside); err != nil {
		if _, damaged := errors.AsType[*journal.Damaged](err); !damaged {
			return memory, err
		}
		memory = resolve.NewMemory()
		a.say("warning", err.Error()+"; going on with the addresses of the newest generation")
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

// glance is recall without the lock and without a word: what it says may be old.
func (a *app) glance() resolve.Memory {
	quiet := *a
	quiet.stderr = io.Discard
	newest, err := quiet.newest()
	if err != nil {
		newest = nil
	}
	memory, err := quiet.recall(false, newest)
	if err != nil {
		return resolve.Memory{}
	}
	return memory
}

// lastHost are the facts of the host that the rules were last compiled with.
func (a *app) lastHost(newest *journal.Entry) ruleset.Host {
	last := newest.Host
	if err := a.journal().ReadHost(&last); err != nil {
		a.say("warning", err.Error()+"; going on with those of the newest generation")
	}
	return last
}

// keep writes down the addresses and the facts of the host for the next run.
func (a *app) keep(s *site) error {
	if err := a.journal().WriteAddresses(s.memory.Merge(s.retired)); err != nil {
		return err
	}
	return a.keepHost(s.host)
}

func (a *app) keepHost(h ruleset.Host) error {
	var last ruleset.Host
	if err := a.journal().ReadHost(&last); err == nil && reflect.DeepEqual(last, h) {
		return nil
	}
	return a.journal().WriteHost(h)
}

// siteOf is the site of a generation with the given memory of names.
func siteOf(e *journal.Entry, memory resolve.Memory) (*site, error) {
	p, err := catalog.Parse(fmt.Sprintf("generation %d (%s)", e.Number, e.Source), []byte(e.Policy))
	if err != nil {
		return nil, err
	}
	return &site{policy: p, text: e.Policy, source: e.Source, host: e.Host, memory: memory}, nil
}

// siteBefore is the site that the kernel's rules were made from: the newest
// generation on the host as it was. nil says that it is not known.
func (a *app) siteBefore(s *site, newest *journal.Entry, memory resolve.Memory) *site {
	if newest == nil {
		return nil
	}
	before := &site{policy: s.policy, text: s.text, memory: memory}
	if newest.Policy != s.text { // else there is no need to read it again
		var err error
		if before, err = siteOf(newest, memory); err != nil {
			a.log.Info("read the policy of the newest generation", "error", err)
			return nil
		}
	}
	before.host = a.lastHost(newest)
	return before
}

// isDown tells whether the fence was taken down on purpose, nil if it was not.
func (a *app) isDown() (*journal.Down, error) {
	down, err := a.journal().IsDown()
	if _, damaged := errors.AsType[*journal.Damaged](err); damaged {
		a.say("warning", err.Error()+"; it says that the fence was taken down, and that holds")
		err = nil
	}
	return down, err
}

// setPhase notes what is about to happen to a fence that is down, so that a run
// that finds this one killed knows.
func (a *app) setPhase(d journal.Down, phase journal.Phase) error {
	d.Phase = phase
	return a.journal().SetDown(d)
}

// isUp forgets that the fence was down, after it was put up.
func (a *app) isUp(down *journal.Down) {
	if down == nil {
		return
	}
	if err := a.journal().ClearDown(); err != nil {
		a.say("warning", "the fence is up, but is remembered as being put up still: "+err.Error())
	}
}

// restoreDown undoes ClearDown or SetDown for a command that has failed.
func (a *app) restoreDown(before *journal.Down, failure error) error {
	if before != nil {
		return errors.Join(failure, a.journal().SetDown(*before))
	}
	return errors.Join(failure, a.journal().ClearDown())
}
