package nft

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// The attributes of sets that golang.org/x/sys/unix lacks, from
// linux/netfilter/nf_tables.h.
const (
	nftaSetObjType         = 15
	nftaSetExpr            = 17
	nftaSetExpressions     = 18
	nftaSetElemKeyEnd      = 10
	nftaSetElemExpressions = 11
	elementIsCatchAll      = 2
)

// set is a set as the kernel lists it, before its elements.
type set struct {
	ruleset.Set
	name      string
	keyType   uint32
	anonymous bool
}

// sets reads all sets of the table with the elements of those whose elements
// are part of the state.
func (o *observation) sets(ctx context.Context) error {
	var list []set
	if err := o.reader.dump(ctx, unix.NFT_MSG_GETSET, func(b []byte) {
		list = append(list, setOf(b))
	}, ofTable()); err != nil {
		return err
	}
	for _, s := range list {
		if !s.Dynamic {
			points, err := o.reader.elements(ctx, s.name)
			if err != nil {
				return fmt.Errorf("of set %s: %w", s.name, err)
			}
			s.Elements = joined(points, s.Set)
			if s.anonymous {
				o.anonymous[s.name] = anonymousOf(s)
			}
		}
		if !s.anonymous {
			o.state.Sets[s.name] = s.Set
		}
	}
	return nil
}

func setOf(b []byte) set {
	var s set
	var foreign []string
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_SET_NAME:
			s.name = text(value)
		case unix.NFTA_SET_FLAGS:
			bits := number(value)
			s.anonymous = bits&unix.NFT_SET_ANONYMOUS != 0
			s.Interval = bits&unix.NFT_SET_INTERVAL != 0
			s.Timeout = bits&unix.NFT_SET_TIMEOUT != 0
			s.Dynamic = bits&unix.NFT_SET_EVAL != 0
			known := uint64(unix.NFT_SET_INTERVAL | unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL)
			if s.anonymous {
				known |= unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT
			}
			if bits &^= known; bits != 0 {
				foreign = append(foreign, fmt.Sprintf("flags 0x%x", bits))
			}
		case unix.NFTA_SET_KEY_TYPE:
			s.keyType = uint32(number(value))
			s.Key = keyOf(s.keyType)
		case unix.NFTA_SET_DESC:
			size := attribute(value, unix.NFTA_SET_DESC_SIZE)
			s.Size = uint32(number(size))
		case unix.NFTA_SET_POLICY:
			if number(value) != unix.NFT_SET_POL_PERFORMANCE {
				foreign = append(foreign, "policy memory")
			}
		case unix.NFTA_SET_TIMEOUT, unix.NFTA_SET_GC_INTERVAL, unix.NFTA_SET_DATA_TYPE,
			nftaSetObjType, nftaSetExpr, nftaSetExpressions:
			foreign = append(foreign, fmt.Sprintf("%s 0x%s", setAttributes[kind], hex.EncodeToString(value)))
		}
	}
	s.Foreign = strings.Join(append(foreign, comment(b, unix.NFTA_SET_USERDATA, userdata.NFTNL_UDATA_SET_COMMENT)...), ", ")
	if s.anonymous {
		s.Size = 0 // a constant set tells its own number of elements here
	}
	return s
}

var setAttributes = map[uint16]string{
	unix.NFTA_SET_TIMEOUT: "timeout", unix.NFTA_SET_GC_INTERVAL: "gc-interval", unix.NFTA_SET_DATA_TYPE: "map to type",
	nftaSetObjType: "map to object", nftaSetExpr: "expression", nftaSetExpressions: "expressions",
}

func keyOf(keyType uint32) ruleset.Key {
	for key, t := range keyTypes {
		if t.GetNFTMagic() == keyType {
			return key
		}
	}
	return ruleset.Key(fmt.Sprintf("type %d", keyType))
}

// point is an element as the kernel lists it. In an interval set that is one
// end of an interval.
type point struct {
	key     []byte
	end     bool // the address behind the interval's last
	timeout time.Duration
	expires time.Duration
	comment string
	// counter is what the element has counted, nil if it does not count.
	counter *expr.Counter
	foreign string // with the comment
	data    []byte // to which a map leads
}

// elements dumps the elements of a set.
func (r *reader) elements(ctx context.Context, name string) ([]point, error) {
	return r.elementsOf(ctx, ruleset.Table, name)
}

// elementsNow does the same, again if a change interrupts it.
func (r *reader) elementsNow(ctx context.Context, name string) (points []point, err error) {
	err = steadily(func() error {
		points, err = r.elements(ctx, name)
		return err
	})
	return points, err
}

