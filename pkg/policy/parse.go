package policy

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What a policy may have at most, so that it is read in a second or two.
const (
	MaxSize    = 16 << 20 // bytes
	maxEntries = 250_000  // lines and list entries
	maxNames   = 10_000   // to ask name servers for
)

// Parse reads and checks a policy. name is the file's name, for messages. The error is
// an I/O error, or Mistakes with everything that is wrong.
func Parse(name string, r io.Reader, available Available) (*Policy, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if len(data) > MaxSize {
		return nil, Mistakes{{File: name, Line: 1, Col: 1, Text: "the policy is larger than 16 MiB: list prefixes instead of single addresses"}}
	}
	if !utf8.Valid(data) {
		return nil, Mistakes{{File: name, Line: 1, Col: 1, Text: "the policy is not UTF-8 text: save it as UTF-8"}}
	}
	if mistakes := controlCharacters(name, string(data)); len(mistakes) > 0 {
		return nil, mistakes // what YAML reports then has no useful place
	}
	if n := bytes.Count(data, []byte{'\n'}) + bytes.Count(data, []byte{','}); n > maxEntries {
		return nil, Mistakes{{File: name, Line: 1, Col: 1, Text: fmt.Sprintf("the policy has %d lines and list entries, and no more than %d are read: list prefixes instead of single addresses", n, maxEntries)}}
	}
	f, mistakes := readFile(data)
	c := checker{available: available, mistakes: mistakes}
	var p *Policy
	if f != nil {
		p = c.policy(f)
	}
	if len(c.mistakes) > 0 {
		for i := range c.mistakes {
			c.mistakes[i].File = name
		}
		return nil, c.mistakes.Sorted()
	}
	return p, nil
}

// controlCharacters finds characters that no YAML text has (YAML 1.2.2 section 5.1).
// Many of them are one mistake: the file is not text.
func controlCharacters(name, text string) Mistakes {
	const most = 10
	var mistakes Mistakes
	number := 0
	for line := range strings.Lines(text) {
		number++
		for i, r := range line {
			printable := r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r != 0x7f && (r < 0x80 || r >= 0xa0 || r == 0x85)
			if printable {
				continue
			}
			mistakes = append(mistakes, Mistake{File: name, Line: number, Col: 1 + utf8.RuneCountInString(line[:i]), Text: fmt.Sprintf("a control character (%U): remove it", r)})
			if len(mistakes) == most {
				return mistakes
			}
		}
	}
	return mistakes
}

// checker turns the file as written into a Policy and collects what is wrong.
type checker struct {
	available Available
	mistakes  Mistakes
}

func (c *checker) mistake(at scalar, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{Line: max(at.line, 1), Col: max(at.col, 1), Text: fmt.Sprintf(format, args...)})
}

func (c *checker) policy(f *file) *Policy {
	if !f.Version.written() {
		c.mistake(f.Version, "version is missing: begin the policy with \"version: 1\"")
	} else if f.Version.text != "1" {
		c.mistake(f.Version, "version %q is not known here: this ringfence reads version 1", f.Version.text)
	}
	p := &Policy{
		Monitor:    choice(c, f.Mode, "mode", "enforce", "monitor") == "monitor",
		Backend:    c.backend(f.Backend),
		Interfaces: c.interfaces(f.Interfaces, "\"*\" is every interface: write interfaces: [] for that", "%q fences lo, which this host uses to talk to itself: leave it out"),
		Ports:      c.ports(f),
		Bans: Bans{
			Duration: c.duration(f.Bans.Duration, "bans.duration", time.Hour, 0, 366*24*time.Hour),
			Size:     uint32(c.number(f.Bans.Size, "bans.size", 65535, 1, 1<<24)),
		},
		DNS: c.dns(f.DNS),
	}
	allowed := allowList{}
	p.Providers = c.providers(f, &allowed)
	p.Trusted = c.trusted(f.Trusted, &allowed)
	c.countNames(p)
	p.Bans.Addresses = c.bannedAddresses(f.Bans.Addresses, &allowed)
	p.Signatures = c.signatures(f)
	p.Unknown = c.unknown(f.Unknown, p.Signatures.Engine)
	return p
}

