package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shown writes a rule of another program as nft would, from its expressions. It is for
// people: what it does not know stands there by its name and attributes, in brackets.
func shown(list []expression, anonymous map[string]observedSet) string {
	r := rewriting{anonymous: anonymous, registers: map[uint64]*loaded{}}
	for _, e := range list {
		if !r.expression(e) {
			r.parts = append(r.parts, "["+e.String()+"]")
		}
	}
	return strings.Join(r.parts, " ")
}

// loaded is what a register holds: a thing that a packet has, or a constant.
type loaded struct {
	text  string
	kind  valueKind
	value []byte // of a constant
	mask  []byte // nil if all of it counts
	xor   []byte
}

// rewriting goes through the expressions of a rule.
type rewriting struct {
	anonymous map[string]observedSet
	parts     []string
	registers map[uint64]*loaded
	order     []uint64 // the registers in the order in which they were loaded
	// network and transport are the headers that the rule has compared already. implied is
	// the comparison that nft leaves out if the next thing is in that header.
	network, transport, implied string
	// lower is the lower end of a range, if the last expression has compared that.
	lower *lowerEnd
}

// lowerEnd is one end of a range: nft compares each on its own.
type lowerEnd struct {
	register uint64
	of       *loaded
	text     string
	value    string
}

// slot numbers registers by 32 bits: there are two names for each.
func slot(register uint64) uint64 {
	if register >= unix.NFT_REG32_00 {
		return register - unix.NFT_REG32_00
	}
	return (register - unix.NFT_REG_1) * 4
}

func (r *rewriting) load(register uint64, l loaded) bool {
	s := slot(register)
	r.order = append(slices.DeleteFunc(r.order, func(o uint64) bool { return o == s }), s)
	r.registers[s] = &l
	return true
}

