package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Where packets are sent to: addresses of the copy alone.
var (
	target4 = netip.MustParseAddr("198.18.255.254")
	target6 = netip.MustParseAddr("2001:db8:ffff:ffff::1")
	// marker is who sends the packets that show that those before them have been judged.
	marker = netip.MustParseAddr("198.18.255.1")
)

const (
	firstPort = 1024 // from which packets are sent, each from another port
	markers   = 1023 // from which those of marker are
	inBatch   = 64   // packets that are sent before it is looked at what has passed
	patience  = 10 * time.Second
)

// Run sends the probes through a copy of a host, and notes which of them pass. enforce puts
// the rules into the copy; it is called in a network namespace that has interfaces with the
// host's names, addresses and routes, and nothing else. It ends with the call.
func Run(ctx context.Context, host ruleset.Host, probes []Probe, enforce func(context.Context) error) (err error) {
	if len(probes) == 0 {
		return nil
	}
	c := &copied{links: map[string]*link{}}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.build(host, probes); err != nil {
		return fmt.Errorf("build a copy of the host: %w", err)
	}
	if err := c.inside.Do(func() error { return enforce(ctx) }); err != nil {
		return fmt.Errorf("copy the rules: %w", err)
	}
	if err := c.listen(probes); err != nil {
		return fmt.Errorf("listen in the copy: %w", err)
	}
	for from := 0; from < len(probes); from += inBatch {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.try(probes, from, min(from+inBatch, len(probes))); err != nil {
			return fmt.Errorf("send packets through the copy: %w", err)
		}
	}
	return nil
}

// copied is a host of the same interfaces, and one that sends to it by each.
type copied struct {
	lab.Lab
	inside, outside *lab.Namespace
	links           map[string]*link
	datagrams       []int // sockets for UDP
	free            uint16
}

// link is an interface of the copy, and the socket that sends to it and hears its answers.
type link struct {
	hardware []byte
	index    int // of the other end
	socket   int
}

func (c *copied) close() error {
	for _, l := range c.links {
		if l.socket > 0 {
			unix.Close(l.socket)
		}
	}
	for _, socket := range c.datagrams {
		unix.Close(socket)
	}
	return c.Close()
}

func (c *copied) build(host ruleset.Host, probes []Probe) (err error) {
	if c.inside, err = c.Host("copy"); err != nil {
		return err
	}
	if c.outside, err = c.Host("senders"); err != nil {
		return err
	}
	for _, setting := range []string{"all", "default"} {
		if err := c.inside.Set("ipv4/conf/"+setting+"/rp_filter", "0"); err != nil {
			return err
		}
	}
	if err := c.inside.AddAddress("lo", target4.String()+"/32"); err != nil {
		return err
	}
	_ = c.inside.AddAddress("lo", target6.String()+"/128") // a kernel without IPv6 gets no packets of it
	for _, p := range probes {
		if c.links[p.Interface] == nil {
			if err := c.link(host, p.Interface); err != nil {
				return err
			}
		}
	}
	return c.route(host, probes[0].Interface)
}

// link makes an interface of the copy, with its own addresses.
func (c *copied) link(host ruleset.Host, name string) error {
	l := &link{}
	here := lab.End{Host: c.inside, Interface: name}
	for _, i := range host.Interfaces {
		if i.Name == name {
			for _, a := range i.Addresses {
				if !a.Addr().IsLinkLocalUnicast() {
					here.Addresses = append(here.Addresses, a.String())
				}
			}
		}
	}
	there := lab.End{Host: c.outside, Interface: fmt.Sprintf("p%d", len(c.links))}
	if err := lab.Link(here, there); err != nil {
		return err
	}
	c.links[name] = l
	if err := c.inside.Mute(name); err != nil {
		return err
	}
	if err := c.inside.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			l.hardware = i.HardwareAddr
		}
		return err
	}); err != nil {
		return err
	}
	return c.outside.Do(func() error {
		i, err := net.InterfaceByName(there.Interface)
		if err != nil {
			return err
		}
		l.index = i.Index
		if l.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		return unix.Bind(l.socket, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: l.index})
	})
}

