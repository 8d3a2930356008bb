package policy

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

var providerName = expression(`^[a-z0-9-]+$`)

func (c *checker) providers(whole *file, allowed *allowList) []Provider {
	var providers []Provider
	first := map[string]int{}
	asked := serversOf{}
	for i, f := range whole.Providers {
		p := Provider{Name: f.Name.text}
		at := f.Name
		if !f.Name.written() {
			p.Name, at = f.Preset.text, f.Preset
		}
		if !at.written() {
			at = whole.place("providers", i)
		}
		switch {
		case p.Name == "":
			c.mistake(at, "a provider without a name: add name, in lower-case letters, digits and hyphens")
		case !providerName().MatchString(p.Name):
			c.mistake(at, "provider name %q: use lower-case letters, digits and hyphens only", p.Name)
		case first[p.Name] > 0:
			c.mistake(at, "provider %q is already used in line %d: give one of them another name", p.Name, first[p.Name])
		default:
			first[p.Name] = at.line
		}
		c.preset(f, whole.place("providers", i, "with"), &p, allowed)
		p.DNS = c.nameServers(f.DNS)
		c.words(f.Registrars, "registrar")
		for _, s := range f.Registrars {
			if r, ok := c.registrar(s); ok {
				p.Registrars = append(p.Registrars, r)
				c.askedElsewhere(asked, r, s, p.DNS)
				if r.Address.IsValid() {
					*allowed = append(*allowed, placed{netip.PrefixFrom(r.Address, r.Address.BitLen()), s})
				}
			}
		}
		for _, a := range c.allowedAddresses(f.Addresses, allowed, false) {
			p.Addresses = append(p.Addresses, Address{a, "addresses"})
		}
		if !f.Preset.written() && p.Name != "" && len(f.Registrars)+len(f.Addresses) == 0 && !whole.noList("providers", i) {
			c.mistake(at, "provider %q has neither preset nor registrars nor addresses: add one of them", p.Name)
		}
		providers = append(providers, p)
	}
	return providers
}

// serversOf says which name servers a registrar is asked for at, and where.
type serversOf map[string]struct {
	servers []netip.AddrPort
	line    int
}

// askedElsewhere reports a registrar that another provider has too, with other name
// servers: one name has one answer.
func (c *checker) askedElsewhere(asked serversOf, r Registrar, at scalar, servers []netip.AddrPort) {
	before, ok := asked[r.Host]
	switch {
	case r.Host == "":
	case !ok:
		before.servers, before.line = servers, at.line
		asked[r.Host] = before
	case !slices.Equal(before.servers, servers):
		c.mistake(at, "registrar %q is asked for at other name servers than in line %d: give both providers the same dns", r.Host, before.line)
	}
}

func (c *checker) trusted(f trustedFile, allowed *allowList) Trusted {
	var t Trusted
	c.words(f.Hosts, "host")
	for _, s := range f.Hosts {
		if s.text == "" {
			continue
		}
		if _, err := netip.ParseAddr(s.text); err == nil {
			c.mistake(s, "%q is an address: move it to trusted.addresses", s.text)
		} else if name, ok := domainName(s.text); !ok {
			c.mistake(s, "%q is not a host name: write one like office.example.org", s.text)
		} else {
			t.Hosts = append(t.Hosts, name)
		}
	}
	t.Addresses = c.allowedAddresses(f.Addresses, allowed, true)
	t.Interfaces = c.interfaces(f.Interfaces, "\"*\" is every interface, and then nobody is kept out: name those of your own network", "%q is trusted anyway, for over it this host speaks with itself: leave it out")
	for _, s := range f.Asymmetric {
		if p, ok := c.prefix(s); ok {
			t.Asymmetric = append(t.Asymmetric, p)
		}
	}
	return t
}

// registrar reads a domain, a host with a port, a literal address or a SIP URI
// (RFC 3261 section 19.1.1, without headers).
func (c *checker) registrar(s scalar) (Registrar, bool) {
	r, ok := ParseRegistrar(s.text)
	if !ok && s.text != "" {
		c.mistake(s, "%q is not a registrar: write a domain (sip.example.net), an address, host:port or a SIP URI (sip:host:port)", s.text)
	}
	return r, ok
}

// ParseRegistrar reads a registrar as policies write it. It returns false if it is not
// valid.
func ParseRegistrar(text string) (Registrar, bool) {
	r := Registrar{Text: text}
	rest := text
	if scheme, after, ok := strings.Cut(text, ":"); ok && (strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")) {
		rest = after
		if i := strings.LastIndex(rest, "@"); i >= 0 {
			rest = rest[i+1:]
		}
		// Port and transport are ignored: the fence works by address.
		rest, _, _ = strings.Cut(rest, ";")
	}
	if a, ok := parseLiteral(rest); ok {
		r.Address = a.Unmap()
		return r, a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}
	host, port, hasPort := strings.Cut(rest, ":")
	if _, ok := parsePort(port); hasPort && !ok {
		return r, false
	}
	var ok bool
	r.Host, ok = domainName(host)
	return r, ok
}

// parseLiteral reads an address. An IPv6 address may be in brackets, and must be if a
// port follows.
func parseLiteral(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a, true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			a, err := netip.ParseAddr(inner)
			return a, err == nil && a.Is6()
		}
	}
	a, err := netip.ParseAddrPort(text)
	return a.Addr(), err == nil && a.Port() != 0
}

// toASCII converts an internationalised name to the form used in questions. Underscores
// are kept: they are valid in DNS, and SRV names need them.
var toASCII = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

var (
	label      = expression(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)
	allNumeric = expression(`^[0-9]+$`)
)

// domainName returns the name in ASCII and lower case, without a final dot. A name
// whose last label is a number is a mistyped address.
func domainName(text string) (string, bool) {
	name, err := toASCII.ToASCII(strings.TrimSuffix(text, "."))
	if err != nil || name == "" || len(name) > 253 {
		return "", false
	}
	name = strings.ToLower(name)
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if !label().MatchString(l) {
			return "", false
		}
	}
	return name, !allNumeric().MatchString(labels[len(labels)-1])
}
