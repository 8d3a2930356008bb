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
	ended         position = iota // behind the empty line that ends the headers
	newLine                       // before the first byte of a line that begins a header
	inLine                        // in a header, and anything may follow
	broken                        // behind a header's line feed: white space goes on with it
	blank                         // behind the carriage return of a line that may be empty
	inRequest                     // in the request line
	returned                      // behind a header's carriage return, which a line feed may follow
	requestReturn                 // the same of the request line
	firstNode
)

// stance is the relation of a position to its node.
type stance int32

const (
	at         stance = iota // the node's last byte was the last that counts
	behind                   // white space followed a name, or a value that must end
	atBreak                  // as at, and the line has ended
	pastBreak                // as behind, and the line has ended
	atReturn                 // as at, and behind a carriage return
	pastReturn               // as behind, and behind a carriage return
	stances    = 6
	blankByte  = ' ' // stands for all white space in a trie
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
	// here lists the parts whose value ends here; ends lists those whose value must
	// be the whole value of the header.
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

// newNFA makes the NFA of parts of signatures and required User-Agents.
func newNFA(list []part, required []string) *nfa {
	n := &nfa{nodes: make([]node, 1), values: map[string]tries{}}
	n.names = n.add(name)
	for i, s := range list {
		end := n.value(s.Condition)
		switch s.Match {
		case Exact:
			n.nodes[end].ends = append(n.nodes[end].ends, i)
		default:
			n.nodes[end].here = append(n.nodes[end].here, i)
		}
	}
	for _, r := range required {
		n.nodes[n.value(Condition{userAgent, Prefix, r})].allowed = true
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

// value returns the node at which the condition's value ends.
func (n *nfa) value(c Condition) int {
	of, kinds := header(c.Header), [2]nodeKind{beginning, anywhere}
	if c.isRequestLine() {
		of, kinds = RequestLine, [2]nodeKind{ofRequest, inRequests}
	}
	roots := n.values[of]
	root, kind := &roots.beginning, kinds[0]
	if c.Match == Contains {
		root, kind = &roots.anywhere, kinds[1]
	}
	if *root == 0 {
		*root = n.add(kind)
		n.nodes[*root].root = true
	}
	n.values[of] = roots
	return n.path(*root, normal(c.Value))
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

// step returns the positions after a byte, sorted. Behind a carriage return that no line
// feed follows, a header may go on, as Kamailio reads it, or another may begin, as pjsip
// does: both are followed, until the name of another header that signatures are about is
// over.
func (n *nfa) step(from []position, b byte, to []position) []position {
	b = fold(b)
	to = to[:0]
	enters := b == ':' && slices.ContainsFunc(from, n.endsName)
	for _, p := range from {
		if enters && n.isValue(p) {
			continue
		}
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
		case blank, returned, requestReturn:
			to = n.returnStep(to, p, b)
		case inLine:
			to = append(to, lineOr(b, inLine, broken, returned))
		case inRequest:
			to = append(to, lineOr(b, inRequest, newLine, requestReturn))
		default:
			to = n.nodeStep(to, p, b)
		}
	}
	slices.SortFunc(to, cmp.Compare[position])
	return slices.Compact(to)
}

// endsName reports whether a colon behind a position begins the value of a header.
func (n *nfa) endsName(p position) bool {
	return p >= firstNode && p.stance() < atBreak && n.nodes[p.node()].kind == name && n.nodes[p.node()].header != ""
}

// isValue reports whether a position is in the value of a header.
func (n *nfa) isValue(p position) bool {
	return p >= firstNode && (n.nodes[p.node()].kind == beginning || n.nodes[p.node()].kind == anywhere)
}

// lineOr is the position behind a byte in a line: the line itself, or its break.
func lineOr(b byte, line, feed, carriageReturn position) position {
	switch b {
	case '\n':
		return feed
	case '\r':
		return carriageReturn
	}
	return line
}

// returnStep reads the byte behind a carriage return. Without a line feed, that was a
// line break by itself, but none that makes an empty line.
func (n *nfa) returnStep(to []position, p position, b byte) []position {
	switch {
	case b == '\n' && p == blank:
		return append(to, ended)
	case b == '\n' && p == requestReturn:
		return append(to, newLine)
	case b == '\n':
		return append(to, broken)
	case b == '\r' && p == requestReturn:
		return append(to, requestReturn)
	case b == '\r':
		return append(to, returned)
	}
	return n.lineStep(to, b)
}

// lineStep reads the first byte of a header's line, which white space is not
// unless it is the first line of all.
func (n *nfa) lineStep(to []position, b byte) []position {
	switch next, ok := n.nodes[n.names].next[b]; {
	case b == '\n':
		return append(to, ended)
	case b == '\r':
		return append(to, blank)
	case ok:
		return append(to, inLine, where(next, at))
	}
	return append(to, inLine)
}

func (n *nfa) nodeStep(to []position, p position, b byte) []position {
	index, stands := p.node(), p.stance()
	x := &n.nodes[index]
	if stands >= atBreak {
		return n.breakStep(to, p, b)
	}
	switch x.kind {
	case name:
		if x.header != "" && b == ':' {
			return n.enter(to, x.header)
		}
		if isBlank(b) && (x.header != "" || stands == behind) {
			return append(to, where(index, behind))
		}
		if x.header != "" && (b == '\n' || b == '\r') {
			// pjsip lets a line go on before the colon, too.
			return append(to, where(index, at)+lineOr(b, 0, position(pastBreak), position(pastReturn)))
		}
		if next, ok := x.next[b]; ok && stands == at {
			to = append(to, where(next, at))
		}
		return to
	case ofRequest, inRequests:
		if b == '\n' || b == '\r' {
			if len(x.ends) > 0 {
				to = append(to, where(index, pastBreak))
			}
			return to
		}
	case beginning, anywhere:
		if b == '\n' || b == '\r' {
			for _, q := range n.spaceStep(nil, index, stands) {
				to = append(to, q+lineOr(b, 0, position(atBreak), position(atReturn)))
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

// breakStep reads the byte behind a line break. Only a line that begins with white space
// goes on with the header, and none goes on with the request line.
func (n *nfa) breakStep(to []position, p position, b byte) []position {
	index, stands := p.node(), p.stance()
	kind := n.nodes[index].kind
	switch {
	case kind == ofRequest || kind == inRequests:
	case isBlank(b):
		to = append(to, where(index, stands%atBreak))
	case stands >= atReturn && b == '\r':
		to = append(to, p)
	case stands >= atReturn && b == '\n':
		to = append(to, where(index, stands-atReturn+atBreak))
	case stands >= atReturn && kind != name:
		to = n.nodeStep(to, where(index, stands%atBreak), b)
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
