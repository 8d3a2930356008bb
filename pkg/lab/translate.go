package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Forward is a port on a router's outside that is forwarded to a host inside.
type Forward struct {
	Port uint16
	To   netip.AddrPort // IPv4
}

// Translate makes the host a home router. What leaves by the outside interface gets the
// router's address, and the forwarded ports lead inside, by UDP and TCP. IPv6 is not
// translated.
func (n *Namespace) Translate(outside string, forwards ...Forward) error {
	err := n.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		translate(conn, outside, forwards)
		return conn.Flush()
	})
	if err != nil {
		return fmt.Errorf("translate addresses in %s: %w", n.Name, err)
	}
	return nil
}

func translate(conn *nftables.Conn, outside string, forwards []Forward) {
	table := conn.AddTable(&nftables.Table{Name: "translation", Family: nftables.TableFamilyIPv4})
	leaving := conn.AddChain(&nftables.Chain{
		Table: table, Name: "postrouting", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: leaving, Exprs: append(interfaceIs(expr.MetaKeyOIFNAME, outside), &expr.Masq{})})
	coming := conn.AddChain(&nftables.Chain{
		Table: table, Name: "prerouting", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	for _, f := range forwards {
		for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			conn.AddRule(&nftables.Rule{Table: table, Chain: coming, Exprs: append(interfaceIs(expr.MetaKeyIIFNAME, outside),
				// [ meta load l4proto => reg 1 ] [ cmp eq reg 1 … ]
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Register: 1, Data: []byte{protocol}},
				// [ payload load 2b @ transport header + 2 => reg 1 ]
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Register: 1, Data: binaryutil.BigEndian.PutUint16(f.Port)},
				// [ nat dnat ip addr_min reg 1 proto_min reg 2 ]
				&expr.Immediate{Register: 1, Data: f.To.Addr().AsSlice()},
				&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(f.To.Port())},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
			)})
		}
	}
}

func interfaceIs(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Register: 1, Data: binaryutil.PutString(name)}}
}
