package iptables

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// view is what iptables and ipset hold of the fence, as it was read.
type view struct {
	tables   map[where]savedTable
	headers  map[string]setHeader
	elements map[string][]entry // not of the sets of bans
}

// look reads all. It is not one moment: each table is, and each set. If another run takes a
// set away meanwhile, all is read again.
func (k *Kernel) look(ctx context.Context) (v *view, err error) {
	for range readTries {
		if v, err = k.lookOnce(ctx); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return v, err
}

func (k *Kernel) lookOnce(ctx context.Context) (*view, error) {
	v := &view{tables: map[where]savedTable{}, elements: map[string][]entry{}}
	t, err := k.tool()
	if err != nil {
		return nil, err
	}
	for _, w := range allPlaces() {
		if v.tables[w], err = t.save(ctx, w); err != nil {
			return nil, err
		}
	}
	conn, err := openSets()
	if err != nil {
		return nil, err
	}
	defer conn.close()
	if v.headers, err = conn.headers(ctx); err != nil {
		return nil, err
	}
	for name, h := range v.headers {
		if h.timeout && !isArmedSet(name) {
			continue
		}
		if v.elements[name], err = conn.elements(ctx, name); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// stamp is a hash of all that was read: two views with the same one are the same.
func (v *view) stamp() uint64 {
	hash := fnv.New64a()
	for _, w := range allPlaces() {
		for _, name := range slices.Sorted(maps.Keys(v.tables[w])) {
			if strings.HasPrefix(name, chainPrefix) || slices.Contains(hooksOf(w.table), name) {
				fmt.Fprintf(hash, "%s %s %q\n", w, name, v.tables[w][name].lines)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.headers)) {
		h := v.headers[name]
		fmt.Fprintf(hash, "%s %s %d\n", name, h, h.family)
		fmt.Fprintln(hash, hashOf(v.elements[name]))
	}
	return max(hash.Sum64(), 1)
}

// hashOf is a hash of the entries of a set, which the kernel lists in no order.
func hashOf(entries []entry) (sum uint64) {
	hash, text := fnv.New64a(), []byte(nil)
	for _, x := range entries {
		hash.Reset()
		text = x.prefix.AppendTo(text[:0])
		hash.Write(append(text, x.comment+"\x00"+x.foreign...))
		sum += hash.Sum64()
	}
	return sum
}

// hook is a built-in chain that leads to the fence.
type hook struct {
	name string
	// chain is where the first jump leads, "" without one, and behind a rule before it
	// that lets packets in.
	chain, behind string
	others        []string // further lines that lead to the fence
}

// hooks reads the jumps of a table.
func (v *view) hooks(w where) []hook {
	var list []hook
	for _, name := range hooksOf(w.table) {
		h := hook{name: name}
		c := v.tables[w][name]
		if c == nil {
			c = &savedChain{}
		}
		for _, line := range c.lines {
			target, ours := jumpTarget(line)
			_, _, isFence := letterOf(target)
			switch {
			case ours && isFence && h.chain == "" && line == "-j "+target:
				h.chain = target
			case ours:
				h.others = append(h.others, line)
			case h.chain == "" && strings.HasSuffix(line, "-j ACCEPT"):
				h.behind = line
			}
		}
		list = append(list, h)
	}
	return list
}

// exists reports whether any packet is led to the fence.
func (v *view) exists() bool {
	return slices.ContainsFunc(allPlaces(), func(w where) bool {
		return slices.ContainsFunc(v.hooks(w), func(h hook) bool { return h.chain != "" || len(h.others) > 0 })
	})
}

// letter is that of the chains that packets are led to, 0 if they are led to none.
func (v *view) letter(w where) byte {
	for _, h := range v.hooks(w) {
		if letter, _, ok := letterOf(h.chain); ok {
			return letter
		}
	}
	return 0
}

// isEmpty reports whether nothing of ringfence's is there.
func (v *view) isEmpty() bool {
	for _, t := range v.tables {
		for name := range t {
			if strings.HasPrefix(name, chainPrefix) {
				return false
			}
		}
	}
	return len(v.headers) == 0
}
