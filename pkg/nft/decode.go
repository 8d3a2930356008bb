package nft

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// observedSet is an anonymous set as a rule's decoding needs it.
type observedSet struct {
	text     string // as anonymousText
	elements []ruleset.Element
}

// decode reads a rule. It guesses the statements from the few attributes that
// tell them apart, writes the guess again, and takes it only if every
// expression is equal: whatever ringfence would not have written in just this
// way is foreign, whether this code knows it or not. The one other way is that of a
// table which nft 1.1 has saved and loaded again.
func decode(list []expression, anonymous map[string]observedSet) ruleset.Rule {
	observed := canonical(list, anonymous)
	if statements, ok := guess(list, anonymous); ok {
		if written, err := rewrite(statements); err == nil && (written == observed || saved(statements) == observed) {
			return ruleset.NewRule(statements...)
		}
	}
	return ruleset.ForeignRule(observed).ShownAs(shown(list, anonymous))
}

const betweenExpressions = "] ["

// canonical writes expressions with the content of anonymous sets in the place
// of their names, which the kernel makes up.
func canonical(list []expression, anonymous map[string]observedSet) string {
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = e.String()
		if e.name == "lookup" {
			if set, ok := anonymous[e.text(unix.NFTA_LOOKUP_SET)]; ok {
				texts[i] += " " + set.text
				texts[i] = strings.Replace(texts[i], fmt.Sprintf("%d=%s", unix.NFTA_LOOKUP_SET, e.text(unix.NFTA_LOOKUP_SET)), "anonymous", 1)
			}
		}
	}
	return strings.Join(texts, betweenExpressions)
}

// rewrite encodes statements and writes the result as canonical does.
func rewrite(statements []ruleset.Statement) (string, error) {
	all, err := encodeRule(statements)
	if err != nil {
		return "", err
	}
	return canonicalOf(statements, all)
}

func canonicalOf(statements []ruleset.Statement, all []encoded) (string, error) {
	var texts []string
	for i, e := range all {
		for _, x := range e.exprs {
			data, err := expr.MarshalExprData(unix.NFPROTO_INET, x)
			if err != nil {
				return "", fmt.Errorf("encode %q: %w", statements[i], err)
			}
			written := expression{expressionName(x), data}
			one := []expression{written}
			if lookup, ok := x.(*expr.Lookup); ok && lookup.SetName == "" && e.set != nil {
				texts = append(texts, canonical(one, map[string]observedSet{"": {text: e.set.text}}))
			} else {
				texts = append(texts, canonical(one, nil))
			}
		}
	}
	return strings.Join(texts, betweenExpressions), nil
}

func expressionName(x expr.Any) string {
	switch x.(type) {
	case *expr.Meta:
		return "meta"
	case *expr.Cmp:
		return "cmp"
	case *expr.Payload:
		return "payload"
	case *expr.Lookup:
		return "lookup"
	case *expr.Fib:
		return "fib"
	case *expr.Ct:
		return "ct"
	case *expr.Bitwise:
		return "bitwise"
	case *expr.Objref:
		return "objref"
	case *expr.Exthdr:
		return "exthdr"
	case *expr.Dynset:
		return "dynset"
	case *expr.Log:
		return "log"
	case *expr.Verdict:
		return "immediate"
	}
	return fmt.Sprintf("%T", x)
}

// guess reads statements off expressions by the shape that encode gives them.
func guess(list []expression, anonymous map[string]observedSet) ([]ruleset.Statement, bool) {
	var statements []ruleset.Statement
	for len(list) > 0 {
		s, n := guessOne(list, anonymous)
		if s == nil || n > len(list) {
			return nil, false
		}
		statements, list = append(statements, s), list[n:]
	}
	return statements, len(statements) > 0
}

// guessOne returns the first statement and how many expressions it takes.
func guessOne(list []expression, anonymous map[string]observedSet) (ruleset.Statement, int) {
	at := func(i int) expression {
		if i < len(list) {
			return list[i]
		}
		return expression{}
	}
	switch first := list[0]; first.name {
	case "meta":
		return guessMeta(first.number(unix.NFTA_META_KEY), at, anonymous)
	case "payload":
		if first.number(unix.NFTA_PAYLOAD_BASE) == unix.NFT_PAYLOAD_TRANSPORT_HEADER {
			if first.number(unix.NFTA_PAYLOAD_OFFSET) < portsSize {
				return guessOtherPort(first, at)
			}
			return guessText(first, at(1)), 2
		}
		return guessPeer(at, 0)
	case "fib":
		if first.number(unix.NFTA_FIB_RESULT) == unix.NFT_FIB_RESULT_ADDRTYPE {
			return ruleset.Unicast{}, 2
		}
		return ruleset.ReversePathMissing{}, 2
	case "ct":
		if first.number(unix.NFTA_CT_KEY) == unix.NFT_CT_STATUS {
			return ruleset.Translated, 3
		}
		if value := at(1).compared(); len(value) == 1 && value[0] == 0 {
			return ruleset.Original, 2
		}
		return ruleset.Reply, 2
	case "log":
		return ruleset.Log(first.text(unix.NFTA_LOG_PREFIX)), 1
	case "objref":
		return ruleset.Count(first.text(unix.NFTA_OBJREF_IMM_NAME)), 1
	case "immediate":
		return guessVerdict(first), 1
	}
	return nil, 0
}

