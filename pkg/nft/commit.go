package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// batch writes steps as the messages of one transaction.
type batch struct {
	conn   *nftables.Conn
	table  *nftables.Table
	chains map[string]*nftables.Chain
	carry  map[string][]nftables.SetElement
}

func newBatch(carry map[string][]nftables.SetElement) (*batch, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", kernelError(err))
	}
	return &batch{
		conn:   conn,
		table:  &nftables.Table{Name: ruleset.Table, Family: nftables.TableFamilyINet},
		chains: map[string]*nftables.Chain{},
		carry:  carry,
	}, nil
}

// commit sends the batch. It takes effect as a whole or not at all, and only
// if the kernel is still at the given generation.
func (b *batch) commit(id uint64) error {
	err := b.conn.FlushWithGenID(uint32(id))
	if errors.Is(err, unix.ERESTART) {
		return plan.ErrStale
	}
	return err
}

// add queues one step. Every queued call's error counts: the library's Flush
// may succeed after one that was ignored.
func (b *batch) add(ctx context.Context, s step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch s := s.(type) {
	case addTable:
		b.conn.AddTable(b.table)
	case deleteTable:
		b.conn.DelTable(b.table)
	case flushChain:
		b.conn.FlushChain(b.chain(s.chain))
	case deleteChain:
		b.conn.DelChain(b.chain(s.chain))
	case addChain:
		return b.addChain(s)
	case addRules:
		return b.addRules(s)
	case deleteSet:
		b.conn.DelSet(&nftables.Set{Table: b.table, Name: s.set})
	case addSet:
		return b.addSet(s)
	case deleteElements:
		return b.conn.SetDeleteElements(b.set(s.elementList), setElements(ruleset.Set{Interval: s.interval}, s.elements))
	case addElements:
		return b.addElements(b.set(s.elementList), ruleset.Set{Interval: s.interval}, s.elements)
	case addCounter:
		b.conn.AddObj(b.object(s.name, nftables.ObjTypeCounter))
	case deleteCounter:
		b.conn.DeleteObject(b.object(s.name, nftables.ObjTypeCounter))
	case deleteForeignObject:
		if s.Kind == flowtable {
			b.conn.DelFlowtable(&nftables.Flowtable{Table: b.table, Name: s.Name})
		} else {
			b.conn.DeleteObject(b.object(s.Name, nftables.ObjType(s.Type)))
		}
	default:
		return fmt.Errorf("queue step %T: no such step", s)
	}
	return nil
}

func (b *batch) object(name string, kind nftables.ObjType) *nftables.NamedObj {
	return &nftables.NamedObj{Table: b.table, Name: name, Type: kind, Obj: &expr.Counter{}}
}

func (b *batch) chain(name string) *nftables.Chain {
	if c, ok := b.chains[name]; ok {
		return c
	}
	return &nftables.Chain{Table: b.table, Name: name}
}

func (b *batch) addChain(s addChain) error {
	c := &nftables.Chain{Table: b.table, Name: s.name}
	if s.chain.Stage != "" {
		hook, ok := stageHooks[s.chain.Stage]
		if !ok {
			return fmt.Errorf("add chain %s: no stage %q", s.name, s.chain.Stage)
		}
		policy := nftables.ChainPolicyAccept
		c.Hooknum, c.Priority = hook.number, new(nftables.ChainPriority(hook.priority))
		c.Type, c.Policy = nftables.ChainTypeFilter, &policy
	}
	b.chains[s.name] = c
	b.conn.AddChain(c)
	return nil
}

