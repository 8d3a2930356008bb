package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// phonesSet is the kind of the sets of who is let in because the PBX has accepted him. An
// element is an address, or an address with a port.
const phonesSet = "phones"

// staleSet is the kind of the sets of who fails to log in where somebody has logged in.
const staleSet = "stale"

// knownSet is the kind of the sets of the addresses where somebody has logged in.
const knownSet = "known"

// Phones returns all phones that the PBX has accepted, sorted; none without a table.
func (k *Kernel) Phones(ctx context.Context) ([]backend.Phone, error) {
	return places(ctx, phonesSet)
}

// Stale returns those that fail to log in though somebody there has logged in lately,
// sorted; none without a table.
func (k *Kernel) Stale(ctx context.Context) ([]backend.Phone, error) { return places(ctx, staleSet) }

// Logins returns the addresses where somebody has logged in within a day.
func (k *Kernel) Logins() backend.Logins { return logins{k} }

type logins struct{ *Kernel }

// List returns all of them, sorted; none without a table.
func (l logins) List(ctx context.Context) ([]backend.Phone, error) { return places(ctx, knownSet) }

// places returns what the sets of a kind hold, sorted.
func places(ctx context.Context, kind string) ([]backend.Phone, error) {
	r, err := newReader()
	if err != nil {
		return nil, err
	}
	defer r.close()
	var phones []backend.Phone
	for _, set := range []string{kind + "4", kind + "6"} {
		points, err := r.elementsNow(ctx, set)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read elements of set %s: %w", set, err)
		}
		for _, p := range points {
			if address, port, ok := placeOf(p.key); ok {
				phones = append(phones, backend.Phone{Address: address, Port: port, Left: p.expires})
			}
		}
	}
	slices.SortFunc(phones, backend.Phone.Compare)
	return phones, nil
}

// placeOf reads a key of an address, or of an address and a port.
func placeOf(key []byte) (a netip.Addr, port uint16, ok bool) {
	if n := len(key); n == 8 || n == 20 { // each part takes whole registers of 4 bytes
		port = binary.BigEndian.Uint16(key[n-4:])
		key = key[:n-4]
	}
	a, ok = addressOf(key)
	return a, port, ok
}

func placeKey(a netip.Addr, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(a.AsSlice(), port), 0, 0)
}

// Add adds those that the table lacks, with the time that they have left. Its error wraps
// ErrFull if there is no room for all of them.
func (l logins) Add(ctx context.Context, added []backend.Phone) error {
	return errors.Join(
		addMissing(ctx, l.Kernel, knownSet+"4", elementsOf(added, knownSet, "4")),
		addMissing(ctx, l.Kernel, knownSet+"6", elementsOf(added, knownSet, "6")),
	)
}

// elementsOf returns the elements for a set of a family. Where it has no ports, several
// phones at an address are one element, which lasts as long as the longest of them.
func elementsOf(phones []backend.Phone, kind, family string) func(withPort bool) []nftables.SetElement {
	return func(withPort bool) (elements []nftables.SetElement) {
		at := map[string]int{}
		for _, p := range phones {
			if setOfFamily(kind, p.Address) != kind+family || withPort && p.Port == 0 {
				continue
			}
			key := p.Address.AsSlice()
			if withPort {
				key = placeKey(p.Address, p.Port)
			}
			if i, there := at[string(key)]; there {
				elements[i].Timeout = max(elements[i].Timeout, p.Left)
				continue
			}
			at[string(key)] = len(elements)
			elements = append(elements, nftables.SetElement{Key: key, Timeout: p.Left})
		}
		return elements
	}
}

// PutBack adds those phones and bans that the table lacks, with the time that they have
// left. Its error wraps ErrFull if there is no room for all of them.
func (k *Kernel) PutBack(ctx context.Context, phones []backend.Phone, bans []Banned) error {
	var errs []error
	for _, family := range []string{"4", "6"} {
		errs = append(errs, addMissing(ctx, k, phonesSet+family, elementsOf(phones, phonesSet, family)))
		errs = append(errs, addMissing(ctx, k, bannedSet+family, func(bool) (elements []nftables.SetElement) {
			for _, b := range bans {
				if setOfFamily(bannedSet, b.Address) == bannedSet+family {
					elements = append(elements, nftables.SetElement{Key: b.Address.AsSlice(), Timeout: b.Left, Comment: b.Comment})
				}
			}
			return elements
		}))
	}
	return errors.Join(errs...)
}

// addMissing adds elements to a set, but those that are there and those that it has no
// room for. A set that is not there takes none.
func addMissing(ctx context.Context, k *Kernel, name string, wanted func(withPort bool) []nftables.SetElement) error {
	set := &nftables.Set{Table: &nftables.Table{Name: ruleset.Table, Family: nftables.TableFamilyINet}, Name: name, HasTimeout: true}
	for range memberTries {
		id, frame, points, err := contents(ctx, name)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read elements of set %s: %w", name, err)
		}
		there := map[string]bool{}
		for _, p := range points {
			there[string(p.key)] = true
		}
		elements := slices.DeleteFunc(wanted(strings.HasSuffix(string(frame.Key), string(ruleset.Port))),
			func(e nftables.SetElement) bool { return there[string(e.Key)] })
		var full error
		if room := max(0, int(frame.Size)-len(points)); frame.Size > 0 && len(elements) > room {
			elements, full = elements[:room], fmt.Errorf("%s: %w", name, ErrFull)
		}
		if len(elements) == 0 {
			return full
		}
		conn, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open netfilter socket: %w", kernelError(err))
		}
		if err := conn.SetAddElements(set, elements); err != nil {
			return fmt.Errorf("change set %s: %w", name, err)
		}
		err = conn.FlushWithGenID(uint32(id))
		switch {
		case err == nil:
			if k.Known.Holds(id) {
				k.Known.GenID, k.changed = NextGenID(id), true
			}
			return full
		case !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENFILE) && !errors.Is(err, unix.EEXIST):
			// A packet may have taken the last room, or added one of them.
			return fmt.Errorf("change set %s: %w", name, changeError(err))
		}
	}
	return fmt.Errorf("change set %s: %w, %d times in a row", name, plan.ErrStale, memberTries)
}

// contents reads a set with its elements, and the kernel's generation before that.
func contents(ctx context.Context, name string) (id uint64, frame ruleset.Set, points []point, err error) {
	r, err := newReader()
	if err != nil {
		return 0, frame, nil, err
	}
	defer r.close()
	if id, err = r.genID(ctx); err != nil {
		return 0, frame, nil, err
	}
	b, err := r.get(ctx, unix.NFT_MSG_GETSET, textAttribute(unix.NFTA_SET_TABLE, ruleset.Table), textAttribute(unix.NFTA_SET_NAME, name))
	if err != nil {
		return 0, frame, nil, err
	}
	points, err = r.elementsNow(ctx, name)
	return id, setOf(b).Set, points, err
}
