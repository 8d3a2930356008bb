package ruleset

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Rule is one rule. Two rules are equal if their texts are. A rule that ringfence can
// write has exactly one text, in nft's syntax; any other rule has a text in brackets.
type Rule struct {
	text       string
	statements []Statement
	shown      string // for people, "" if that is the text
}

// NewRule makes a rule of statements, from left to right.
func NewRule(statements ...Statement) Rule {
	texts := make([]string, len(statements))
	for i, s := range statements {
		texts[i] = s.String()
	}
	return Rule{text: strings.Join(texts, " "), statements: statements}
}

// ForeignRule is an observed rule that ringfence cannot have written. text describes
// its expressions; it is put in brackets.
func ForeignRule(text string) Rule { return Rule{text: "[" + text + "]"} }

// ShownAs is the rule with another text for people: that of a foreign rule is made to be
// compared.
func (r Rule) ShownAs(text string) Rule {
	r.shown = text
	return r
}

// Shown is the rule for people, in nft's syntax as far as that is known.
func (r Rule) Shown() string { return cmp.Or(r.shown, r.text) }

// String is the rule's canonical text.
func (r Rule) String() string { return r.text }

// Statements returns the statements of the rule, nil for a foreign rule.
func (r Rule) Statements() []Statement {
	if r.statements == nil {
		return parse(r.text)
	}
	return r.statements
}

// MarshalText writes the rule's canonical text.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// WithSets returns the rule with the names of sets replaced as the map says.
func (r Rule) WithSets(names map[string]string) Rule {
	var statements []Statement
	changed := false
	for _, statement := range r.Statements() {
		other, replaced := withSet(statement, names)
		statements, changed = append(statements, other), changed || replaced
	}
	if !changed {
		return r
	}
	return NewRule(statements...)
}

// UnmarshalText reads what MarshalText wrote.
func (r *Rule) UnmarshalText(text []byte) error {
	*r = Rule{text: string(text)}
	return nil
}

// Statement is one match or action of a rule. String is its nft syntax; two
// statements with the same text are the same.
type Statement interface {
	fmt.Stringer
	statement()
}

// Passive is a statement that every packet passes, and after which the rest of its rule is
// the same as without it: it notes something for people. pkg/judge passes over these.
type Passive interface {
	Statement
	passive()
}

// InInterface matches the interface by which a packet came in. A trailing * in the name
// makes it a prefix.
type InInterface struct {
	Name string
	Not  bool
}

func (s InInterface) String() string {
	if s.Name == loopback {
		return fmt.Sprintf("iif %s%q", not(s.Not), s.Name)
	}
	return fmt.Sprintf("iifname %s%q", not(s.Not), s.Name)
}

// loopback has the same index in every network namespace, so it is matched by that,
// which costs less.
const loopback = "lo"

// Source matches the source address against a named set, or against its own prefixes if
// In is not empty.
type Source struct {
	V6  bool
	Not bool // only with Set
	Set string
	In  []netip.Prefix
}

// IPv6Packet matches IPv6 packets. A table of family inet gets both families.
type IPv6Packet struct{}

func (IPv6Packet) String() string { return "meta nfproto ipv6" }

func family(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

func (s Source) String() string {
	family := family(s.V6)
	if len(s.In) == 0 {
		return fmt.Sprintf("%s saddr %s@%s", family, not(s.Not), s.Set)
	}
	elements := Merged(s.In)
	texts := make([]string, len(elements))
	for i, e := range elements {
		texts[i] = e.String()
	}
	return fmt.Sprintf("%s saddr { %s }", family, strings.Join(texts, ", "))
}

// ReversePathMissing matches a packet if no route to its source address leaves by the
// interface that it came in by.
type ReversePathMissing struct{}

func (ReversePathMissing) String() string { return "fib saddr . iif oif missing" }

// SourceNetwork matches a source address in one prefix.
type SourceNetwork struct{ netip.Prefix }

func (s SourceNetwork) String() string {
	return fmt.Sprintf("%s saddr %s", family(s.Addr().Is6()), PrefixText(s.Prefix))
}

// Protocol is a transport protocol, by nft's name.
type Protocol string

// The protocols that carry SIP, or could.
const (
	UDP     Protocol = "udp"
	TCP     Protocol = "tcp"
	SCTP    Protocol = "sctp"
	DCCP    Protocol = "dccp"
	UDPLite Protocol = "udplite"
)

// FirstFragment matches an IPv6 packet with a fragment header that begins the
// whole one.
type FirstFragment struct{}

func (FirstFragment) String() string { return "frag frag-off 0" }

// HasTransport matches a packet whose transport protocol is known. It is not known for
// an IPv6 fragment if the chain of extension headers continues in the next fragment.
// (255 is reserved: no packet has it.)
type HasTransport struct{}

func (HasTransport) String() string { return "meta l4proto != 255" }

// Destination matches the transport protocol with the destination port, against a named
// set or, if In is not empty, against ports of its own. It finds the protocol behind IPv6
// extension headers too, which a match on the next header does not.
type Destination struct {
	Set string
	In  []Element // sorted
}

func (s Destination) String() string {
	if len(s.In) == 0 {
		return "meta l4proto . th dport @" + s.Set
	}
	texts := make([]string, len(s.In))
	for i, e := range s.In {
		texts[i] = e.String()
	}
	return "meta l4proto . th dport { " + strings.Join(texts, ", ") + " }"
}

// Connection matches the state of connection tracking for the packet. A rule with it
// enables connection tracking in the whole network namespace.
type Connection string

// The matches that ringfence uses.
const (
	Translated Connection = "ct status dnat"        // its destination was translated
	Original   Connection = "ct direction original" // in the direction of the first packet
	Reply      Connection = "ct direction reply"    // in the direction of the reply
)

func (s Connection) String() string { return string(s) }

// Payload matches a text anywhere in the packet, in any case of its letters. Only iptables
// has it, and nft has no syntax for it.
type Payload string

func (s Payload) String() string { return fmt.Sprintf("payload contains %q", string(s)) }

// Count adds the packet to a named counter.
type Count string

func (s Count) String() string { return fmt.Sprintf("counter name %q", string(s)) }

// Verdict ends the evaluation of a packet or continues it in another chain.
type Verdict struct {
	Kind  VerdictKind
	Chain string // for Jump and Goto
}

// VerdictKind is a verdict, by nft's name.
type VerdictKind string

// The verdicts that ringfence uses.
const (
	Accept VerdictKind = "accept"
	Drop   VerdictKind = "drop"
	Jump   VerdictKind = "jump"
	Goto   VerdictKind = "goto"
	Return VerdictKind = "return"
)

func (s Verdict) String() string {
	if s.Chain == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + " " + s.Chain
}

func (InInterface) statement()        {}
func (IPv6Packet) statement()         {}
func (SourceNetwork) statement()      {}
func (FirstFragment) statement()      {}
func (HasTransport) statement()       {}
func (Mark) statement()               {}
func (SetMark) statement()            {}
func (Unicast) statement()            {}
func (Ban) statement()                {}
func (Source) statement()             {}
func (ReversePathMissing) statement() {}
func (Destination) statement()        {}
func (Connection) statement()         {}
func (Payload) statement()            {}
func (Count) statement()              {}
func (Verdict) statement()            {}

func not(n bool) string {
	if n {
		return "!= "
	}
	return ""
}
