package cli_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// portShapes are destinations that are more, or others, than an address and a port of the
// PBX.
var portShapes = []shape{
	{"REDIRECT to a SIP port", translated("nft", "udp dport 15060 redirect to :5060", onEth0().withPort(15060)), []string{"eth0"}, true},
	{"REDIRECT by iptables-legacy", translated("iptables-legacy", "-j REDIRECT --to-ports 5060", onEth0().withPort(15060)), []string{"eth0"}, true},
	{"REDIRECT by iptables-nft", translated("iptables-nft", "-j REDIRECT --to-ports 5060", onEth0().withPort(15060)), []string{"eth0"}, true},
	{"REDIRECT of a SIP port", translated("nft", "udp dport 5060 redirect to :15060", onEth0().withPort(5060, 15060)), []string{"eth0"}, false},
	{"DNAT to another own address", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		labtest.Must(t, pbx.AddAddress("lo", "198.51.100.77/32"))
		w := onEth0().withPort(15060)
		w.at = "198.51.100.77"
		return translated("nft", "udp dport 15060 dnat ip to 198.51.100.77:5060", w)(t, pbx, outside)
	}, []string{"eth0"}, true},
	{"TPROXY of a SIP port", func(t *testing.T, pbx, _ *lab.Namespace) []way {
		t.Helper()
		labtest.Rules(t, pbx, `table ip proxy {
	chain prerouting { type filter hook prerouting priority mangle; udp dport 5060 tproxy to :15060; }
}`)
		w := onEth0()
		w.socket = func() (net.PacketConn, error) { return transparent(t.Context()) }
		return []way{w}
	}, []string{"eth0"}, false},
	{"multicast", func(*testing.T, *lab.Namespace, *lab.Namespace) []way {
		w := onEth0()
		w.to = "224.0.1.75" // sip.mcast.net
		w.socket = func() (net.PacketConn, error) {
			link, err := net.InterfaceByName("eth0")
			if err != nil {
				return nil, err
			}
			return net.ListenMulticastUDP("udp", link, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("224.0.1.75:5060")))
		}
		return []way{w}
	}, []string{"eth0"}, false},
	{"broadcast", func(*testing.T, *lab.Namespace, *lab.Namespace) []way {
		all, net := onEth0(), onEth0()
		all.to, all.at = "255.255.255.255", "0.0.0.0"
		net.to, net.at = "203.0.113.255", "0.0.0.0"
		return []way{all, net}
	}, []string{"eth0"}, false},
	{"hairpin", hairpin, []string{"eth0, lan, wlan"}, true},
}

func (w way) withPort(port int, at ...int) way {
	w.port = port
	if len(at) > 0 {
		w.atPort = at[0]
	}
	return w
}

// translated changes the destination on the PBX itself, which does not forward.
func translated(program, rule string, ways ...way) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(t *testing.T, pbx, _ *lab.Namespace) []way {
		t.Helper()
		if program == "nft" {
			labtest.Rules(t, pbx, "table inet translation {\n\tchain prerouting { type nat hook prerouting priority dstnat; "+rule+"; }\n}")
			return ways
		}
		labtest.Need(t, program)
		labtest.Run(t, pbx, "sh", "-c", program+" -w -t nat -A PREROUTING -p udp --dport 15060 "+rule)
		return ways
	}
}

// transparent opens the socket of a proxy on another port than packets are sent to.
func transparent(ctx context.Context) (net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) }), err)
	}}
	return config.ListenPacket(ctx, "udp4", "0.0.0.0:15060")
}

