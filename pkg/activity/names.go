package activity

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// names are packets by what they have in common.
type names[T comparable] map[T]uint64

// add adds packets. Nothing is known of those with the zero name.
func (n names[T]) add(name T, packets uint64) {
	var none T
	if name == none {
		return
	}
	n[name] += packets
	if len(n) <= mostNames {
		return
	}
	light := slices.SortedFunc(maps.Keys(n), func(a, b T) int { return cmp.Compare(n[b], n[a]) })
	for _, name := range light[mostNames/2:] {
		delete(n, name)
	}
}

type named[T comparable] struct {
	what    T
	packets uint64
}

// sorted lists those with the most packets, and those with the same in an order.
func (n names[T]) sorted(order func(a, b T) int) []named[T] {
	var list []named[T]
	for name, packets := range n {
		list = append(list, named[T]{name, packets})
	}
	slices.SortFunc(list, func(a, b named[T]) int {
		return cmp.Or(cmp.Compare(b.packets, a.packets), order(a.what, b.what))
	})
	return list[:min(len(list), listedNames)]
}

func ranked(n names[string]) []Ranked {
	list := []Ranked{}
	for _, r := range n.sorted(strings.Compare) {
		list = append(list, Ranked{r.what, r.packets})
	}
	return list
}