// guessFamily reads what only names the family, or asks for fragments of it. It returns 0
// for something else.
func guessFamily(at func(int) expression) (ruleset.Statement, int) {
	switch {
	case at(2).name == "exthdr":
		return ruleset.FirstFragment{}, 5
	case at(2).name != "payload":
		return ruleset.IPv6Packet{}, 2
	case at(2).number(unix.NFTA_PAYLOAD_OFFSET) == fragmentField && at(3).name == "bitwise":
		return ruleset.Fragment{}, 5
	}
	return nil, 0
}

func guessMeta(key uint64, at func(int) expression, anonymous map[string]observedSet) (ruleset.Statement, int) {
	value := at(1).compared()
	switch key {
	case unix.NFT_META_IIFNAME:
		name := string(value)
		if len(value) == unix.IFNAMSIZ {
			name = strings.TrimRight(name, "\x00")
		} else {
			name += "*"
		}
		return ruleset.InInterface{Name: name, Not: at(1).number(unix.NFTA_CMP_OP) == unix.NFT_CMP_NEQ}, 2
	case unix.NFT_META_IIF:
		return ruleset.InInterface{Name: "lo", Not: at(1).number(unix.NFTA_CMP_OP) == unix.NFT_CMP_NEQ}, 2
	case unix.NFT_META_NFPROTO:
		if s, n := guessFamily(at); n > 0 {
			return s, n
		}
		v6 := len(value) == 1 && value[0] == unix.NFPROTO_IPV6
		if at(3).name == "cmp" || at(3).name == "bitwise" {
			return guessSourceNetwork(v6, at)
		}
		source := sourceAddress(v6)
		if at(3).name != "lookup" || at(2).number(unix.NFTA_PAYLOAD_OFFSET) != uint64(source.Offset) {
			return guessPeer(at, 2)
		}
		s := ruleset.Source{
			V6:  v6,
			Not: at(3).number(unix.NFTA_LOOKUP_FLAGS) == unix.NFT_LOOKUP_F_INV,
			Set: at(3).text(unix.NFTA_LOOKUP_SET),
		}
		if set, ok := anonymous[s.Set]; ok {
			s.Set = ""
			for _, e := range set.elements {
				s.In = append(s.In, e.Prefixes()...)
			}
		}
		return s, 4
	case unix.NFT_META_MARK:
		return guessMark(at(1), at(2)), 3
	case unix.NFT_META_L4PROTO:
		if at(1).name == "cmp" && at(1).number(unix.NFTA_CMP_OP) == unix.NFT_CMP_NEQ {
			return ruleset.HasTransport{}, 2
		}
		if at(1).name == "cmp" {
			return guessTransport(protocolOf(value), at)
		}
		if at(1).number(unix.NFTA_PAYLOAD_OFFSET) == 0 {
			return ruleset.SourcePort{Set: at(2).text(unix.NFTA_LOOKUP_SET)}, 3
		}
		d := ruleset.Destination{Set: at(2).text(unix.NFTA_LOOKUP_SET)}
		if set, ok := anonymous[d.Set]; ok {
			d = ruleset.Destination{In: set.elements}
		}
		return d, 3
	}
	return nil, 0
}

// guessMark reads what compares a part of the mark, or writes one.
func guessMark(bitwise, then expression) ruleset.Statement {
	word := func(b []byte) uint32 {
		if len(b) != 4 {
			return 0
		}
		return binary.NativeEndian.Uint32(b)
	}
	mask, xor := word(bitwise.value(unix.NFTA_BITWISE_MASK)), word(bitwise.value(unix.NFTA_BITWISE_XOR))
	if then.name == "meta" {
		bits := ruleset.MarkBits(^mask)
		return ruleset.SetMark{Bits: bits, Class: bits.Class(xor)}
	}
	bits := ruleset.MarkBits(mask)
	return ruleset.Mark{
		Bits: bits, Class: bits.Class(word(then.compared())),
		Not: then.number(unix.NFTA_CMP_OP) == unix.NFT_CMP_NEQ,
	}
}

func protocolOf(key []byte) ruleset.Protocol {
	for protocol, n := range protocolNumbers {
		if len(key) == 1 && key[0] == n {
			return protocol
		}
	}
	return ""
}

func guessVerdict(e expression) ruleset.Statement {
	data := attribute(e.data, unix.NFTA_IMMEDIATE_DATA)
	verdict := attribute(data, unix.NFTA_DATA_VERDICT)
	code := attribute(verdict, unix.NFTA_VERDICT_CODE)
	chain := attribute(verdict, unix.NFTA_VERDICT_CHAIN)
	for kind, n := range verdicts {
		if int32(number(code)) == int32(n) {
			return ruleset.Verdict{Kind: kind, Chain: text(chain)}
		}
	}
	return nil
}
