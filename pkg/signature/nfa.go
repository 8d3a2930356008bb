package signature

import (
	"cmp"
	"maps"
	"slices"
)

// The NFA. At each byte of a message it is in a set of positions. One of them is the
// kind of line that the byte is in. The others are nodes of tries: there is one trie
// for the names of headers, and two for the values of each header, one for the
// beginning of the value and one for text anywhere in it.
type position int32

// The positions that are not nodes.
const (
	ended   position = iota // after the empty line that ends the headers
	newLine                 // before the first byte of a line that begins a header
	inLine                  // in a header; anything may follow
	broken                  // after a header's line break: white space continues the header
	blank                   // after the carriage return of a line that may be empty
	inRequest
	firstNode
)

// stance is the relation of a position to its node.
type stance int32

const (
	at        stance = iota // the node's last byte was the last that counts
	behind                  // white space followed a name, or a value that must end
	atBreak                 // as at, and the line has ended
	pastBreak               // as behind, and the line has ended
	stances   = 4
	blankByte = ' ' // stands for all white space in a trie
)

// node is one byte of a name or value, together with all bytes before it.
type node struct {
	next map[byte]int
	kind nodeKind
	root bool // no byte yet: a value begins here
	// space is set if the node's byte is white space, which more white space may
	// follow.
	space bool
	// header is the header whose name ends here.
	header string
	// here lists the signatures whose value ends here; ends lists those whose value
	// must be the whole value of the header.
	here, ends []int
	// allowed is set if a required User-Agent ends here.
	allowed bool
}

type nodeKind uint8

const (
	name       nodeKind = iota
	beginning           // a trie for the beginning of a value
	anywhere            // a trie for text anywhere in a value
	ofRequest           // as beginning, for the request line
	inRequests          // as anywhere, for the request line
)

// nfa is the whole NFA.
type nfa struct {
	nodes []node
	names int
	// values maps the long name of a header to the tries of its values.
	values map[string]tries
}

// tries are the roots of the tries for a header's values; 0 is none.
type tries struct{ beginning, anywhere int }

// newNFA makes the NFA of signatures, which must be valid, and required User-Agents.
func newNFA(list []Signature, required []string) *nfa {
	n := &nfa{nodes: make([]node, 1), values: map[string]tries{}}
	n.names = n.add(name)
	for i, s := range list {
		end := n.value(s)
		switch s.Match {
		case Exact:
			n.nodes[end].ends = append(n.nodes[end].ends, i)
		default:
			n.nodes[end].here = append(n.nodes[end].here, i)
		}
	}
	for _, r := range required {
		n.nodes[n.value(Signature{Header: userAgent, Match: Prefix, Value: r})].allowed = true
	}
	for _, header := range slices.Sorted(maps.Keys(n.values)) {
		if header == RequestLine {
			continue
		}
		for _, form := range forms(header) {
			n.nodes[n.path(n.names, form)].header = header
		}
	}
	return n
}

func (n *nfa) add(kind nodeKind) int {
	n.nodes = append(n.nodes, node{kind: kind, next: map[byte]int{}})
	return len(n.nodes) - 1
}

// path returns the node for a text, and makes the missing nodes.
func (n *nfa) path(from int, text string) int {
	for i := range len(text) {
		to, ok := n.nodes[from].next[text[i]]
		if !ok {
			to = n.add(n.nodes[from].kind)
			n.nodes[to].space = text[i] == blankByte
			n.nodes[from].next[text[i]] = to
		}
		from = to
	}
	return from
}

// value returns the node at which the signature's value ends.
func (n *nfa) value(s Signature) int {
	of, kinds := header(s.Header), [2]nodeKind{beginning, anywhere}
	if s.isRequestLine() {
		of, kinds = RequestLine, [2]nodeKind{ofRequest, inRequests}
	}
	roots := n.values[of]
	root, kind := &roots.beginning, kinds[0]
	if s.Match == Contains {
		root, kind = &roots.anywhere, kinds[1]
	}
	if *root == 0 {
		*root = n.add(kind)
		n.nodes[*root].root = true
	}
	n.values[of] = roots
	return n.path(*root, normal(s.Value))
}

