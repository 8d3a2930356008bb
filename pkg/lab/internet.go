package lab

import (
	"errors"
	"strings"
)

// Lab is a set of hosts that are closed together.
type Lab struct{ hosts []*Namespace }

// Host adds a host.
func (l *Lab) Host(name string) (*Namespace, error) {
	n, err := New(name)
	if err == nil {
		l.hosts = append(l.hosts, n)
	}
	return n, err
}

// Close closes all hosts.
func (l *Lab) Close() error {
	var err error
	for _, h := range l.hosts {
		err = errors.Join(err, h.Close())
	}
	l.hosts = nil
	return err
}

// Internet is a host that forwards every packet, also those with a forged source.
type Internet struct{ *Namespace }

// NewInternet makes a host forward packets.
func NewInternet(n *Namespace) (Internet, error) {
	err := n.Forward()
	for _, interfaces := range []string{"all", "default"} {
		err = errors.Join(err, n.Set("ipv4/conf/"+interfaces+"/rp_filter", "0"))
	}
	return Internet{n}, err
}

// Forward makes the host forward packets of both address families.
func (n *Namespace) Forward() error {
	return errors.Join(n.Set("ipv4/ip_forward", "1"), n.Set("ipv6/conf/all/forwarding", "1"))
}

// Attach links a host's interface eth0, with the given addresses, to an interface of
// the internet. The internet's addresses on this link become the host's gateways. All
// addresses are written with the lengths of their networks.
func (i Internet) Attach(h *Namespace, link string, gateways, addresses []string) error {
	err := Link(End{Host: i.Namespace, Interface: link, Addresses: gateways}, End{Host: h, Interface: "eth0", Addresses: addresses})
	if err != nil {
		return err
	}
	for _, gateway := range gateways {
		address, _, _ := strings.Cut(gateway, "/")
		if err := h.Route("default", address); err != nil {
			return err
		}
	}
	return nil
}
