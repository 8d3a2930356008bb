package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Draft is the first policy of a host.
type Draft struct {
	// Monitor makes a policy that drops nothing. Exposed says why, if it is not for the
	// lack of a provider: what listens on public addresses of a host without a network
	// of phones, so that these come from anywhere.
	Monitor bool
	Exposed []ruleset.Listener
	// Interfaces are the interfaces to fence; none = all but lo.
	Interfaces []string
	// Trusted are the networks of phones that a fenced interface leads to.
	Trusted []ruleset.Network
	// Inside are networks on interfaces that are not fenced.
	Inside []ruleset.Network
	// UDP and TCP are the ports to fence. Servers are the programs that listen there.
	UDP, TCP []uint16
	Servers  []ruleset.Listener
	// Providers are the entries of the list of providers, each as its lines. The first
	// line of an entry begins with a hyphen.
	Providers [][]string
	Host      ruleset.Host
}

// NewDraft drafts a policy for a host with the given servers. On a host that forwards,
// only the interfaces that lead outside are fenced, so that phones inside reach their
// provider. Private networks behind a fenced interface are assumed to be those of
// phones. Public ones are not, because the neighbours of a rented server are strangers.
// Without a provider the draft only monitors: otherwise it would drop every call. It does
// so too where phones can only come from addresses that nobody has listed.
func NewDraft(host ruleset.Host, servers []ruleset.Listener, providers [][]string) Draft {
	d := Draft{Monitor: len(providers) == 0, Providers: providers, Host: host, UDP: defaultPorts(), TCP: defaultPorts()}
	if host.Forwards {
		for _, name := range host.Outside {
			if pattern := pointToPoint().ReplaceAllString(name, "${1}*"); !slices.Contains(d.Interfaces, pattern) {
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
	if len(d.Trusted)+len(d.Inside) == 0 && len(host.PublicAddresses()) > 0 {
		d.Exposed = slices.DeleteFunc(slices.Clone(d.Servers), func(l ruleset.Listener) bool { return !l.Public })
	}
	d.Monitor = d.Monitor || len(d.Exposed) > 0
	return d
}

func defaultPorts() []uint16 { return []uint16{5060, 5061} }

// pointToPoint matches links that get a new number whenever they come up.
var pointToPoint = expression(`^(ppp|wwan|rmnet)[0-9]+$`)

// sipServers are programs whose ports near 5060 are SIP ports, by the names that the
// kernel has for them.
var sipServers = []string{
	"asterisk", "freeswitch", "kamailio", "kamailio5", "opensips", "opensips-mi", "yate", "yate-sip", "3CXPhoneSystem",
	"baresip", "drachtio", "flexisip", "linphonec", "pjsua", "repro", "resiprocate", "sems", "sipwitch", "sipp",
}

// isSIP reports whether a server most likely speaks SIP: it listens on the port of SIP,
// or it is a known SIP server and listens on a port near it. (5038 is Asterisk's
// manager, 5349 STUN.)
func isSIP(l ruleset.Listener) bool {
	return slices.Contains(defaultPorts(), l.Port) ||
		l.Port >= 5050 && l.Port < 5200 && slices.Contains(sipServers, l.Program)
}

// Text writes the draft as a policy file that Parse accepts, with comments for the user
// who completes it.
func (d Draft) Text(now time.Time) string {
	t := &text{}
	t.line("# The policy of this host, drafted by ringfence init on %s. Read it,", now.Format(time.DateOnly))
	t.line("# then run ringfence diff to see what it would do, and ringfence apply to do it.")
	t.line("version: 1")
	t.line("")
	switch {
	case len(d.Exposed) > 0:
		t.line("# A SIP server listens on a public address of this host (%s), and no", serverList(d.Exposed))
		t.line("# network of phones is connected to it: its phones may be anywhere. enforce would")
		t.line("# drop those that have not registered since (unknown.action, below) and are not")
		t.line("# listed. So this only monitors: nothing is dropped, and ringfence status counts what")
		t.line("# enforce would drop. Write enforce once your provider is listed and all phones have")
		t.line("# registered: ringfence phones shows them.")
		t.line("mode: monitor")
	case d.Monitor:
		t.line("# monitor drops nothing: it counts what enforce would drop (ringfence status).")
		t.line("# Write enforce once your provider is listed below and its calls are counted as")
		t.line("# allowed_provider.")
		t.line("mode: monitor")
	default:
		t.line("# Not sure whom this would block? monitor drops nothing: it counts what")
		t.line("# enforce would drop (ringfence status).")
		t.line("mode: enforce")
	}
	t.line("")
	d.interfaces(t)
	d.ports(t)
	d.providers(t)
	d.trusted(t)
	d.unknown(t)
	t.line("dns:")
	if len(d.Host.NameServers) > 0 {
		t.line("  # As in /etc/resolv.conf, now %s. Use the same servers as your phones:", list(d.Host.NameServers))
	} else {
		t.line("  # /etc/resolv.conf names none; list yours here. Use the same servers as your phones:")
	}
	t.line("  # providers give different answers in different places.")
	t.line("  servers: []")
	return t.String()
}

// serverList names the ports of servers.
func serverList(servers []ruleset.Listener) string {
	var texts []string
	for _, s := range servers {
		texts = append(texts, fmt.Sprintf("%s %d", strings.ToUpper(string(s.Protocol)), s.Port))
	}
	return list(slices.Compact(texts))
}

func (d Draft) interfaces(t *text) {
	switch {
	case len(d.Interfaces) > 0:
		t.line("# This host forwards packets, so only the outside interfaces are fenced: phones")
		t.line("# inside reach their provider as before.")
		for _, n := range d.Inside {
			t.line("#   inside: %s", n)
		}
		t.line("interfaces: [%s]", list(quoted(d.Interfaces)))
	case d.Host.Forwards:
		t.line("# This host forwards packets, and no default route says which interface leads")
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
	if len(d.Exposed) == 0 {
		t.line("# Phones on the road cannot be recognised by their address: \"unknown: {action: register}\"")
		t.line("# lets them in when they have registered with a PBX on this host or behind it.")
	}
	t.line("ports:")
	t.line("  udp: [%s]", list(d.UDP))
	t.line("  tcp: [%s]", list(d.TCP))
	t.line("")
}

func (d Draft) providers(t *text) {
	t.line("# The providers that may call. A registrar is what your phones or your PBX use as")
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
	t.line("# Your own phones, and offices with a fixed name or address. Do not trust a router that")
	t.line("# puts its own address in the place of those who call (masquerading of what comes in):")
	t.line("# every scanner would come from a trusted address.")
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

// unknown lets in phones that come from anywhere when they have registered.
func (d Draft) unknown(t *text) {
	if len(d.Exposed) == 0 {
		return
	}
	t.line("# Everybody else may only register. Who the PBX accepts is let in; who fails to log in")
	t.line("# again and again is banned. A PBX that asks nobody for a password lets everybody in.")
	t.line("unknown:")
	t.line("  action: register")
	t.line("")
}

// yamlText quotes a prefix that YAML might read as something else.
func yamlText(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprintf("%q", p)
	}
	return p.String()
}

// plainName matches names that YAML cannot read as anything but text.
var plainName = expression(`^[A-Za-z][A-Za-z0-9_.-]*[0-9*]$`)

func quoted(names []string) []string {
	texts := slices.Clone(names)
	for i, name := range names {
		if !plainName().MatchString(name) {
			texts[i] = strconv.Quote(name)
		}
	}
	return texts
}

// text collects lines.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

func list[T any](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = fmt.Sprint(item)
	}
	return strings.Join(texts, ", ")
}