func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// route gives the copy the host's ways: to networks behind other routers, and outside.
func (c *copied) route(host ruleset.Host, outside string) error {
	for _, n := range host.Routed {
		if c.links[n.Interface] != nil {
			if err := c.inside.RouteBy(n.Prefix.String(), n.Interface); err != nil {
				return err
			}
		}
	}
	for _, name := range host.Outside {
		if c.links[name] != nil {
			outside = name
			break
		}
	}
	if err := c.inside.RouteBy("default4", outside); err != nil {
		return err
	}
	_ = c.inside.RouteBy("default6", outside) // as above
	return nil
}

// listen opens a socket for each port of UDP that packets are sent to, and finds a port of
// TCP to which none are.
func (c *copied) listen(probes []Probe) error {
	udp, tcp := map[uint16]bool{}, map[uint16]bool{}
	for _, p := range probes {
		if p.Protocol == ruleset.UDP {
			udp[p.Port] = true
		} else {
			tcp[p.Port] = true
		}
	}
	c.free = 9 // the port discard, if it is no SIP port
	for tcp[c.free] {
		c.free++
	}
	return c.inside.Do(func() error {
		for port := range udp {
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				if err := c.open(family, port); err != nil && family == unix.AF_INET {
					return err
				}
			}
		}
		return nil
	})
}

func (c *copied) open(family int, port uint16) error {
	socket, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	c.datagrams = append(c.datagrams, socket)
	if family == unix.AF_INET {
		return unix.Bind(socket, &unix.SockaddrInet4{Port: int(port)})
	}
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return err
	}
	return unix.Bind(socket, &unix.SockaddrInet6{Port: int(port)})
}

// try sends some of the probes, and a marker behind them. One processor sends them all, so
// that they are judged in their order: with the answer to the marker, all others have been.
func (c *copied) try(probes []Probe, from, to int) error {
	err := c.outside.Do(func() error {
		if err := stay(); err != nil {
			return err
		}
		for i := from; i < to; i++ {
			p := probes[i]
			source, target := netip.AddrPortFrom(p.Source, uint16(firstPort+i)), netip.AddrPortFrom(target4, p.Port)
			if p.Source.Is6() {
				target = netip.AddrPortFrom(target6, p.Port)
			}
			if err := c.send(c.links[p.Interface], source, target, p); err != nil {
				return err
			}
		}
		last := Probe{Protocol: ruleset.TCP}
		source, target := netip.AddrPortFrom(marker, markers), netip.AddrPortFrom(target4, c.free)
		return c.send(c.links[probes[from].Interface], source, target, last)
	})
	if err != nil {
		return err
	}
	return c.hear(probes)
}

func (c *copied) send(l *link, from, to end, p Probe) error {
	segment, protocol := opening(from, to), byte(unix.IPPROTO_TCP)
	if p.Protocol == ruleset.UDP {
		segment, protocol = datagram(from, to, p.message), unix.IPPROTO_UDP
	}
	there := &unix.SockaddrLinklayer{Ifindex: l.index, Halen: 6}
	return unix.Sendto(l.socket, frame(l.hardware, from, to, protocol, segment), 0, there)
}

// stay keeps the thread on one processor, the same each time.
func stay() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	return unix.SchedSetaffinity(0, &one)
}

// hear notes what has passed, up to the marker.
func (c *copied) hear(probes []Probe) error {
	note := func(port uint16) {
		if i := int(port) - firstPort; i >= 0 && i < len(probes) {
			probes[i].Passes = true
		}
	}
	var sockets []unix.PollFd
	for _, l := range c.links {
		sockets = append(sockets, unix.PollFd{Fd: int32(l.socket), Events: unix.POLLIN})
	}
	buffer := make([]byte, 2048)
	for deadline, marked := time.Now().Add(patience), false; !marked; {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("no answer to the last packet has come")
		}
		if _, err := unix.Poll(sockets, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, l := range c.links {
			for {
				n, _, err := unix.Recvfrom(l.socket, buffer, 0)
				if err != nil {
					break // there is nothing more now
				}
				port := answered(buffer[:n])
				marked = marked || port == markers
				note(port)
			}
		}
	}
	for _, socket := range c.datagrams {
		for {
			_, from, err := unix.Recvfrom(socket, buffer, 0)
			if err != nil {
				break
			}
			switch from := from.(type) {
			case *unix.SockaddrInet4:
				note(uint16(from.Port))
			case *unix.SockaddrInet6:
				note(uint16(from.Port))
			}
		}
	}
	return nil
}