func where(node int, s stance) position { return firstNode + position(node*stances) + position(s) }

func (p position) node() int      { return int(p-firstNode) / stances }
func (p position) stance() stance { return stance(p-firstNode) % stances }

// enter returns the positions before the first byte of a header's value.
func (n *nfa) enter(to []position, header string) []position {
	roots := n.values[header]
	for _, root := range []int{roots.beginning, roots.anywhere} {
		if root != 0 {
			to = append(to, where(root, at))
		}
	}
	return to
}

// start returns the positions before the first byte of the request line.
func (n *nfa) start() []position { return n.enter([]position{inRequest}, RequestLine) }

// step returns the positions after a byte, sorted.
func (n *nfa) step(from []position, b byte, to []position) []position {
	b = fold(b)
	to = to[:0]
	for _, p := range from {
		switch p {
		case ended:
			to = append(to, ended)
		case newLine:
			to = n.lineStep(to, b)
		case broken:
			if isBlank(b) {
				to = append(to, inLine)
			} else {
				to = n.lineStep(to, b)
			}
		case blank:
			if b == '\n' {
				return append(to[:0], ended)
			}
		case inLine:
			if b == '\n' {
				to = append(to, broken)
			} else {
				to = append(to, inLine)
			}
		case inRequest:
			if b == '\n' {
				to = append(to, newLine)
			} else {
				to = append(to, inRequest)
			}
		default:
			to = n.nodeStep(to, p, b)
		}
	}
	slices.SortFunc(to, cmp.Compare[position])
	return slices.Compact(to)
}

// lineStep reads the first byte of a line. White space there continues a header, except
// in the first line.
func (n *nfa) lineStep(to []position, b byte) []position {
	switch next, ok := n.nodes[n.names].next[b]; {
	case b == '\n':
		return append(to, ended)
	case b == '\r':
		return append(to, inLine, blank)
	case ok:
		return append(to, inLine, where(next, at))
	}
	return append(to, inLine)
}

func (n *nfa) nodeStep(to []position, p position, b byte) []position {
	index, stands := p.node(), p.stance()
	x := &n.nodes[index]
	if stands == atBreak || stands == pastBreak {
		// Only a header is continued by a line that begins with white space; the
		// request line is not.
		if isBlank(b) && x.kind != ofRequest && x.kind != inRequests {
			to = append(to, where(index, stands-atBreak))
		}
		return to
	}
	switch x.kind {
	case name:
		if x.header != "" && b == ':' {
			return n.enter(to, x.header)
		}
		if isBlank(b) && (x.header != "" || stands == behind) {
			return append(to, where(index, behind))
		}
		if next, ok := x.next[b]; ok && stands == at {
			to = append(to, where(next, at))
		}
		return to
	case ofRequest, inRequests:
		if b == '\n' {
			if len(x.ends) > 0 {
				to = append(to, where(index, pastBreak))
			}
			return to
		}
	case beginning, anywhere:
		if b == '\n' {
			for _, q := range n.spaceStep(nil, index, stands) {
				to = append(to, q+position(atBreak))
			}
			return to
		}
	}
	if isSpace(b) {
		return n.spaceStep(to, index, stands)
	}
	if stands == at {
		if next, ok := x.next[b]; ok {
			to = append(to, where(next, at))
		}
		if x.root && (x.kind == anywhere || x.kind == inRequests) {
			to = append(to, p)
		}
	}
	return to
}

// spaceStep reads white space inside a value.
func (n *nfa) spaceStep(to []position, index int, stands stance) []position {
	x := &n.nodes[index]
	if stands == behind {
		return append(to, where(index, behind))
	}
	if next, ok := x.next[blankByte]; ok {
		to = append(to, where(next, at))
	}
	if x.space || x.root {
		to = append(to, where(index, at))
	}
	if len(x.ends) > 0 {
		to = append(to, where(index, behind))
	}
	return to
}
