package policy

import (
	"bytes"
	"fmt"
	"io"
	"slices"
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
	c := checker{scalars{mistakes: mistakes}, available}
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
	for i := range c.doubts {
		c.doubts[i].File = name
	}
	if p.Doubts = c.doubts.Sorted(); len(p.Doubts) > mostDoubts {
		p.Doubts[mostDoubts].Text = "there are more of this kind from here on"
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
	scalars
	available Available
}

func (c *checker) policy(f *file) *Policy {
	if !f.Version.written() {
		c.mistake(f.Version, "version is missing: begin the policy with \"version: 1\"")
	} else if f.Version.text != "1" {
		c.mistake(f.Version, "version %q is not known here: this ringfence reads version 1", f.Version.text)
	}
	p := &Policy{
		Monitor:    choice(&c.scalars, f.Mode, "mode", "enforce", "monitor") == "monitor",
		Backend:    c.backend(f.Backend),
		Interfaces: c.interfaces(f.Interfaces, "\"*\" is every interface: write interfaces: [] for that", "%q fences lo, which this host uses to talk to itself: leave it out"),
		Ports:      c.ports(f),
		Bans: Bans{
			Duration: c.duration(f.Bans.Duration, "bans.duration", time.Hour, 0, 366*24*time.Hour),
			Size:     uint32(c.number(f.Bans.Size, "bans.size", 65535, 1, 1<<24)),
		},
		Events: Events{Keep: c.duration(f.Events.Keep, "events.keep", 30*24*time.Hour, 0, 366*24*time.Hour)},
		DNS:    c.dns(f.DNS),
	}
	allowed := allowList{}
	p.Providers = c.providers(f, &allowed)
	p.Trusted = c.trusted(f.Trusted, &allowed)
	c.countNames(p)
	p.Bans.Addresses = c.bannedAddresses(f.Bans.Addresses, &allowed)
	p.Signatures = c.signatures(f)
	p.Unknown = c.unknown(f.Unknown, p.Signatures.Engine)
	p.Guessing = c.guessing(f.Guessing, p)
	p.Roaming = c.roaming(f.Roaming, p)
	c.inSets(f, p)
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

func (c *checker) backend(s scalar) Backend {
	if b := Backend(s.text); slices.Contains([]Backend{BackendNFTables, BackendIPTables}, b) && !slices.Contains(c.available.Backends, b) {
		c.mistake(s, "this version has no back end %s: write auto, or leave backend out", b)
		return BackendAuto
	}
	words := []string{string(BackendAuto)}
	for _, b := range c.available.Backends {
		words = append(words, string(b))
	}
	return Backend(choice(&c.scalars, s, "backend", words...))
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

func (c *checker) ports(f *file) Ports {
	p := Ports{UDP: c.portList(f.Ports.UDP), TCP: c.portList(f.Ports.TCP)}
	if f.Ports.UDP != nil && len(*f.Ports.UDP) == 0 && f.Ports.TCP != nil && len(*f.Ports.TCP) == 0 {
		c.mistake(f.place("ports"), "ports.udp and ports.tcp are both empty, so nothing would be fenced: list a port")
	}
	return p
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