func (b *batch) addRules(s addRules) error {
	for _, r := range s.rules {
		if r.Statements() == nil {
			return fmt.Errorf("add rule %q to chain %s: it is foreign", r, s.chain)
		}
		var exprs []expr.Any
		all, err := encodeRule(r.Statements())
		if err != nil {
			return fmt.Errorf("add rule to chain %s: %w", s.chain, err)
		}
		for _, e := range all {
			if e.set != nil {
				if err := b.addAnonymousSet(e); err != nil {
					return fmt.Errorf("add rule to chain %s: %w", s.chain, err)
				}
			}
			exprs = append(exprs, e.exprs...)
		}
		b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: b.chain(s.chain), Exprs: exprs})
	}
	return nil
}

// addAnonymousSet queues the set and ties it to the statement's lookup.
func (b *batch) addAnonymousSet(e encoded) error {
	set := &nftables.Set{Table: b.table, Anonymous: true, Constant: true, Interval: e.set.interval, KeyType: e.set.keyType}
	if err := b.conn.AddSet(set, e.set.elements); err != nil {
		return fmt.Errorf("add anonymous set: %w", err)
	}
	for _, x := range e.exprs {
		if lookup, ok := x.(*expr.Lookup); ok && lookup.SetName == "" {
			lookup.SetName, lookup.SetID = set.Name, set.ID
		}
	}
	return nil
}

func (b *batch) addSet(s addSet) error {
	keyType, ok := keyTypes[s.set.Key]
	if !ok {
		return fmt.Errorf("add set %s: no type %q", s.name, s.set.Key)
	}
	set := &nftables.Set{
		Table: b.table, Name: s.name, KeyType: keyType, KeyByteOrder: binaryutil.BigEndian,
		Interval: s.set.Interval, HasTimeout: s.set.Timeout, Dynamic: s.set.Dynamic, Size: s.set.Size,
	}
	now := s.set.Elements
	if !s.carry {
		now = now[:min(len(now), elementsAtOnce)]
	}
	elements := setElements(s.set, now)
	if s.carry {
		elements = append(elements, b.carry[s.name]...)
		if s.set.Size > 0 {
			elements = elements[:min(len(elements), int(s.set.Size))]
		}
	}
	grows := s.set.Dynamic && setsGrow()
	if grows {
		set.Size = min(s.set.Size, max(firstSize, uint32(len(elements))))
	}
	if err := b.conn.AddSet(set, elements); err != nil {
		return fmt.Errorf("add set %s: %w", s.name, err)
	}
	if grows && set.Size < s.set.Size {
		set.Size = s.set.Size
		if err := b.conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("set size of set %s: %w", s.name, err)
		}
	}
	return b.addElements(set, s.set, s.set.Elements[len(now):])
}

// elementsAtOnce is how many elements are translated at once. What the library takes of
// each, and makes of it on the way, is many times what the message has of it.
const elementsAtOnce = 4096

func (b *batch) addElements(to *nftables.Set, as ruleset.Set, elements []ruleset.Element) error {
	for some := range slices.Chunk(elements, elementsAtOnce) {
		if err := b.conn.SetAddElements(to, setElements(as, some)); err != nil {
			return fmt.Errorf("add elements to set %s: %w", to.Name, err)
		}
	}
	return nil
}

// firstSize is the size that a set is made with which packets fill. The kernel makes a
// hash table for as many elements at once, and clears all of it when the set is deleted: of
// the sets of a fence that took it 9 ms, in which the next change waits. A table grows by
// itself, so the set is given its real size once it is there.
const firstSize = 1024

// setsGrow reports whether the kernel takes another size for a set that is there, as it
// does from Linux 6.5 on. Before, it says nothing and leaves the first one.
var setsGrow = sync.OnceValue(func() bool {
	var system unix.Utsname
	var major, minor int
	if err := unix.Uname(&system); err != nil {
		return false
	}
	_, err := fmt.Sscanf(unix.ByteSliceToString(system.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 5)
})

// set describes a set that is there: a message about elements carries no more of it
// than its name.
func (b *batch) set(l elementList) *nftables.Set {
	return &nftables.Set{Table: b.table, Name: l.set, Interval: l.interval, HasTimeout: true}
}
