package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Message returns a SIP request as it is sent.
func Message(method, from, to, userAgent string) []byte {
	return fmt.Appendf(nil, "%[1]s sip:100@%[3]s SIP/2.0\r\n"+
		"Via: SIP/2.0/UDP %[2]s:5060;branch=z9hG4bK-lab;rport\r\n"+
		"Max-Forwards: 70\r\n"+
		"From: <sip:100@%[2]s>;tag=lab\r\n"+
		"To: <sip:100@%[3]s>\r\n"+
		"Call-ID: lab@%[2]s\r\n"+
		"CSeq: 1 %[1]s\r\n"+
		"Contact: <sip:100@%[2]s:5060>\r\n"+
		"User-Agent: %[4]s\r\n"+
		"Content-Length: 0\r\n\r\n", method, host(from), host(to), userAgent)
}

// host returns an address as the host part of a SIP URI.
func host(address string) string {
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
		return "[" + address + "]"
	}
	return address
}

// Send sends a message from an address of the host to an address and port, by "udp" or
// "tcp". By TCP it returns when everything is sent or the context ends.
func (n *Namespace) Send(ctx context.Context, protocol, from, to string, message []byte) error {
	err := n.Do(func() error {
		address, err := netip.ParseAddr(from)
		if err != nil {
			return err
		}
		source := netip.AddrPortFrom(address, 0)
		dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(source)}
		if protocol == "tcp" {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(source)
		}
		conn, err := dialer.DialContext(ctx, protocol, to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(message)
		return err
	})
	if err != nil {
		return fmt.Errorf("send from %s in %s: %w", from, n.Name, err)
	}
	return nil
}
