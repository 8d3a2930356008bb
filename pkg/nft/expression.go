package nft

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// expression is one expression of a rule as the kernel has it: its name and
// its attributes, by type.
type expression struct {
	name string
	data []byte // attributes
}

// nested are the attributes that hold attributes, by expression. In all others
// the bytes are a value.
var nested = map[string][]uint16{
	"cmp":       {unix.NFTA_CMP_DATA},
	"bitwise":   {unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR},
	"immediate": {unix.NFTA_IMMEDIATE_DATA},
}

// String is the expression in a canonical form: two expressions do the same to
// every packet if their texts are equal. It removes what differs between an
// expression as it is written and as it is read back:
//
//	lookup    the id that finds a set in its batch; flags 0 are the default
//	dynset    the same; no timeout is the default
//	bitwise   operation 0 (mask and xor) is the default
//	dynset    what its elements keep, as an expression of its own; a counter without values
//	objref    the name ends in NUL or does not
//	verdict   the bit that marks nested attributes (removed by attributes)
func (e expression) String() string {
	var parts []string
	for kind, value := range attributes(e.data) {
		switch {
		case e.name == "lookup" && (kind == unix.NFTA_LOOKUP_SET_ID || kind == unix.NFTA_LOOKUP_FLAGS && number(value) == 0):
			continue
		case e.name == "dynset" && (kind == unix.NFTA_DYNSET_SET_ID || (kind == unix.NFTA_DYNSET_FLAGS || kind == unix.NFTA_DYNSET_TIMEOUT) && number(value) == 0):
			continue
		case e.name == "bitwise" && kind == nftaBitwiseOp && number(value) == 0:
			continue
		case e.name == "lookup" && kind == unix.NFTA_LOOKUP_SET, e.name == "objref" && kind == unix.NFTA_OBJREF_IMM_NAME,
			e.name == "dynset" && kind == unix.NFTA_DYNSET_SET_NAME:
			parts = append(parts, fmt.Sprintf("%d=%s", kind, text(value)))
		case e.name == "dynset" && kind == unix.NFTA_DYNSET_EXPR:
			parts = append(parts, fmt.Sprintf("%d={%s}", kind, expressionOf(value).kept()))
		case slices.Contains(nested[e.name], kind):
			parts = append(parts, fmt.Sprintf("%d={%s}", kind, nestedText(value, true)))
		default:
			parts = append(parts, fmt.Sprintf("%d=0x%s", kind, hex.EncodeToString(value)))
		}
	}
	slices.Sort(parts)
	return strings.TrimSpace(e.name + " " + strings.Join(parts, " "))
}

// nestedText writes the attributes of a value; those of a verdict, which is
// nested once more, in braces of their own.
func nestedText(b []byte, outer bool) string {
	var parts []string
	for kind, value := range attributes(b) {
		if outer && kind == unix.NFTA_DATA_VERDICT {
			parts = append(parts, fmt.Sprintf("%d={%s}", kind, nestedText(value, false)))
		} else {
			parts = append(parts, fmt.Sprintf("%d=0x%s", kind, hex.EncodeToString(value)))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// nftaBitwiseOp is NFTA_BITWISE_OP of linux/netfilter/nf_tables.h, which
// golang.org/x/sys/unix lacks.
const nftaBitwiseOp = 6

// expressions reads the expressions of a rule, NFTA_RULE_EXPRESSIONS.
func expressions(b []byte) []expression {
	var list []expression
	for _, element := range attributes(b) {
		list = append(list, expressionOf(element))
	}
	return list
}

func expressionOf(b []byte) expression {
	name := attribute(b, unix.NFTA_EXPR_NAME)
	data := attribute(b, unix.NFTA_EXPR_DATA)
	return expression{text(name), data}
}

// kept is what each element of a set keeps, without what it has counted.
func (e expression) kept() string {
	if e.name == counterName {
		return e.name
	}
	return e.String()
}

// counterName is the name of an anonymous counter.
const counterName = "counter"

func (e expression) number(kind uint16) uint64 {
	value := attribute(e.data, kind)
	return number(value)
}

func (e expression) text(kind uint16) string {
	value := attribute(e.data, kind)
	return text(value)
}

// compared reads the value that a comparison compares with.
func (e expression) compared() []byte { return e.value(unix.NFTA_CMP_DATA) }

func (e expression) value(kind uint16) []byte {
	outer := attribute(e.data, kind)
	inner := attribute(outer, unix.NFTA_DATA_VALUE)
	return inner
}
