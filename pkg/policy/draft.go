package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Draft is a first policy for a host, before anybody has written one.
type Draft struct {
	// Monitor begins without dropping anything.
	Monitor bool
	// Interfaces are those to fence; none = all but lo.
	Interfaces []string
	// Trusted are the networks of phones that a fenced interface leads to.
	Trusted []ruleset.Network
	// Inside are networks on interfaces that are not fenced.
	Inside []ruleset.Network
	// UDP and TCP are the ports to fence, Servers who listens on them.
	UDP, TCP []uint16
	Servers  []ruleset.Listener
	// Providers are entries for the list of providers, each with its lines; the
	// first of an entry begins with a hyphen.
	Providers [][]string
	Host      ruleset.Host
}

// NewDraft drafts a policy for a host on which the given servers listen. On a
// host that forwards, only the interfaces that lead outside are fenced, so that
// phones inside reach their provider. Networks of private addresses behind a
// fenced interface are taken for those of phones; public ones are not, because
// on a rented server the neighbours are strangers. Without a provider the draft
// only monitors: to drop would be to drop every call.
func NewDraft(host ruleset.Host, servers []ruleset.Listener, providers [][]string) Draft {
	d := Draft{Monitor: len(providers) == 0, Providers: providers, Host: host, UDP: defaultPorts(), TCP: defaultPorts()}
	if host.Forwards {
		for _, name := range host.Outside {
			if pattern := pointToPoint.ReplaceAllString(name, "${1}*"); !slices.Contains(d.Interfaces, pattern) {
				d.Interfaces = append(d.Interfaces, pattern)
			}
		}
	}
	fenced := Policy{Interfaces: d.Interfaces}
	for _, n := range host.OwnNetworks() {
		switch {
		case n.Interface == loopback:
		case fenced.Fences(n.Interface):
			d.Trusted = append(d.Trusted, n)
		default:
			d.Inside = append(d.Inside, n)
		}
	}
	for _, server := range servers {
		ports := &d.UDP
		if server.Protocol == ruleset.TCP {
			ports = &d.TCP
		}
		if !isSIP(server) {
			continue
		}
		d.Servers = append(d.Servers, server)
		if !slices.Contains(*ports, server.Port) {
			*ports = append(*ports, server.Port)
		}
	}
	return d
}

func defaultPorts() []uint16 { return []uint16{5060, 5061} }

// pointToPoint are names of links that are numbered anew whenever they come up.
var pointToPoint = regexp.MustCompile(`^(ppp|wwan|rmnet)[0-9]+$`)

// sipServers are the programs whose ports near 5060 are SIP ports, by the names
// that the kernel knows them by.
var sipServers = []string{
	"asterisk", "freeswitch", "kamailio", "kamailio5", "opensips", "opensips-mi", "yate", "yate-sip", "3CXPhoneSystem",
	"baresip", "drachtio", "flexisip", "linphonec", "pjsua", "repro", "resiprocate", "sems", "sipwitch", "sipp",
}

// isSIP reports whether a server most likely speaks SIP: it has the port of SIP,
// or it is a known SIP server that listens near it. (5038 is Asterisk's manager,
// 5349 STUN.)
func isSIP(l ruleset.Listener) bool {
	return slices.Contains(defaultPorts(), l.Port) ||
		l.Port >= 5050 && l.Port < 5200 && slices.Contains(sipServers, l.Program)
}

