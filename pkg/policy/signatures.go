package policy

import (
	"regexp"
	"slices"
	"strings"
)

// headerName is a token of RFC 3261 section 25.1, in lower case.
var headerName = regexp.MustCompile("^[a-z0-9.!%*_+`'~-]+$")

func (c *checker) signatures(whole *file) Signatures {
	f := whole.Signatures
	s := Signatures{
		Engine:  c.engine(f.Engine),
		Presets: []string{"scanners"},
		Except:  c.words(f.Except, "signature"),
	}
	if f.Presets != nil {
		s.Presets = c.words(*f.Presets, "signature list")
		for i, name := range s.Presets {
			if name != "" && !slices.Contains(c.available.SignatureLists, name) {
				c.mistake((*f.Presets)[i], "there is no signature list %q: the lists are %s", name, strings.Join(c.available.SignatureLists, ", "))
			}
		}
	}
	first := map[string]int{}
	for i, deny := range f.Deny {
		signature := c.signature(deny, whole.place("signatures", "deny", i))
		if line := first[signature.Name]; line > 0 && signature.Name != "" {
			c.mistake(deny.Name, "signature %q is already there in line %d: give one of them another name", signature.Name, line)
		}
		first[signature.Name] = deny.Name.line
		s.Deny = append(s.Deny, signature)
	}
	return s
}

func (c *checker) engine(s scalar) Engine {
	if e := Engine(s.text); slices.Contains([]Engine{EngineBPF, EngineXTString}, e) && !slices.Contains(c.available.Engines, e) {
		c.mistake(s, "engine %s is not there in this version: write auto or off", e)
		return EngineAuto
	}
	words := []string{string(EngineAuto), string(EngineOff)}
	for _, e := range c.available.Engines {
		words = append(words, string(e))
	}
	return Engine(choice(c, s, "signatures.engine", words...))
}

func (c *checker) signature(f signatureFile, at scalar) Signature {
	s := Signature{Name: f.Name.text, Header: strings.ToLower(f.Header.text)}
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
	if f.Name.written() {
		at = f.Name
	}
	if !providerName.MatchString(s.Name) {
		c.mistake(at, "a signature needs a name of lower-case letters, digits and hyphens")
	}
	if !headerName.MatchString(s.Header) {
		c.mistake(at, "a signature needs the header that it looks at, such as header: user-agent")
	}
	switch {
	case len(written) != 1:
		c.mistake(at, "a signature needs one of contains, prefix and exact")
	case strings.TrimSpace(s.Value) == "":
		c.mistake(written[0], "an empty %s matches everybody: write what the scanner sends", s.Match)
	case strings.ContainsAny(s.Value, "\r\n"):
		c.mistake(written[0], "a header's value has no line break: remove it")
	}
	return s
}
