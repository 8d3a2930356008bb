package classifier

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/host/dump"

	"github.com/vishvananda/netlink"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Attached is what is known about a filter of ringfence's on an interface.
type Attached struct {
	Interface string
	// Name is the program's name.
	Name string
	// ID is the program's number in the kernel, for Hits.
	ID uint32
}

// List returns all of ringfence's filters, by interface.
func List() ([]Attached, error) {
	var list []Attached
	links, err := dump.Whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, link := range links {
		here, err := filters(link)
		if errors.Is(err, ErrNoInterface) {
			continue // it was removed after it was listed
		}
		if err != nil {
			return nil, err
		}
		for _, preference := range []uint16{place, next} {
			if f := here[preference]; f != nil && f.ours() {
				list = append(list, Attached{link.Attrs().Name, f.name, f.id})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Attached) int { return strings.Compare(a.Interface, b.Interface) })
	return list, nil
}

// Observe returns which program is attached to which interface. After an interrupted
// change an interface has two, which is no desired state.
func Observe() (ruleset.Classifier, error) {
	list, err := List()
	if err != nil {
		return nil, err
	}
	observed := ruleset.Classifier{}
	for _, a := range list {
		if first, ok := observed[a.Interface]; ok {
			a.Name = first + " " + a.Name
		}
		observed[a.Interface] = a.Name
	}
	return observed, nil
}

// Foreign returns, for each of the interfaces where another program takes the place of
// ringfence's filter, which program that is. Each error wraps ErrForeign. Interfaces
// with ringfence's filter are not in the result.
func Foreign(interfaces []string) map[string]error {
	taken := map[string]error{}
	for _, name := range interfaces {
		link, err := linkOf(name)
		if err != nil {
			continue // Begin reports it
		}
		here, err := filters(link)
		if f := here[place]; err != nil || f != nil && f.ours() {
			continue
		}
		if err := sharedBlock(link); err != nil {
			taken[name] = err
			continue
		}
		list, err := filtersOf(link, netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			continue
		}
		for _, f := range list {
			if err := guardAgainst(link, f); err != nil && taken[name] == nil {
				taken[name] = err
			}
		}
	}
	return taken
}

// On returns the desired state in which the program is attached to the given
// interfaces.
func (p *Program) On(interfaces []string) ruleset.Classifier {
	desired := ruleset.Classifier{}
	for _, name := range interfaces {
		desired[name] = p.Name()
	}
	return desired
}

// Change is the attaching of a program. What was attached to the interfaces before
// still is, but the mark of the new program counts. The change ends with either Finish
// or Undo.
type Change struct {
	program *Loaded
	wanted  map[string]bool
	staged  map[string]bool // interfaces on which it is attached, after another program or alone
}

// Begin attaches a program to interfaces, after what is attached there. A nil program
// means none: then Finish removes what is attached. After an error nothing has changed.
// The error wraps ErrNoInterface for an interface that does not exist, and ErrForeign
// for another program's filter in the place of ringfence's.
func Begin(l *Loaded, interfaces []string) (*Change, error) {
	c := &Change{program: l, wanted: map[string]bool{}, staged: map[string]bool{}}
	if l == nil {
		return c, nil
	}
	for _, name := range interfaces {
		c.wanted[name] = true
		if err := c.stage(name); err != nil {
			return nil, errors.Join(err, c.Undo())
		}
	}
	return c, nil
}

func (c *Change) stage(name string) error {
	link, err := linkOf(name)
	if err != nil {
		return err
	}
	made, err := makeQdisc(link)
	if err != nil {
		return err
	}
	if err := c.stageOn(link, made); err != nil {
		if made {
			_, failure := dropQdisc(link, 0)
			err = errors.Join(err, failure)
		}
		return err
	}
	return nil
}

func (c *Change) stageOn(link netlink.Link, ownsQdisc bool) error {
	here, err := filters(link)
	if err != nil {
		return err
	}
	if err := guard(link, place, here[place]); err != nil {
		return err
	}
	if f := here[place]; f != nil && f.name == c.program.Name() && here[next] == nil {
		return nil // it is attached already, with its counters
	}
	if err := put(link, next, c.program, here[next], ownsQdisc || owned(here)); err != nil {
		return err
	}
	c.staged[link.Attrs().Name] = true
	return nil
}

func owned(here map[uint16]*filter) bool {
	for _, f := range here {
		if f.owner {
			return true
		}
	}
	return false
}

// Finish removes the programs that were attached to the interfaces before, and
// ringfence's programs on other interfaces. It does as much as it can: after an error,
// observe and begin again.
func (c *Change) Finish() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.staged)) {
		problems = append(problems, c.finish(name))
	}
	list, err := List()
	problems = append(problems, err)
	for _, a := range list {
		if !c.wanted[a.Interface] {
			problems = append(problems, withdraw(a.Interface, place, next))
		}
	}
	return errors.Join(problems...)
}

// finish puts the new program of an interface in the place of the old one.
func (c *Change) finish(name string) error {
	link, err := linkOf(name)
	if errors.Is(err, ErrNoInterface) {
		return nil // and its filters are gone with it
	}
	if err != nil {
		return err
	}
	here, err := filters(link)
	if err != nil {
		return err
	}
	if err := put(link, place, c.program, here[place], owned(here)); err != nil {
		return err
	}
	return take(link, next, here[next])
}

// Undo detaches the new program.
func (c *Change) Undo() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.staged)) {
		problems = append(problems, withdraw(name, next))
	}
	return errors.Join(problems...)
}

// withdraw removes ringfence's filters at some preferences, and the qdisc if ringfence
// has made it and no other filter is left there.
func withdraw(name string, preferences ...uint16) error {
	link, err := linkOf(name)
	if errors.Is(err, ErrNoInterface) {
		return nil
	}
	if err != nil {
		return err
	}
	here, err := filters(link)
	if err != nil {
		return err
	}
	var leaving []uint16
	for _, preference := range preferences {
		if f := here[preference]; f != nil && f.ours() {
			leaving = append(leaving, preference)
		}
	}
	if owned(here) {
		// Together with the filters, so that a run that is killed in between does not
		// leave a qdisc that no longer shows who made it.
		if gone, err := dropQdisc(link, len(leaving)); gone || err != nil {
			return err
		}
	}
	for _, preference := range leaving {
		if err := take(link, preference, here[preference]); err != nil {
			return err
		}
	}
	return nil
}
