package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/ringfence/ringfence/pkg/feed"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/source"
)

// ReadProvider reads and checks a file about a provider. The name of the
// provider is that of the file, without folder and ending. The error is
// policy.Mistakes that hold everything that is wrong.
func ReadProvider(file string, data []byte) (Provider, error) {
	p := Provider{Name: nameOf(file)}
	c := checker{}
	if err := yaml.Load(data, &c.root); err != nil {
		c.yamlMistakes(err)
	} else if err := c.root.Load(&p, yaml.WithKnownFields()); err != nil {
		c.yamlMistakes(err)
	} else {
		c.provider(p)
	}
	if len(c.mistakes) == 0 {
		return p, nil
	}
	for i := range c.mistakes {
		c.mistakes[i].File = file
	}
	return p, c.mistakes.Sorted()
}

// checker gathers what is wrong with a file.
type checker struct {
	root     yaml.Node
	mistakes policy.Mistakes
}

// mistake reports what is wrong at a path of keys and list indexes.
func (c *checker) mistake(path []any, format string, args ...any) {
	at := policy.NodeAt(&c.root, path...)
	c.mistakes = append(c.mistakes, policy.Mistake{Line: max(at.Line, 1), Col: max(at.Column, 1), Text: fmt.Sprintf(format, args...)})
}

func at(path ...any) []any { return path }

var unknownField = expression(`(?s)^field (.*) not found in type (\S+)$`)

const providerKeys = "title, kind, parameters (name, means, example), registrars, addresses, list (url, format), records, ports, media, source, checked, confidence, caveat"

// yamlMistakes rewrites the YAML library's errors for people who write data.
func (c *checker) yamlMistakes(err error) {
	var all []*yaml.LoadError
	if several, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		all = several.Errors
	} else if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		all = append(all, one)
	} else {
		c.mistakes = append(c.mistakes, policy.Mistake{Line: 1, Col: 1, Text: "not YAML: " + err.Error()})
	}
	for _, e := range all {
		text := "not YAML: " + strings.TrimSpace(e.Message+" "+e.ContextMsg)
		if found := unknownField().FindStringSubmatch(e.Message); found != nil {
			text = fmt.Sprintf("unknown key %q: known are %s", found[1], providerKeys)
		} else if strings.Contains(e.Message, "cannot construct") {
			text = "a list, a text or keys stand where something else belongs: see the shipped files for the form"
		} else if strings.Contains(e.Message, "no documents") {
			text = "the file is empty"
		} else if strings.Contains(e.Message, "already defined") {
			text = e.Message
		}
		c.mistakes = append(c.mistakes, policy.Mistake{Line: max(e.Mark.Line, 1), Col: max(e.Mark.Column, 1), Text: text})
	}
}