// countNames reports more names than name servers can be asked for.
func (c *checker) countNames(p *Policy) {
	n := len(p.Trusted.Hosts)
	for _, provider := range p.Providers {
		for _, r := range provider.Registrars {
			if r.Host != "" {
				n++
			}
		}
	}
	if n > maxNames {
		c.mistake(scalar{}, "the policy has %d names, and no more than %d are asked for: list the providers' networks as addresses instead", n, maxNames)
	}
}

// choice returns the written word, or the first one where none was written.
func choice(c *checker, s scalar, key string, words ...string) string {
	if !s.written() {
		return words[0]
	}
	if !slices.Contains(words, s.text) {
		c.mistake(s, "%s is %q: write %s", key, s.text, strings.Join(words, " or "))
		return words[0]
	}
	return s.text
}

func (c *checker) backend(s scalar) Backend {
	if b := Backend(s.text); slices.Contains([]Backend{BackendNFTables, BackendIPTables}, b) && !slices.Contains(c.available.Backends, b) {
		c.mistake(s, "this version has no back end %s: write auto, or leave backend out", b)
		return BackendAuto
	}
	words := []string{string(BackendAuto)}
	for _, b := range c.available.Backends {
		words = append(words, string(b))
	}
	return Backend(choice(c, s, "backend", words...))
}

// interfaces reads names and prefixes of interfaces. all and lo are what is wrong with
// those that mean all of them, and that one.
func (c *checker) interfaces(list []scalar, all, lo string) []string {
	names := c.words(list, "interface")
	for i, name := range names {
		at := list[i]
		switch prefix, isPrefix := strings.CutSuffix(name, "*"); {
		case name == "":
		case prefix == "" && isPrefix:
			c.mistake(at, "%s", all)
		case strings.ContainsAny(prefix, "*/\"\\ \t\n") || !isPrintable(prefix) || prefix == "." || prefix == "..":
			c.mistake(at, "%q is not an interface name: write one like eth0, or a prefix like ppp*", name)
		case len(prefix) > 15:
			c.mistake(at, "%q is longer than 15 characters, the longest interface name", name)
		case Matches(name, loopback):
			c.mistake(at, lo, name)
		}
	}
	return names
}

func isPrintable(s string) bool {
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return true
}

// words returns the texts of a list and reports empty and repeated ones.
func (c *checker) words(list []scalar, what string) []string {
	texts := make([]string, len(list))
	first := map[string]int{}
	for i, s := range list {
		texts[i] = s.text
		if s.text == "" {
			c.mistake(s, "an empty %s: remove it", what)
		} else if line, ok := first[s.text]; ok {
			c.mistake(s, "%s %q is already listed in line %d: remove one", what, s.text, line)
		} else {
			first[s.text] = s.line
		}
	}
	return texts
}

func (c *checker) ports(f *file) Ports {
	p := Ports{UDP: c.portList(f.Ports.UDP), TCP: c.portList(f.Ports.TCP)}
	if f.Ports.UDP != nil && len(*f.Ports.UDP) == 0 && f.Ports.TCP != nil && len(*f.Ports.TCP) == 0 {
		c.mistake(f.place("ports"), "ports.udp and ports.tcp are both empty, so nothing would be fenced: list a port")
	}
	return p
}

func (c *checker) portList(list *[]scalar) []uint16 {
	if list == nil {
		return []uint16{5060, 5061}
	}
	var ports []uint16
	first := map[uint16]int{}
	for _, s := range *list {
		port, ok := parsePort(s.text)
		if !ok {
			c.mistake(s, "%q is not a port: write a decimal number from 1 to 65535", s.text)
			continue
		}
		if line, ok := first[port]; ok {
			c.mistake(s, "port %d is already listed in line %d: remove one", port, line)
			continue
		}
		first[port] = s.line
		ports = append(ports, port)
	}
	return ports
}

var digits = regexp.MustCompile(`^[0-9]+$`)