// hairpin is a router that forwards a port of its outside to a phone on its LAN, for
// others on the LAN too.
func hairpin(t *testing.T, pbx, _ *lab.Namespace) []way {
	t.Helper()
	phone := labtest.Host(t, "phone")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "lan", Addresses: []string{shapeNet4 + "1/24"}},
		lab.End{Host: phone, Interface: "eth0", Addresses: []string{shapeNet4 + "20/24"}})
	labtest.Must(t, phone.Route("default", shapeNet4+"1"))
	inside := labtest.Host(t, "inside")
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "wlan", Addresses: []string{"198.51.101.1/24"}},
		lab.End{Host: inside, Interface: "eth0", Addresses: []string{"198.51.101.2/24", shapeNet4 + "5/32", shapeNet4 + "66/32"}})
	labtest.Must(t, inside.Route("default", "198.51.101.1"))
	for _, last := range []string{"5", "66"} {
		labtest.Run(t, pbx, "ip", "route", "add", shapeNet4+last+"/32", "dev", "wlan")
	}
	labtest.Must(t, pbx.Forward())
	labtest.Rules(t, pbx, `table ip translation {
	chain prerouting { type nat hook prerouting priority dstnat; ip daddr 203.0.113.1 udp dport 15060 dnat to `+shapeNet4+`20:5060; }
}`)
	w := way{provider: shapeNet4 + "5", stranger: shapeNet4 + "66", to: "203.0.113.1", port: 15060, at: shapeNet4 + "20", host: phone}
	w.send = func(t *testing.T, from string, port int, payload []byte) {
		t.Helper()
		w.post(t, inside, from, port, payload)
	}
	return []way{w}
}

// frameShapes are Ethernet frames that no interface of the PBX is made for.
var frameShapes = []shape{
	{"a priority tag", tagged(0x8100), []string{"eth0"}, false},
	{"a priority tag of 802.1ad", tagged(0x88a8), []string{"eth0"}, false},
	{"two priority tags", tagged(0x8100, 0x8100), []string{"eth0"}, false},
	{"two priority tags of 802.1ad", tagged(0x88a8, 0x8100), []string{"eth0"}, false},
	{"three priority tags", tagged(0x88a8, 0x8100, 0x8100), []string{"eth0"}, false},
	{"a priority tag on a bridge", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		bridge("")(t, pbx, outside)
		return framed(pbx, outside, "br0", shapeNet4+"1", shapeNet4, 0x8100)
	}, []string{"br0"}, false},
	{"a priority tag on a macvlan", func(t *testing.T, pbx, outside *lab.Namespace) []way {
		t.Helper()
		macvlan("eth0")(t, pbx, outside)
		return framed(pbx, outside, "mv0", shapeNet4+"1", shapeNet4, 0x8100)
	}, []string{"eth0"}, false},
}

// tagged are frames with tags of VLAN 0, which have a priority only (802.1p).
func tagged(tags ...uint16) func(t *testing.T, pbx, outside *lab.Namespace) []way {
	return func(_ *testing.T, pbx, outside *lab.Namespace) []way {
		return framed(pbx, outside, "eth0", "203.0.113.1", "203.0.113.", tags...)
	}
}

func framed(pbx, outside *lab.Namespace, link, to, network string, tags ...uint16) []way {
	w := way{provider: network + "5", stranger: network + "66", to: to}
	w.send = func(t *testing.T, from string, port int, payload []byte) {
		t.Helper()
		var hardware net.HardwareAddr
		labtest.In(t, pbx, func() error {
			i, err := net.InterfaceByName(link)
			if err == nil {
				hardware = i.HardwareAddr
			}
			return err
		})
		frame := append(slices.Clone(hardware), 2, 0, 0, 0, 0, 9)
		for _, tag := range tags {
			frame = binary.BigEndian.AppendUint16(frame, tag)
			frame = append(frame, 5<<5, 0) // priority 5, VLAN 0
		}
		frame = binary.BigEndian.AppendUint16(frame, unix.ETH_P_IP)
		transmit(t, outside, "eth0", append(frame, datagram(from, to, port, payload)...))
	}
	return []way{w}
}

// datagram is an IPv4 packet to port 5060.
func datagram(from, to string, port int, payload []byte) []byte {
	p := make([]byte, 28, 28+len(payload))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(cap(p)))
	copy(p[12:], netip.MustParseAddr(from).AsSlice())
	copy(p[16:], netip.MustParseAddr(to).AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum))
	binary.BigEndian.PutUint16(p[20:], uint16(port))
	binary.BigEndian.PutUint16(p[22:], 5060)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	return append(p, payload...)
}

// transmit puts a frame onto an interface as it is.
func transmit(t *testing.T, h *lab.Namespace, link string, frame []byte) {
	t.Helper()
	labtest.In(t, h, func() error {
		i, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index})
	})
}