var (
	plainName = expression(`^[a-z0-9-]+$`)
	host      = expression(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$`)
	label     = expression(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	variable  = expression(`\{([^{}]*)\}`)
)

func (c *checker) provider(p Provider) {
	if !plainName().MatchString(p.Name) {
		c.mistake(at(), "the file's name is the preset's name: use lower-case letters, digits and hyphens only, not %q", p.Name)
	}
	for key, text := range map[string]string{
		"title": p.Title, "ports": p.Ports, "media": p.Media, "source": p.Source, "caveat": p.Caveat,
	} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			c.mistake(at(key), "%s: write one line of text", key)
		}
	}
	if p.Title == "" {
		c.mistake(at("title"), "title is missing: write the provider's name as people know it")
	}
	c.kind(p)
	c.parameters(p)
	c.registrars(p)
	c.addresses(p.Addresses)
	c.list(p.List)
	for i, record := range p.Records {
		if !slices.Contains([]string{"A", "AAAA", "SRV", "NAPTR"}, record) || slices.Index(p.Records, record) < i {
			c.mistake(at("records", i), "records: write each of A, AAAA, SRV and NAPTR at most once")
		}
	}
	c.provenance(p)
}

func (c *checker) kind(p Provider) {
	names, addresses := len(p.Registrars) > 0, len(p.Addresses) > 0 || p.List != nil
	want := map[Kind]bool{
		ByName:           names && !addresses && len(p.Parameters) == 0,
		ByNameAndAddress: names && addresses && len(p.Parameters) == 0,
		ByAddress:        addresses && !names,
		Template:         len(p.Parameters) > 0,
	}
	agrees, known := want[p.Kind]
	switch {
	case !known:
		c.mistake(at("kind"), "kind is %q: write dns, dns+cidr, cidr or template", p.Kind)
	case !names && !addresses:
		c.mistake(at("kind"), "there are neither registrars nor addresses: add some")
	case !agrees:
		c.mistake(at("kind"), "kind is %q, which does not agree with the rest: dns has registrars, cidr has addresses, dns+cidr has both, template has parameters", p.Kind)
	case !names && len(p.Records) > 0:
		c.mistake(at("records"), "records are those of names, and there are none")
	}
}

func (c *checker) parameters(p Provider) {
	for i, parameter := range p.Parameters {
		first := slices.IndexFunc(p.Parameters, func(other policy.Parameter) bool { return other.Name == parameter.Name })
		switch {
		case !plainName().MatchString(parameter.Name):
			c.mistake(at("parameters", i), "a parameter needs a name of lower-case letters, digits and hyphens")
		case first < i:
			c.mistake(at("parameters", i), "parameter %q is already there", parameter.Name)
		case parameter.Means == "" || !label().MatchString(parameter.Example):
			c.mistake(at("parameters", i), "parameter %q needs means, which says what to write, and an example of lower-case letters, digits and hyphens", parameter.Name)
		case !strings.Contains(strings.Join(p.Registrars, " "), "{"+parameter.Name+"}"):
			c.mistake(at("parameters", i), "no registrar uses {%s}", parameter.Name)
		}
	}
}

func (c *checker) registrars(p Provider) {
	for i, text := range p.Registrars {
		name := text
		for _, found := range variable().FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(p.Parameters, func(known policy.Parameter) bool { return known.Name == found[1] }) {
				c.mistake(at("registrars", i), "%q: there is no parameter %q", text, found[1])
			}
			name = strings.ReplaceAll(name, found[0], "x")
		}
		switch {
		case !host().MatchString(name):
			c.mistake(at("registrars", i), "%q is no domain name in lower case, such as sip.example.net, or {trunk}.example.net with a parameter", text)
		case slices.Index(p.Registrars, text) < i:
			c.mistake(at("registrars", i), "%q is already listed: remove one", text)
		}
	}
}

func (c *checker) addresses(list []string) {
	var good []netip.Prefix
	for i, text := range list {
		prefix, err := policy.ParsePrefix(text)
		around := slices.IndexFunc(good, func(other netip.Prefix) bool { return other.Overlaps(prefix) })
		switch {
		case err != nil || prefix.Addr().Is4In6():
			c.mistake(at("addresses", i), "%q is no address or prefix: write one such as 203.0.113.5, 203.0.113.0/24 or 2001:db8::/48", text)
			continue
		case prefix != prefix.Masked():
			c.mistake(at("addresses", i), "%s has bits behind its length: write %s", text, prefix.Masked())
		case feed.Unfit(prefix) != "":
			c.mistake(at("addresses", i), "%s %s", text, feed.Unfit(prefix))
		case around >= 0:
			c.mistake(at("addresses", i), "%s overlaps %s, which is listed too: remove the smaller one", text, good[around])
		}
		good = append(good, prefix)
	}
}

func (c *checker) list(l *policy.List) {
	if l == nil {
		return
	}
	u, err := url.Parse(l.URL)
	if err != nil || u.Scheme != "https" || !host().MatchString(u.Hostname()) || u.User != nil || u.Fragment != "" {
		c.mistake(at("list", "url"), "%q is no address of a list: write one such as https://www.example.net/addresses.json", l.URL)
	}
	if err := feed.CheckFormat(l.Format); err != nil {
		c.mistake(at("list", "format"), "format: %v", err)
	}
}

func (c *checker) provenance(p Provider) {
	if !strings.Contains(p.Source, "https://") && !strings.Contains(p.Source, "http://") {
		c.mistake(at("source"), "source is missing: write where the data stands, with its URL")
	}
	if _, err := time.Parse(time.DateOnly, p.Checked); err != nil {
		c.mistake(at("checked"), "checked is %q: write the day when the data was last compared with its source, such as \"2026-11-22\"", p.Checked)
	}
	if !p.Confidence.Valid() {
		c.mistake(at("confidence"), "confidence is %q: write high (read where the provider publishes it), medium (a good source at second hand) or low", p.Confidence)
	} else if p.Confidence == source.Low && p.Caveat == "" {
		c.mistake(at("confidence"), "with low confidence a caveat must say why")
	}
}