// parsePort reads a decimal port, which may have leading zeros.
func parsePort(text string) (uint16, bool) {
	if !digits.MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0
}

func (c *checker) number(s scalar, key string, byDefault, least, most uint64) uint64 {
	if !s.written() {
		return byDefault
	}
	n, err := strconv.ParseUint(s.text, 10, 64)
	if err != nil || !digits.MatchString(s.text) || n < least || n > most {
		c.mistake(s, "%s is %q: write a decimal number from %d to %d", key, s.text, least, most)
		return byDefault
	}
	return n
}

func (c *checker) duration(s scalar, key string, byDefault, least, most time.Duration) time.Duration {
	if !s.written() {
		return byDefault
	}
	d, err := ParseDuration(s.text)
	if err != nil {
		c.mistake(s, "%s is %v", key, err)
		return byDefault
	}
	if d < least || d > most {
		c.mistake(s, "%s is %s: write a time from %s to %s", key, s.text, DurationText(least), DurationText(most))
		return byDefault
	}
	return d
}

var zeroUnits = regexp.MustCompile(`([hm])0[ms](0s)?$`)

// DurationText writes a time without zero units: 24h instead of 24h0m0s.
func DurationText(d time.Duration) string { return zeroUnits.ReplaceAllString(d.String(), "$1") }

func (c *checker) flag(s scalar, key string) bool {
	return choice(c, s, key, "false", "true") == "true"
}

func (c *checker) dns(f dnsFile) DNS {
	const year = 366 * 24 * time.Hour
	d := DNS{
		Min:        c.duration(f.Refresh.Min, "dns.refresh.min", time.Minute, time.Second, 24*time.Hour),
		Max:        c.duration(f.Refresh.Max, "dns.refresh.max", time.Hour, time.Second, 24*time.Hour),
		Hold:       c.duration(f.Hold, "dns.hold", 24*time.Hour, 0, year),
		StaleAlarm: c.duration(f.StaleAlarm, "dns.stale_alarm", 168*time.Hour, time.Minute, year),
	}
	if d.Min > d.Max {
		at := f.Refresh.Min
		if !at.written() {
			at = f.Refresh.Max
		}
		c.mistake(at, "dns.refresh.min (%s) is longer than dns.refresh.max (%s): swap them, or set both", DurationText(d.Min), DurationText(d.Max))
	}
	d.Servers = c.nameServers(f.Servers)
	return d
}

// nameServers reads the addresses of name servers.
func (c *checker) nameServers(list []scalar) []netip.AddrPort {
	c.words(list, "name server")
	var servers []netip.AddrPort
	for _, s := range list {
		server, ok := parseServer(s.text)
		switch {
		case s.text == "":
		case !ok:
			c.mistake(s, "%q is not the address of a name server: write one like 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53", s.text)
		default:
			servers = append(servers, server)
		}
	}
	return servers
}

func parseServer(text string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		text = netip.AddrPortFrom(a, 53).String()
	}
	a, err := netip.ParseAddrPort(text)
	return a, err == nil && a.Port() != 0 && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast()
}

func (c *checker) unknown(f unknownFile, engine Engine) Unknown {
	u := Unknown{
		Accept:           choice(c, f.Action, "unknown.action", "drop", "accept") == "accept",
		AllowReplies:     c.flag(f.AllowReplies, "unknown.allow_replies"),
		RequireUserAgent: c.words(f.RequireUserAgent, "User-Agent"),
	}
	if len(u.RequireUserAgent) == 0 {
		return u
	}
	at := f.RequireUserAgent[0]
	if !u.Accept {
		c.mistake(at, "require_user_agent needs unknown.action: accept: with drop no unknown source passes, whatever its User-Agent")
	} else if !slices.Contains(c.available.Engines, EngineBPF) {
		c.mistake(at, "require_user_agent needs the classifier, which this version does not have: remove it")
	} else if engine == EngineOff || engine == EngineString {
		c.mistake(at, "require_user_agent needs the classifier: do not set signatures.engine to %s", engine)
	}
	return u
}
