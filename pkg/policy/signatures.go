package policy

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// headerName is a token of RFC 3261 section 25.1, in lower case.
var headerName = expression("^[a-z0-9.!%*_+`'~-]+$")

// longestName is the size limit of the kernel's counters.
const longestName = 64

func (c *checker) signatures(whole *file) Signatures {
	f := whole.Signatures
	s := Signatures{
		Engine:  c.engine(f.Engine),
		Presets: []string{"scanners"},
		Except:  c.words(f.Except, "signature"),
		Mark:    c.mark(f.Mark),
	}
	if s.Engine == EngineString && !strings.HasPrefix(whole.Backend.text, string(BackendIPTables)) {
		c.mistake(f.Engine, "signatures.engine: string needs iptables, and nftables has no such match: write backend: iptables, or engine: auto")
	}
	if f.Presets != nil {
		s.Presets = c.words(*f.Presets, "signature list")
		for i, name := range s.Presets {
			if name != "" && !slices.Contains(c.available.SignatureLists, name) {
				c.mistake((*f.Presets)[i], "there is no signature list %q: the lists are %s", name, strings.Join(c.available.SignatureLists, ", "))
			}
		}
	}
	if c.available.Signatures != nil {
		for i, name := range s.Except {
			if name != "" && !slices.Contains(c.available.Signatures, name) {
				c.mistake(f.Except[i], "there is no signature %q in any list", name)
				c.mistakes[len(c.mistakes)-1].See = SeeSignatures
			}
		}
	}
	first := map[string]int{}
	for i, deny := range f.Deny {
		signature := c.signature(deny, whole, "signatures", "deny", i)
		if slices.Contains(c.available.Signatures, signature.Name) && !slices.Contains(s.Except, signature.Name) {
			c.mistake(deny.Name, "signature %q is already in a list: give it another name, or leave the other one out under except", signature.Name)
		}
		if line := first[signature.Name]; line > 0 && signature.Name != "" {
			c.mistake(deny.Name, "signature %q is already used in line %d: give one of them another name", signature.Name, line)
		}
		first[signature.Name] = deny.Name.line
		s.Deny = append(s.Deny, signature)
	}
	return s
}

func (c *checker) engine(s scalar) Engine {
	words := []string{string(EngineAuto), string(EngineOff)}
	for _, e := range c.available.Engines {
		words = append(words, string(e))
	}
	if e := Engine(s.text); slices.Contains([]Engine{EngineBPF, EngineString}, e) && !slices.Contains(c.available.Engines, e) {
		c.mistake(s, "this version has no engine %s: write %s", e, strings.Join(words, " or "))
		return EngineAuto
	}
	return Engine(choice(&c.scalars, s, "signatures.engine", words...))
}

const defaultMark = 0x0f000000

func (c *checker) mark(s scalar) uint32 {
	if s.text == "" {
		return defaultMark
	}
	mark, err := strconv.ParseUint(s.text, 0, 32)
	if err != nil || mark == 0 || mark>>bits.TrailingZeros64(mark) != 0xf {
		c.mistake(s, "signatures.mark is %q: write four bits of the 32 of a packet's mark, next to each other, as 0x%08x", s.text, defaultMark)
		return defaultMark
	}
	return uint32(mark)
}

func (c *checker) signature(f signatureFile, whole *file, path ...any) Signature {
	s := Signature{Name: f.Name.text}
	at := whole.place(path...)
	if f.Name.written() {
		at = f.Name
	}
	if !providerName().MatchString(s.Name) || len(s.Name) > longestName {
		c.mistake(at, "a signature needs a name of at most %d lower-case letters, digits and hyphens", longestName)
	}
	one := conditionFile{f.Header, f.Contains, f.Prefix, f.Exact}
	if f.All == nil {
		s.Conditions = []Condition{c.condition(one, at)}
		return s
	}
	if one != (conditionFile{}) {
		c.mistake(at, "a signature has either all, or a header with one of contains, prefix and exact")
	}
	if n := len(*f.All); NodeAt(whole.root, append(path, "all")...).Kind != yaml.SequenceNode {
		return s // it is a mistake already that this is no list
	} else if n == 0 || n > mostConditions {
		c.mistake(whole.place(append(path, "all")...), "a signature has from 1 to %d conditions under all, such as {header: user-agent, exact: VOIP}", mostConditions)
		return s
	}
	for i, condition := range *f.All {
		s.Conditions = append(s.Conditions, c.condition(condition, whole.place(append(path, "all", i)...)))
	}
	return s
}

// mostConditions is how many conditions one signature may have; all of them together
// are bounded by pkg/signature.
const mostConditions = 8

func (c *checker) condition(f conditionFile, at scalar) Condition {
	s := Condition{Header: strings.ToLower(f.Header.text)}
	var written []scalar
	for _, m := range []struct {
		match Match
		value scalar
	}{{Contains, f.Contains}, {Prefix, f.Prefix}, {Exact, f.Exact}} {
		if m.value.written() {
			written = append(written, m.value)
			s.Match, s.Value = m.match, m.value.text
		}
	}
	if !headerName().MatchString(s.Header) {
		c.mistake(at, "a signature needs the header that it is about, such as header: user-agent")
	}
	switch {
	case len(written) != 1:
		c.mistake(at, "a signature needs one of contains, prefix and exact")
	case strings.TrimSpace(s.Value) == "":
		c.mistake(written[0], "an empty %s matches every message: write what the scanner sends", s.Match)
	case strings.ContainsAny(s.Value, "\r\n"):
		c.mistake(written[0], "a header's value has no line break: remove it")
	case strings.TrimSpace(s.Value) != s.Value:
		c.mistake(written[0], "white space at the ends of a header's value does not count: remove it")
	}
	return s
}