func (r *rewriting) say(words ...string) bool {
	r.parts = append(r.parts, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	return true
}

// key is what is in a register, and in those behind it that were loaded together with it.
func (r *rewriting) key(register uint64) (*loaded, string) {
	first := r.registers[slot(register)]
	if first == nil {
		return &loaded{}, ""
	}
	texts := []string{}
	for _, s := range r.order {
		if s >= slot(register) {
			texts = append(texts, r.registers[s].text)
		}
	}
	r.order = nil
	return first, strings.Join(texts, " . ")
}

func (r *rewriting) expression(e expression) bool {
	if e.name != "cmp" {
		r.lower = nil
	}
	switch e.name {
	case "meta":
		return r.meta(e)
	case "ct":
		return r.ct(e)
	case "payload":
		return r.payload(e)
	case "fib":
		return r.fib(e)
	case "cmp":
		return r.compare(e)
	case "range":
		return r.between(e)
	case "bitwise":
		return r.bitwise(e)
	case "lookup":
		return r.lookup(e)
	case "immediate":
		return r.immediate(e)
	case "dynset":
		return r.dynset(e)
	case "objref":
		return r.say(strings.TrimSpace(objectWords[e.number(unix.NFTA_OBJREF_IMM_TYPE)]+" name"), strconv.Quote(e.text(unix.NFTA_OBJREF_IMM_NAME)))
	case "log":
		return r.log(e)
	case "limit":
		return r.limit(e)
	case "byteorder":
		return true
	case "match", "target":
		// Numbers 1 of both are their names.
		return r.say("xt", e.name, strconv.Quote(e.text(unix.NFTA_MATCH_NAME)))
	}
	word, ok := actions[e.name]
	return ok && r.say(word)
}

// actions are expressions that a word says enough of.
var actions = map[string]string{
	"counter": "counter", "reject": "reject", "notrack": "notrack", "masq": "masquerade", "redir": "redirect",
	"queue": "queue", "synproxy": "synproxy", "quota": "quota", "tproxy": "tproxy", "dup": "dup", "fwd": "fwd",
	"flow_offload": "flow add",
}

var objectWords = map[uint64]string{
	unix.NFT_OBJECT_COUNTER: "counter", unix.NFT_OBJECT_QUOTA: "quota", unix.NFT_OBJECT_CT_HELPER: "ct helper set",
	unix.NFT_OBJECT_LIMIT: "limit", unix.NFT_OBJECT_SYNPROXY: "synproxy", unix.NFT_OBJECT_SECMARK: "meta secmark set",
}

func (r *rewriting) meta(e expression) bool {
	key, ok := metaKeys[e.number(unix.NFTA_META_KEY)]
	if !ok {
		return false
	}
	if len(attribute(e.data, unix.NFTA_META_SREG)) > 0 {
		l, text := r.key(e.number(unix.NFTA_META_SREG))
		return r.say("meta", strings.TrimPrefix(key.text, "meta "), "set", l.assigned(text, key.kind))
	}
	return r.load(e.number(unix.NFTA_META_DREG), loaded{text: key.text, kind: key.kind})
}

func (r *rewriting) ct(e expression) bool {
	key, ok := ctKeys[e.number(unix.NFTA_CT_KEY)]
	if !ok {
		return false
	}
	if len(attribute(e.data, unix.NFTA_CT_SREG)) > 0 {
		l, text := r.key(e.number(unix.NFTA_CT_SREG))
		return r.say(key.text, "set", l.assigned(text, key.kind))
	}
	return r.load(e.number(unix.NFTA_CT_DREG), loaded{text: key.text, kind: key.kind})
}

// payload reads a part of a header. A comparison that only says which header that is goes,
// as in nft.
func (r *rewriting) payload(e expression) bool {
	if len(attribute(e.data, unix.NFTA_PAYLOAD_SREG)) > 0 {
		return false
	}
	base, offset, length := e.number(unix.NFTA_PAYLOAD_BASE), e.number(unix.NFTA_PAYLOAD_OFFSET), e.number(unix.NFTA_PAYLOAD_LEN)
	header, ok := "th", false
	switch base {
	case unix.NFT_PAYLOAD_LL_HEADER:
		header = "ether"
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		header = r.network
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		if r.transport != "" {
			header = r.transport
		}
	}
	key, ok := headerFields[field{header, offset, length}]
	if !ok && base == unix.NFT_PAYLOAD_TRANSPORT_HEADER {
		key, ok = headerFields[field{"th", offset, length}]
		key.text = strings.ReplaceAll(key.text, "th ", header+" ")
	}
	if !ok {
		short := map[uint64]string{unix.NFT_PAYLOAD_LL_HEADER: "@ll", unix.NFT_PAYLOAD_NETWORK_HEADER: "@nh", unix.NFT_PAYLOAD_TRANSPORT_HEADER: "@th"}[base]
		if short == "" {
			return false
		}
		key.text, key.kind = fmt.Sprintf("%s,%d,%d", short, offset*8, length*8), bitsOf
	} else {
		r.leaveOut(header)
	}
	r.implied = ""
	return r.load(e.number(unix.NFTA_PAYLOAD_DREG), loaded{text: key.text, kind: key.kind})
}

// leaveOut takes back what a thing in a header implies.
func (r *rewriting) leaveOut(header string) {
	n := len(r.parts)
	if n == 0 || r.implied == "" || r.parts[n-1] != r.implied || header == "th" || strings.HasPrefix(r.implied, "iiftype") != (header == "ether") {
		return
	}
	r.parts = r.parts[:n-1]
	family := map[string]string{"icmp": "meta nfproto ipv4", "icmpv6": "meta nfproto ipv6"}[header]
	if n > 1 && r.parts[n-2] == family {
		r.parts = r.parts[:n-2]
	}
}

func (r *rewriting) fib(e expression) bool {
	var flags []string
	for _, f := range fibFlags {
		if e.number(unix.NFTA_FIB_FLAGS)&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	result, ok := fibResults[e.number(unix.NFTA_FIB_RESULT)]
	if !ok {
		return false
	}
	text := "fib " + strings.Join(flags, " . ") + " " + result.text
	return r.load(e.number(unix.NFTA_FIB_DREG), loaded{text: text, kind: result.kind})
}

func (r *rewriting) compare(e expression) bool {
	register, op, value := e.number(unix.NFTA_CMP_SREG), e.number(unix.NFTA_CMP_OP), e.compared()
	low := r.lower
	r.lower = nil
	if low != nil && low.register == register && op == unix.NFT_CMP_LTE {
		r.parts = r.parts[:len(r.parts)-1]
		return r.say(low.text, low.value+"-"+low.of.kind.write(value))
	}
	l, text := r.key(register)
	if text == "" {
		return false
	}
	zero := len(bytes.Trim(value, "\x00")) == 0
	switch {
	case l.mask != nil && l.kind.flags() && zero && op == unix.NFT_CMP_NEQ:
		return r.say(text, l.kind.write(l.mask)) // any of these
	case l.mask != nil && l.kind.prefix() && prefixLength(l.mask) >= 0:
		return r.say(text, operators[op], fmt.Sprintf("%s/%d", l.kind.write(value), prefixLength(l.mask)))
	case l.mask != nil && l.kind == tcpFlags && op != unix.NFT_CMP_LT:
		return r.say(text, operators[op], l.kind.write(value), "/", l.kind.write(l.mask))
	case l.mask != nil:
		// What is compared with a part needs the sign of equality.
		sign := operators[op]
		if sign == "" {
			sign = "=="
		}
		return r.say(text, "&", l.kind.write(l.mask), sign, l.kind.write(value))
	case l.kind == bothPorts && len(value) == 4:
		source, destination, _ := strings.Cut(text, " . ")
		return r.say(source, operators[op], decimal.write(value[:2]), destination, operators[op], decimal.write(value[2:]))
	case strings.HasSuffix(text, " oif") && strings.HasPrefix(text, "fib") && zero && op == unix.NFT_CMP_EQ:
		return r.say(text, "missing")
	}
	words := l.kind.write(value)
	r.say(text, operators[op], words)
	switch op {
	case unix.NFT_CMP_EQ:
		r.learn(text, words)
	case unix.NFT_CMP_GTE:
		r.lower = &lowerEnd{register, l, text, words}
	}
	return true
}

// learn takes in which headers a packet has.
func (r *rewriting) learn(text, words string) {
	switch text {
	case "meta nfproto", "meta l4proto", "iiftype":
		r.implied = r.parts[len(r.parts)-1]
	}
	switch text {
	case "meta nfproto":
		r.network = map[string]string{"ipv4": "ip", "ipv6": "ip6"}[words]
	case "meta l4proto":
		r.transport = words
		if words == "ipv6-icmp" {
			r.transport = "icmpv6"
		}
	}
}

func (r *rewriting) between(e expression) bool {
	l, text := r.key(e.number(unix.NFTA_RANGE_SREG))
	from, to := rangeEnd(e, unix.NFTA_RANGE_FROM_DATA), rangeEnd(e, unix.NFTA_RANGE_TO_DATA)
	sign := ""
	if e.number(unix.NFTA_RANGE_OP) == unix.NFT_RANGE_NEQ {
		sign = "!="
	}
	return text != "" && r.say(text, sign, l.kind.write(from)+"-"+l.kind.write(to))
}

func rangeEnd(e expression, kind uint16) []byte {
	outer := attribute(e.data, kind)
	return attribute(outer, unix.NFTA_DATA_VALUE)
}

func (r *rewriting) bitwise(e expression) bool {
	l := r.registers[slot(e.number(unix.NFTA_BITWISE_SREG))]
	mask := e.value(unix.NFTA_BITWISE_MASK)
	if l == nil || e.number(nftaBitwiseOp) != 0 || len(mask) == 0 {
		return false
	}
	masked := *l
	masked.mask, masked.xor = bytes.Clone(mask), bytes.Clone(e.value(unix.NFTA_BITWISE_XOR))
	return r.load(e.number(unix.NFTA_BITWISE_DREG), masked)
}

// assigned writes what is put somewhere: a constant, or a thing of the packet with some
// bits cleared and others set.
func (l *loaded) assigned(text string, kind valueKind) string {
	if l.value != nil {
		return kind.write(l.value)
	}
	if len(l.mask) == 4 && len(l.xor) == 4 {
		mask, xor := binary.NativeEndian.Uint32(l.mask), binary.NativeEndian.Uint32(l.xor)
		if mask != allBits {
			text += fmt.Sprintf(" & 0x%08x", mask)
		}
		switch {
		case xor != 0 && xor&mask == 0:
			text += fmt.Sprintf(" | 0x%08x", xor)
		case xor != 0:
			text += fmt.Sprintf(" ^ 0x%08x", xor)
		}
	}
	return text
}

func (r *rewriting) lookup(e expression) bool {
	l, text := r.key(e.number(unix.NFTA_LOOKUP_SREG))
	if text == "" {
		return false
	}
	name, sign, word := e.text(unix.NFTA_LOOKUP_SET), "", ""
	if e.number(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0 {
		sign = "!="
	}
	content := "@" + name
	if set, ok := r.anonymous[name]; ok {
		content = l.kind.elements(set)
	}
	if register := attribute(e.data, unix.NFTA_LOOKUP_DREG); len(register) > 0 {
		if number(register) != unix.NFT_REG_VERDICT {
			return r.load(number(register), loaded{text: text + " map " + content, kind: bitsOf})
		}
		word = "vmap"
	}
	return r.say(text, sign, word, content)
}
