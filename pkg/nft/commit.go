package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// batch writes the steps of a plan as the messages of one transaction.
type batch struct {
	conn   *nftables.Conn
	table  *nftables.Table
	chains map[string]*nftables.Chain
	sets   map[string]*nftables.Set
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
		sets:   map[string]*nftables.Set{},
		carry:  carry,
	}, nil
}

// commit sends the batch. It takes effect as a whole or not at all, and only
// if the kernel is still at the given generation.
func (b *batch) commit(generation uint32) error {
	err := b.conn.FlushWithGenID(generation)
	if errors.Is(err, unix.ERESTART) {
		return plan.ErrStale
	}
	return err
}

// add queues one step. Every queued call's error counts: the library's Flush
// may succeed after one that was ignored.
func (b *batch) add(ctx context.Context, s plan.Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch s := s.(type) {
	case plan.AddTable:
		b.conn.AddTable(b.table)
	case plan.DeleteTable:
		b.conn.DelTable(b.table)
	case plan.FlushChain:
		b.conn.FlushChain(b.chain(s.Chain))
	case plan.DeleteChain:
		b.conn.DelChain(b.chain(s.Chain))
	case plan.AddChain:
		return b.addChain(s)
	case plan.AddRules:
		return b.addRules(s)
	case plan.DeleteSet:
		b.conn.DelSet(&nftables.Set{Table: b.table, Name: s.Set})
	case plan.AddSet:
		return b.addSet(s)
	case plan.FlushSet:
		b.conn.FlushSet(&nftables.Set{Table: b.table, Name: s.Set})
	case plan.DeleteElements:
		set := b.set(s.Set, s.Elements)
		return b.conn.SetDeleteElements(set, setElements(ruleset.Set{Interval: set.Interval}, s.Elements))
	case plan.AddElements:
		set := b.set(s.Set, s.Elements)
		return b.conn.SetAddElements(set, setElements(ruleset.Set{Interval: set.Interval}, s.Elements))
	case plan.AddCounter:
		b.conn.AddObj(b.object(s.Name, nftables.ObjTypeCounter))
	case plan.DeleteCounter:
		b.conn.DeleteObject(b.object(s.Name, nftables.ObjTypeCounter))
	case plan.DeleteStranger:
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

var chainHooks = map[string]*nftables.ChainHook{
	"prerouting": nftables.ChainHookPrerouting,
}

func (b *batch) addChain(s plan.AddChain) error {
	c := &nftables.Chain{Table: b.table, Name: s.Name}
	if s.Chain.Hook != "" {
		hook, ok := chainHooks[s.Chain.Hook]
		if !ok {
			return fmt.Errorf("add chain %s: no hook %q", s.Name, s.Chain.Hook)
		}
		policy := nftables.ChainPolicyAccept
		if s.Chain.Policy != "accept" {
			return fmt.Errorf("add chain %s: policy %q is never ringfence's", s.Name, s.Chain.Policy)
		}
		c.Hooknum, c.Priority = hook, new(nftables.ChainPriority(s.Chain.Priority))
		c.Type, c.Policy = nftables.ChainType(s.Chain.Type), &policy
	}
	b.chains[s.Name] = c
	b.conn.AddChain(c)
	return nil
}

func (b *batch) addRules(s plan.AddRules) error {
	for _, r := range s.Rules {
		if r.Statements() == nil {
			return fmt.Errorf("add rule %q to chain %s: it is foreign", r, s.Chain)
		}
		var exprs []expr.Any
		for _, statement := range r.Statements() {
			e, err := encode(statement)
			if err != nil {
				return fmt.Errorf("add rule to chain %s: %w", s.Chain, err)
			}
			if e.set != nil {
				if err := b.addAnonymousSet(e); err != nil {
					return fmt.Errorf("add rule to chain %s: %w", s.Chain, err)
				}
			}
			exprs = append(exprs, e.exprs...)
		}
		b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: b.chain(s.Chain), Exprs: exprs})
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

func (b *batch) addSet(s plan.AddSet) error {
	keyType, ok := keyTypes[s.Set.Key]
	if !ok {
		return fmt.Errorf("add set %s: no type %q", s.Name, s.Set.Key)
	}
	set := &nftables.Set{
		Table: b.table, Name: s.Name, KeyType: keyType, KeyByteOrder: binaryutil.BigEndian,
		Interval: s.Set.Interval, HasTimeout: s.Set.Timeout, Dynamic: s.Set.Dynamic, Size: s.Set.Size,
	}
	b.sets[s.Name] = set
	elements := setElements(s.Set, s.Set.Elements)
	if s.Carry {
		elements = append(elements, b.carry[s.Name]...)
		if s.Set.Size > 0 {
			elements = elements[:min(len(elements), int(s.Set.Size))]
		}
	}
	if err := b.conn.AddSet(set, elements); err != nil {
		return fmt.Errorf("add set %s: %w", s.Name, err)
	}
	return nil
}

// set describes a set that is there, by the kind of its elements: a message
// about elements carries no more of it than its name.
func (b *batch) set(name string, elements []ruleset.Element) *nftables.Set {
	if s, ok := b.sets[name]; ok {
		return s
	}
	addresses := len(elements) > 0 && elements[0].From.IsValid()
	return &nftables.Set{Table: b.table, Name: name, Interval: addresses, HasTimeout: true}
}
