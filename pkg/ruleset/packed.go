package ruleset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// AppendPrefixes appends a list of prefixes to a buffer, in a form that CutPrefixes reads
// fast: how many there are, and of each its family with its length, and its address.
func AppendPrefixes(b []byte, list []netip.Prefix) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, p := range list {
		if a := p.Addr(); a.Is4() {
			four := a.As4()
			b = append(append(b, byte(p.Bits())), four[:]...)
		} else {
			sixteen := a.As16()
			b = append(append(b, packedIPv6+byte(p.Bits())), sixteen[:]...)
		}
	}
	return b
}

// packedIPv6 is added to the length of a prefix of IPv6.
const packedIPv6 = 64

// errPacked says that a buffer does not hold what was appended to it.
var errPacked = errors.New("read prefixes: they are not what was written")

// CutPrefixes calls f for each prefix of a list that AppendPrefixes has written, and
// returns what is behind it. Before that it calls begin with the number of prefixes.
func CutPrefixes(b []byte, begin func(n int), f func(netip.Prefix)) (rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) {
		return nil, errPacked
	}
	begin(int(n))
	for b = b[size:]; n > 0; n-- {
		if len(b) < 1+4 || b[0] >= packedIPv6 && len(b) < 1+16 {
			return nil, errPacked
		}
		var p netip.Prefix
		if bits := int(b[0]); bits < packedIPv6 {
			p, b = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[1:5])), bits), b[5:]
		} else {
			p, b = netip.PrefixFrom(netip.AddrFrom16([16]byte(b[1:17])), bits-packedIPv6), b[17:]
		}
		if !p.IsValid() {
			return nil, errPacked
		}
		f(p)
	}
	return b, nil
}

// Base are the elements of sets that share them with others, so that a set can be written
// as what it has more and less than its base. Their lists must not be changed.
type Base struct {
	// Key is one of all that is in it.
	Key  string
	Sets map[string][]Element
}

// leastShared is how many elements a set of a base has at least: fewer cost nothing.
const leastShared = 1000

// NewBase makes a base of the large ones among sets, whose elements are prefixes; nil if
// none is large. packed is what AppendSets has written of them, nil if nobody has.
func NewBase(sets map[string][]Element, packed []byte) *Base {
	b := &Base{Sets: map[string][]Element{}}
	for name, elements := range sets {
		if len(elements) >= leastShared {
			b.Sets[name] = elements
		}
	}
	if len(b.Sets) == 0 {
		return nil
	}
	if packed == nil {
		packed = AppendSets(nil, sets)
	}
	sum := sha256.Sum256(packed)
	b.Key = hex.EncodeToString(sum[:])
	return b
}

// AppendSets appends sets whose elements are prefixes to a buffer. CutSets reads them.
func AppendSets(b []byte, sets map[string][]Element) []byte {
	b = binary.AppendUvarint(b, uint64(len(sets)))
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		list := make([]netip.Prefix, len(sets[name]))
		for i, e := range sets[name] {
			if e.From == e.To {
				list[i] = netip.PrefixFrom(e.From, e.From.BitLen())
			} else {
				list[i], _ = netipx.IPRangeFrom(e.From, e.To).Prefix()
			}
		}
		b = AppendPrefixes(append(binary.AppendUvarint(b, uint64(len(name))), name...), list)
	}
	return b
}

// CutSets reads what AppendSets has written, and returns what is behind it.
func CutSets(b []byte) (sets map[string][]Element, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) {
		return nil, nil, errPacked
	}
	b = b[size:]
	sets = map[string][]Element{}
	for range n {
		length, size := binary.Uvarint(b)
		if size <= 0 || length > uint64(len(b)-size) {
			return nil, nil, errPacked
		}
		name := string(b[size : size+int(length)])
		var elements []Element
		b, err = CutPrefixes(b[size+int(length):],
			func(n int) { elements = make([]Element, 0, n) },
			func(p netip.Prefix) {
				e := Element{From: p.Addr(), To: p.Addr()}
				if !p.IsSingleIP() {
					e.To = netipx.PrefixLastIP(p)
				}
				elements = append(elements, e)
			})
		if err != nil {
			return nil, nil, err
		}
		sets[name] = elements
	}
	return sets, b, nil
}

// Difference is what a set has more and less than its base.
type Difference struct {
	Gone []Element `json:"gone,omitempty"`
	Come []Element `json:"come,omitempty"`
}

// mostDiffers is how much of a set may differ from its base so that it is written by that.
const mostDiffers = 1000

// Shorten returns a state without the elements of those of its sets that the base has,
// and what these have more and less than the base.
func (b *Base) Shorten(s *State) (*State, map[string]Difference) {
	short, differ := *s, map[string]Difference{}
	short.Sets = maps.Clone(s.Sets)
	for name, elements := range b.Sets {
		set, ok := s.Sets[name]
		if !ok {
			continue
		}
		gone, come := Delta(elements, set.Elements)
		if len(gone)+len(come) > mostDiffers {
			continue
		}
		differ[name] = Difference{gone, come}
		set.Elements = nil
		short.Sets[name] = set
	}
	return &short, differ
}

// Restore is the opposite of Shorten. It reports whether the difference is one from this
// base.
func (b *Base) Restore(short *State, differ map[string]Difference) bool {
	for name, d := range differ {
		set, ok := short.Sets[name]
		elements, known := b.Sets[name]
		if !ok || !known {
			return false
		}
		if set.Elements, ok = d.of(elements); !ok {
			return false
		}
		short.Sets[name] = set
	}
	return true
}

// of are the elements of a set that differs so from its base.
func (d Difference) of(base []Element) (elements []Element, ok bool) {
	if len(d.Gone)+len(d.Come) == 0 {
		return base, true
	}
	elements = make([]Element, 0, len(base)+len(d.Come))
	gone, come := d.Gone, d.Come
	for len(gone)+len(come) > 0 {
		removes := len(come) == 0 || len(gone) > 0 && gone[0].Compare(come[0]) < 0
		next := come
		if removes {
			next = gone
		}
		i, found := slices.BinarySearchFunc(base, next[0], Element.Compare)
		if found != removes {
			return nil, false
		}
		elements, base = append(elements, base[:i]...), base[i:]
		if removes {
			base, gone = base[1:], gone[1:]
		} else {
			elements, come = append(elements, come[0]), come[1:]
		}
	}
	return append(elements, base...), true
}