// Text writes the draft as a policy file that Parse accepts, with comments for
// the user who is to finish it.
func (d Draft) Text(now time.Time) string {
	t := &text{}
	t.line("# The policy of this host, drafted by ringfence init on %s. Read it through,", now.Format(time.DateOnly))
	t.line("# then: ringfence diff shows what it would do, ringfence apply does it.")
	t.line("version: 1")
	t.line("")
	if d.Monitor {
		t.line("# monitor drops nothing: it counts what enforce would drop (ringfence status).")
		t.line("# Write enforce once your provider is listed below and its calls are counted as")
		t.line("# allowed_provider.")
		t.line("mode: monitor")
	} else {
		t.line("# Not sure whom you would shut out? monitor drops nothing: it counts what")
		t.line("# enforce would drop (ringfence status).")
		t.line("mode: enforce")
	}
	t.line("")
	d.interfaces(t)
	d.ports(t)
	d.providers(t)
	d.trusted(t)
	t.line("dns:")
	if len(d.Host.NameServers) > 0 {
		t.line("  # As in /etc/resolv.conf, now %s. Ask the same ones as your phones do:", list(d.Host.NameServers))
	} else {
		t.line("  # /etc/resolv.conf names none; list yours here. Ask the same ones as your phones do:")
	}
	t.line("  # providers answer differently in different places.")
	t.line("  servers: []")
	return t.String()
}

func (d Draft) interfaces(t *text) {
	switch {
	case len(d.Interfaces) > 0:
		t.line("# This host forwards for others, so only what leads outside is fenced: phones")
		t.line("# inside reach their provider as before.")
		for _, n := range d.Inside {
			t.line("#   inside: %s", n)
		}
		t.line("interfaces: [%s]", list(quoted(d.Interfaces)))
	case d.Host.Forwards:
		t.line("# This host forwards for others, and no default route says which interface leads")
		t.line("# outside. List those that do, so that phones inside reach their provider.")
		t.line("interfaces: []")
	default:
		t.line("# Every interface but lo is fenced.")
		t.line("interfaces: []")
	}
	t.line("")
}

func (d Draft) ports(t *text) {
	byProgram := map[string][]string{}
	for _, s := range d.Servers {
		byProgram[s.Program] = append(byProgram[s.Program], fmt.Sprintf("%s %d", strings.ToUpper(string(s.Protocol)), s.Port))
	}
	for _, program := range slices.Sorted(maps.Keys(byProgram)) {
		name := program
		if name == "" {
			name = "a server"
		}
		t.line("# On this host %s listens on %s.", name, strings.Join(byProgram[program], ", "))
	}
	t.line("# Phones that roam cannot be known by their address. Give them a port of their own")
	t.line("# that is not listed here, or write \"unknown: {action: accept}\".")
	t.line("ports:")
	t.line("  udp: [%s]", list(d.UDP))
	t.line("  tcp: [%s]", list(d.TCP))
	t.line("")
}

func (d Draft) providers(t *text) {
	t.line("# Whose servers may call. A registrar is what your phones or your PBX have as")
	t.line("# registrar, outbound proxy or SIP domain; every server behind it is found.")
	if len(d.Providers) == 0 {
		t.line("providers: []")
		t.line("#  - name: provider")
		t.line("#    registrars: [sip.provider.example]")
		t.line("#    addresses: [203.0.113.0/28]   # servers that only its help pages name")
	} else {
		t.line("providers:")
		for _, lines := range d.Providers {
			for _, line := range lines {
				t.line("  %s", line)
			}
		}
	}
	t.line("")
}

func (d Draft) trusted(t *text) {
	t.line("# Your own phones, and offices with a name or an address of their own.")
	t.line("trusted:")
	t.line("  hosts: []")
	if len(d.Trusted) == 0 {
		t.line("  addresses: []")
	} else {
		t.line("  addresses:")
		var done []netip.Prefix
		for _, n := range d.Trusted {
			if !slices.Contains(done, n.Prefix) {
				done = append(done, n.Prefix)
				t.line("    - %s   # by %s", yamlText(n.Prefix), n.Interface)
			}
		}
	}
	t.line("")
}

// yamlText quotes what YAML might take for something else.
func yamlText(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprintf("%q", p)
	}
	return p.String()
}

// plainName is a name that YAML takes for nothing but a text.
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*[0-9*]$`)

func quoted(names []string) []string {
	texts := slices.Clone(names)
	for i, name := range names {
		if !plainName.MatchString(name) {
			texts[i] = strconv.Quote(name)
		}
	}
	return texts
}

// text gathers lines.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

func list[T any](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return strings.Join(texts, ", ")
}
