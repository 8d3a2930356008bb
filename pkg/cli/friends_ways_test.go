package cli_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// Headers of IPv6 between its own and that of UDP: 8 bytes of padding each.
const padding = "\x00\x00\x01\x04\x00\x00\x00\x00"

// oddWays are false friends that come in, or are answered, in other ways than as plain
// packets.
func oddWays() []falseFriend {
	all := []falseFriend{
		{name: "with the Call-ID of a phone that is accepted", try: then("udp", sameCallID)},
		{name: "while what bears an answer comes back as an error", try: answerInError},
		{name: "that sends answers to its own REGISTER to all ports", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			refusedFirst(t, w, p)
			for _, text := range []string{"SIP/2.0 200 OK\r\n\r\n", "\r\n\r\n", "SIP/2.0 200 OK", "REGISTER \r\n\r\n"} {
				w.write(t, p, text)
			}
			w.mark(t)
		})},
		{name: "whose failures end in a CANCEL and an ACK", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			refusedFirst(t, w, p)
			for _, method := range []string{"CANCEL", "ACK", "BYE", "PRACK"} {
				text, _ := w.request(method)
				w.write(t, p, text)
			}
			w.mark(t)
		})},
	}
	for _, network := range []string{"udp", "tcp"} {
		for name, link := range map[string][2]string{
			"VLAN": {"link eth0 name eth0.7 type vlan id 7", "eth0.7"},
			"IPIP": {"name tun0 type ipip", "tun0"},
			"GRE":  {"name gre9 type gre", "gre9"},
		} {
			all = append(all, falseFriend{name: "by " + name + " and " + network, once: true, try: byLink(network, link[0], link[1])})
		}
		all = append(all, falseFriend{name: "from the other protocol's port after a refused REGISTER, by " + network, try: otherProtocol(network)})
	}
	for name, headers := range map[string]string{"hop by hop": padding, "two of them": "\x00\x01\x01\x0c" + strings.Repeat("\x00", 12)} {
		for kind, option6 := range map[string]int{"for all": unix.IPV6_HOPOPTS, "for the destination": unix.IPV6_DSTOPTS} {
			all = append(all, falseFriend{name: fmt.Sprintf("behind headers of IPv6 %s, %s", kind, name), once6: true, try: option(unix.IPPROTO_IPV6, option6, headers)})
		}
	}
	return all
}

// sameCallID has a phone behind the same address accepted with the Call-ID, and all else,
// of a request that was refused to the stranger.
func sameCallID(t *testing.T, w *cloud, p caller) {
	t.Helper()
	text, _ := w.request("REGISTER", bad)
	w.write(t, p, text)
	if status := p.status(t); status != "401" {
		t.Fatalf("a wrong password was answered with %s", status)
	}
	phone := w.caller(t, "udp", p.address, 0)
	w.write(t, phone, strings.Replace(text, bad, good, 1))
	if status := phone.status(t); status != "200" {
		t.Fatalf("a phone was answered with %s", status)
	}
	refusedFirst(t, w, p)
}

// answerInError has the host of the PBX send back what looks like an answer, in an error
// about a port where nobody listens.
func answerInError(t *testing.T, w *cloud, from string) string {
	t.Helper()
	p := w.caller(t, "udp", from, 0)
	refusedFirst(t, w, p)
	port := p.LocalAddr().(*net.UDPAddr).Port
	closed := net.JoinHostPort(p.RemoteAddr().(*net.UDPAddr).IP.String(), "5099")
	labtest.Must(t, p.Close())
	q := w.peerTo(t, "udp", from, port, closed)
	w.write(t, q, "SIP/2.0 200 OK\r\n\r\n")
	if _, err := q.Read(make([]byte, 1)); err == nil {
		t.Fatal("somebody listens")
	}
	labtest.Must(t, q.Close())
	invite, id := w.request("INVITE")
	w.write(t, w.caller(t, "udp", from, port), invite)
	return id
}

// otherProtocol has the stranger's REGISTER refused by the other of UDP and TCP, from the
// same port.
func otherProtocol(network string) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, from string) string {
		t.Helper()
		other := map[string]string{"udp": "tcp", "tcp": "udp"}[network]
		p := w.caller(t, other, from, 0)
		refusedFirst(t, w, p)
		q := w.caller(t, network, from, 20000+w.port)
		invite, id := w.request("INVITE")
		w.write(t, q, invite)
		return id
	}
}

// byLink has the stranger come by another link between both hosts, first with a REGISTER.
func byLink(network, words, name string) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, _ string) string {
		t.Helper()
		net4 := fmt.Sprintf("198.51.%d.", 100+len(name)+len(network))
		for i, h := range []*lab.Namespace{w.pbx, w.outside} {
			// It may be there, of the other protocol's turn.
			if _, err := labtest.TryInput(t, h, "", "ip", "link", "show", name); err == nil {
				labtest.Run(t, h, "ip", "link", "del", name)
			}
			ends := []string{cloudPBX, cloudOther}
			if !strings.Contains(words, "vlan") {
				words = strings.Split(words, " local ")[0] + " local " + ends[i] + " remote " + ends[1-i]
			}
			addLink(t, h, words)
			labtest.Run(t, h, "ip", "link", "set", name, "up")
			labtest.Must(t, h.AddAddress(name, fmt.Sprintf("%s%d/24", net4, i+1)))
		}
		w.registrar.listen(t, w.pbx, net4+"1:5060")
		p := w.peerTo(t, "udp", net4+"2", 0, net4+"1:5060")
		text, _ := w.request("REGISTER", bad)
		w.write(t, p, text)
		if network == "tcp" {
			p = w.peerTo(t, "tcp", net4+"2", 0, net4+"1:5060")
		}
		invite, id := w.request("INVITE")
		w.write(t, p, invite)
		return id
	}
}
