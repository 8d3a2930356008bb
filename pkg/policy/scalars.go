package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scalars reads single values of the file and collects what is wrong with them, and what
// is valid but may not be meant.
type scalars struct{ mistakes, doubts Mistakes }

// mostDoubts is how many doubts are written out. One more is kept, which says that there
// are more.
const mostDoubts = 10

func (c *scalars) doubt(at scalar, format string, args ...any) {
	if len(c.doubts) > mostDoubts {
		return
	}
	c.doubts = append(c.doubts, Mistake{Line: max(at.line, 1), Col: max(at.col, 1), Text: fmt.Sprintf(format, args...)})
}

func (c *scalars) mistake(at scalar, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{Line: max(at.line, 1), Col: max(at.col, 1), Text: fmt.Sprintf(format, args...)})
}

// choice returns the written word, or the first one where none was written.
func choice(c *scalars, s scalar, key string, words ...string) string {
	if !s.written() {
		return words[0]
	}
	if !slices.Contains(words, s.text) {
		c.mistake(s, "%s is %q: write %s", key, s.text, strings.Join(words, " or "))
		return words[0]
	}
	return s.text
}

// words returns the texts of a list and reports empty and repeated ones.
func (c *scalars) words(list []scalar, what string) []string {
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

func (c *scalars) portList(list *[]scalar) []uint16 {
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

var digits = expression(`^[0-9]+$`)

// parsePort reads a decimal port, which may have leading zeros.
func parsePort(text string) (uint16, bool) {
	if !digits().MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0
}

func (c *scalars) number(s scalar, key string, byDefault, least, most uint64) uint64 {
	if !s.written() {
		return byDefault
	}
	n, err := strconv.ParseUint(s.text, 10, 64)
	if err != nil || !digits().MatchString(s.text) || n < least || n > most {
		c.mistake(s, "%s is %q: write a decimal number from %d to %d", key, s.text, least, most)
		return byDefault
	}
	return n
}

func (c *scalars) duration(s scalar, key string, byDefault, least, most time.Duration) time.Duration {
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

var zeroUnits = expression(`([hm])0[ms](0s)?$`)

// DurationText writes a time without zero units: 24h instead of 24h0m0s.
func DurationText(d time.Duration) string { return zeroUnits().ReplaceAllString(d.String(), "$1") }

func (c *scalars) flag(s scalar, key string) bool {
	return choice(c, s, key, "false", "true") == "true"
}

// nameServers reads the addresses of name servers.
func (c *scalars) nameServers(list []scalar) []netip.AddrPort {
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
