package demo

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ringfence/ringfence/pkg/lab"
)

// probe is one message of the demo.
type probe struct {
	who, method, userAgent string
	sender                 *lab.Namespace
	from                   string
	to                     netip.AddrPort
	target                 string // the host that should get it
	protocol               string // udp or tcp
	listener               *lab.Listener
	fence                  *lab.Namespace // the host whose fence the message must pass
	allowed                bool
}

// by says how the message is sent.
func (p probe) by() string {
	by := strings.ToUpper(p.protocol)
	if p.to.Addr().Is6() {
		by += ", IPv6"
	}
	if p.to.Port() != 5060 {
		by += fmt.Sprintf(", port %d", p.to.Port())
	}
	return by
}

// probes returns all messages of the first act.
func (d *network) probes() []probe {
	type target struct {
		name     string
		v4, v6   netip.AddrPort
		listener *lab.Listener
		fence    *lab.Namespace
	}
	at := func(address string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(address), port)
	}
	var probes []probe
	for _, t := range []target{
		{"PBX", at(pbx4, 5060), at(pbx6, 5060), d.atPBX, d.pbx},
		{"phone", at(router4, forwardedPort), at(phone6, 5060), d.atPhone, d.router},
	} {
		for _, p := range []probe{
			{who: "provider", method: "INVITE", userAgent: "acme-edge", sender: d.provider, allowed: true},
			{who: "scanner", method: "OPTIONS", userAgent: "friendly-scanner", sender: d.scanner},
			{who: "scanner", method: "INVITE", userAgent: "friendly-scanner", sender: d.scanner},
		} {
			p.target, p.listener, p.fence = t.name, t.listener, t.fence
			for _, p.to = range []netip.AddrPort{t.v4, t.v6} {
				p.from = scanner4
				switch {
				case p.allowed && p.to.Addr().Is6():
					p.from = registrar6
				case p.allowed:
					p.from = registrar4
				case p.to.Addr().Is6():
					p.from = scanner6
				}
				for _, p.protocol = range []string{"udp", "tcp"} {
					probes = append(probes, p)
				}
			}
		}
	}
	return probes
}