// elementsOf dumps the elements of a set of any table of the family.
func (r *reader) elementsOf(ctx context.Context, table, name string) ([]point, error) {
	var points []point
	err := r.dump(ctx, unix.NFT_MSG_GETSETELEM, func(b []byte) {
		for element := range elementsIn(b) {
			points = append(points, pointOf(element))
		}
	}, textAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, table), textAttribute(unix.NFTA_SET_ELEM_LIST_SET, name))
	return points, err
}

// elementsIn walks over the elements that an answer has.
func elementsIn(answer []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, element := range attributes(attribute(answer, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			if !yield(element) {
				return
			}
		}
	}
}

func pointOf(b []byte) point {
	var p point
	var foreign []string
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			key := attribute(value, unix.NFTA_DATA_VALUE)
			p.key = slices.Clone(key)
		case unix.NFTA_SET_ELEM_FLAGS:
			bits := number(value)
			p.end = bits&unix.NFT_SET_ELEM_INTERVAL_END != 0
			if bits&elementIsCatchAll != 0 {
				foreign = append(foreign, "*")
			}
		case unix.NFTA_SET_ELEM_TIMEOUT:
			p.timeout = time.Duration(number(value)) * time.Millisecond
		case unix.NFTA_SET_ELEM_EXPIRATION:
			p.expires = time.Duration(number(value)) * time.Millisecond
		case unix.NFTA_SET_ELEM_DATA:
			p.data = slices.Clone(attribute(value, unix.NFTA_DATA_VALUE))
			foreign = append(foreign, fmt.Sprintf("attribute %d = 0x%s", kind, hex.EncodeToString(value)))
		case unix.NFTA_SET_ELEM_EXPR, unix.NFTA_SET_ELEM_OBJREF, nftaSetElemKeyEnd, nftaSetElemExpressions:
			foreign = append(foreign, fmt.Sprintf("attribute %d = 0x%s", kind, hex.EncodeToString(value)))
			if kind == unix.NFTA_SET_ELEM_EXPR {
				p.counter = expressionOf(value).counter()
			}
		case unix.NFTA_SET_ELEM_USERDATA:
			p.comment, _ = userdata.GetString(value, commentOf)
			foreign = append(foreign, comment(b, kind, commentOf)...)
		}
	}
	p.foreign = strings.Join(foreign, ", ")
	return p
}

// joined makes elements of points, in canonical order.
func joined(points []point, s ruleset.Set) []ruleset.Element {
	var elements []ruleset.Element
	if s.Interval {
		elements = joinIntervals(points)
	} else {
		elements = make([]ruleset.Element, 0, len(points))
		for _, p := range points {
			elements = append(elements, plainElement(p))
		}
	}
	slices.SortFunc(elements, ruleset.Element.Compare)
	return elements
}

func plainElement(p point) ruleset.Element {
	e := ruleset.Element{Timeout: p.timeout, Foreign: p.foreign}
	if addr, ok := addressOf(p.key); ok {
		e.From, e.To = addr, addr
	} else if len(p.key) == 2 {
		e.Port = binary.BigEndian.Uint16(p.key)
	} else if len(p.key) == 8 && protocolOf(p.key[:1]) != "" {
		e.Protocol, e.Port = protocolOf(p.key[:1]), binary.BigEndian.Uint16(p.key[4:])
	} else if len(p.key) > 0 {
		e.Foreign = strings.TrimPrefix(e.Foreign+", key 0x"+hex.EncodeToString(p.key), ", ")
	}
	return e
}

// joinIntervals pairs the starts of intervals with their ends. The kernel lists
// them highest first, an end without a start below everything (0.0.0.0, which
// nft adds) and a start without an end for an interval up to the last address.
func joinIntervals(points []point) []ruleset.Element {
	slices.SortFunc(points, func(a, b point) int {
		if c := slices.Compare(a.key, b.key); c != 0 {
			return c
		}
		switch { // where one interval touches the next, the end comes first
		case a.end == b.end:
			return 0
		case a.end:
			return -1
		}
		return 1
	})
	var elements []ruleset.Element
	for i, p := range points {
		if p.end {
			continue
		}
		e := plainElement(p)
		if e.From.IsValid() {
			e.To = lastOf(e.From.BitLen())
			if i+1 < len(points) {
				if next, ok := addressOf(points[i+1].key); ok {
					e.To = next.Prev()
				}
			}
		}
		elements = append(elements, e)
	}
	return elements
}

func lastOf(bits int) netip.Addr {
	last, _ := netip.AddrFromSlice(slices.Repeat([]byte{0xff}, bits/8))
	return last
}

func anonymousOf(s set) observedSet {
	o := observedSet{elements: s.Elements, text: anonymousText(s.keyType, s.Interval, elementTexts(s.Elements))}
	if s.Foreign != "" || s.Timeout || s.Dynamic {
		o.text += " " + s.Foreign + " " + s.Flags()
	}
	return o
}
