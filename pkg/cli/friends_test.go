package cli_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// falseFriend is a way in which a stranger tries to be taken for a phone, or to get a
// request past the fence without that. It returns the request that must not arrive.
type falseFriend struct {
	name string
	try  func(t *testing.T, w *cloud, from string) (id string)
	// classifier says that it takes the classifier to keep it out: without, another
	// request passes behind a REGISTER in the same packet.
	classifier bool
	// once says that it is of IPv4 alone, or that the family makes no difference, and once6
	// that it is of IPv6 alone.
	once, once6 bool
}

// says is a stranger who sends one text, which holds an INVITE.
func says(network, format string) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, from string) string {
		t.Helper()
		invite, id := w.request("INVITE")
		register, _ := w.request("REGISTER", bad)
		text := strings.NewReplacer("INVITE!", invite, "REGISTER!", register, "OPEN!", strings.TrimSuffix(register, "\r\n")).Replace(format)
		p := w.caller(t, network, from, 0)
		w.write(t, p, text)
		return id
	}
}

// then is a stranger who sends what a friend of his does to the PBX, and an INVITE from
// the same socket.
func then(network string, before func(t *testing.T, w *cloud, p caller)) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, from string) string {
		t.Helper()
		p := w.caller(t, network, from, 0)
		before(t, w, p)
		invite, id := w.request("INVITE")
		w.write(t, p, invite)
		return id
	}
}

func (w *cloud) write(t *testing.T, p caller, text string) {
	t.Helper()
	_, err := p.Write([]byte(text))
	labtest.Must(t, err)
}

// refusedFirst sends a REGISTER that the PBX refuses.
func refusedFirst(t *testing.T, w *cloud, p caller) {
	t.Helper()
	text, _ := w.request("REGISTER", bad)
	w.write(t, p, text)
	if status := p.status(t); status != "401" {
		t.Fatalf("a wrong password was answered with %s", status)
	}
}

// spellings are requests that some servers take for an INVITE or a REGISTER.
func spellings() []falseFriend {
	var all []falseFriend
	for name, text := range map[string]string{
		"an INVITE":                       "INVITE!",
		"behind line breaks":              "\r\n\r\nINVITE!",
		"behind a NUL":                    "\x00INVITE!",
		"behind blanks":                   "  INVITE!",
		"behind a byte order mark":        "\ufeffINVITE!",
		"behind the word REGISTER":        "REGISTER\r\nINVITE!",
		"behind REGISTER and a tab":       "REGISTER\tINVITE!",
		"behind a REGISTER in lower case": "register sip:a SIP/2.0\r\n\r\nINVITE!",
		"behind line breaks and REGISTER": "\r\nREGISTER!INVITE!",
		"behind a response":               "SIP/2.0 200 OK\r\n\r\nINVITE!",
		"behind another response":         "SIP/2.0 100 Trying\r\nContent-Length: 0\r\n\r\nINVITE!",
	} {
		for _, network := range []string{"udp", "tcp"} {
			all = append(all, falseFriend{name: name + " by " + network, try: says(network, text)})
		}
	}
	for name, text := range map[string]string{
		"behind a REGISTER":                          "REGISTER!INVITE!",
		"behind a REGISTER and line breaks":          "REGISTER!\r\n\r\nINVITE!",
		"behind two REGISTERs":                       "REGISTER!REGISTER!INVITE!",
		"in the body of a REGISTER":                  "OPEN!Content-Length: 900\r\n\r\nINVITE!",
		"behind a REGISTER with bare line feeds":     "REGISTER sip:a SIP/2.0\nX: y\r\n\r\nINVITE!",
		"behind a REGISTER without headers":          "REGISTER sip:a SIP/2.0\r\n\r\nINVITE!",
		"behind a REGISTER that is no request":       "REGISTER x\r\n\r\nINVITE!",
		"behind a REGISTER longer than what is read": "REGISTER sip:a SIP/2.0\r\nX: " + strings.Repeat("x", 2100) + "\r\n\r\nINVITE!",
	} {
		for _, network := range []string{"udp", "tcp"} {
			all = append(all, falseFriend{name: name + " by " + network, try: says(network, text), classifier: true})
		}
	}
	return all
}

func falseFriends() []falseFriend {
	all := append(spellings(),
		falseFriend{name: "after a refused REGISTER by udp", try: then("udp", refusedFirst)},
		falseFriend{name: "after a refused REGISTER by tcp", try: then("tcp", refusedFirst)},
		falseFriend{name: "after OPTIONS that nobody answers", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			text, _ := w.request("OPTIONS")
			w.write(t, p, text)
			w.mark(t)
		})},
		falseFriend{name: "after OPTIONS between two REGISTERs", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			refusedFirst(t, w, p)
			text, _ := w.request("OPTIONS")
			w.write(t, p, text)
			refusedFirst(t, w, p)
		})},
		falseFriend{name: "with a 200 that the stranger sends himself", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			refusedFirst(t, w, p)
			w.write(t, p, "SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\n\r\n")
		})},
		falseFriend{name: "while a phone behind the same address is accepted", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			refusedFirst(t, w, p)
			if !w.registers(t, w.caller(t, "udp", p.address, 0)) {
				t.Fatal("a phone was not accepted")
			}
			refusedFirst(t, w, p)
		})},
		falseFriend{name: "while a phone behind the same address calls", try: then("udp", func(t *testing.T, w *cloud, p caller) {
			phone := w.caller(t, "udp", p.address, 0)
			if !w.registers(t, phone) || !w.arrives(t, phone, "OPTIONS") {
				t.Fatal("a phone was not accepted")
			}
			refusedFirst(t, w, p)
		})},
		falseFriend{name: "of a phone that has ended its registration", classifier: true, try: then("udp", func(t *testing.T, w *cloud, p caller) {
			if !w.registers(t, p) || !w.arrives(t, p, "INVITE") || p.status(t) != "200" || !w.registers(t, p, "Expires: 0") {
				t.Fatal("a phone was not accepted")
			}
		})},
		falseFriend{name: "of a phone that has ended its only contact", classifier: true, try: then("udp", func(t *testing.T, w *cloud, p caller) {
			if !w.registers(t, p) || !w.registers(t, p, "Contact: <sip:old>;expires=0, <sip:new>") || !w.arrives(t, p, "INVITE") ||
				p.status(t) != "200" || !w.registers(t, p, "Contact: <sip:new>;q=1; expires=0", "Expires: 300") {
				t.Fatal("a phone was not accepted")
			}
		})},
		falseFriend{name: "of a phone with Contact: *, by tcp", classifier: true, try: then("tcp", func(t *testing.T, w *cloud, p caller) {
			if !w.registers(t, p) || !w.arrives(t, p, "INVITE") || p.status(t) != "200" || !w.registers(t, p, "Contact: *", "Expires: 0") {
				t.Fatal("a phone was not accepted")
			}
		})},
		falseFriend{name: "after an answer from another port", try: otherPort},
		falseFriend{name: "in the rest of a REGISTER by tcp", try: then("tcp", func(t *testing.T, w *cloud, p caller) {
			w.write(t, p, "REGISTER sip:a SIP/2.0\r\n")
			w.mark(t)
			w.write(t, p, "X: y\r\n\r\n")
			w.mark(t)
		})},
		falseFriend{name: "in two segments", try: splitInvite},
		falseFriend{name: "in fragments", classifier: true, try: says("udp", "REGISTER sip:a SIP/2.0\r\nX: "+strings.Repeat("x", 1600)+"\r\n\r\nINVITE!")},
		falseFriend{name: "in fragments behind TCP's header", try: headerAlone},
		falseFriend{name: "in fragments of its own", try: says("udp", "INVITE!"+strings.Repeat("x", 1600))},
		falseFriend{name: "with options of IPv4", once: true, try: option(unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x01")},
		falseFriend{name: "behind all options of IPv4", once: true, try: option(unix.IPPROTO_IP, unix.IP_OPTIONS, strings.Repeat("\x01", 40))},
		falseFriend{name: "by UDP-Lite", once: true, try: byUDPLite},
		falseFriend{name: "with the header of TCP made to look like a REGISTER", once: true, try: registerAsHeader},
		falseFriend{name: "by the echo of a request", try: echoed},
		falseFriend{name: "by the echo of a whole header", classifier: true, try: echoedHeader},
	)
	return all
}

// otherPort has a server on a port that is not fenced answer the stranger with 200.
func otherPort(t *testing.T, w *cloud, from string) string {
	t.Helper()
	at := cloudPBX
	if netip.MustParseAddr(from).Is6() {
		at = cloudPBX6
	}
	startRegistrar(t, w.pbx, net.JoinHostPort(at, "5070"))
	p := w.caller(t, "udp", from, 0)
	refusedFirst(t, w, p)
	port := p.LocalAddr().(*net.UDPAddr).Port
	labtest.Must(t, p.Close())
	q := w.peerTo(t, "udp", from, port, net.JoinHostPort(at, "5070"))
	text, _ := w.request("OPTIONS")
	w.write(t, q, text)
	if q.status(t) != "200" {
		t.Fatal("the other server has not answered")
	}
	labtest.Must(t, q.Close())
	again := w.caller(t, "udp", from, port)
	invite, id := w.request("INVITE")
	w.write(t, again, invite)
	return id
}

func splitInvite(t *testing.T, w *cloud, from string) string {
	t.Helper()
	p := w.caller(t, "tcp", from, 0)
	text, id := w.request("INVITE")
	w.write(t, p, text[:3])
	w.mark(t)
	w.write(t, p, text[3:])
	return id
}

// option sends the INVITE with an option set on the socket.
func option(level, name int, value string) func(t *testing.T, w *cloud, from string) string {
	return func(t *testing.T, w *cloud, from string) string {
		t.Helper()
		p := w.caller(t, "udp", from, 0)
		raw, err := p.Conn.(*net.UDPConn).SyscallConn()
		labtest.Must(t, err)
		labtest.Must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), level, name, value) }))
		labtest.Must(t, err)
		text, id := w.request("INVITE")
		w.write(t, p, text)
		return id
	}
}

// raw sends the payload of an IP packet.
func (w *cloud) raw(t *testing.T, protocol int, from string, payload []byte) {
	t.Helper()
	labtest.In(t, w.outside, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(from).As4()}); err != nil {
			return err
		}
		return unix.Sendto(fd, payload, 0, &unix.SockaddrInet4{Addr: netip.MustParseAddr(cloudPBX).As4()})
	})
}

func byUDPLite(t *testing.T, w *cloud, from string) string {
	t.Helper()
	text, id := w.request("INVITE")
	w.raw(t, unix.IPPROTO_UDPLITE, from, append([]byte{0x9c, 0x40, 0x13, 0xc4, 0, 0, 0, 0}, "REGISTER "+text...))
	return id
}

// registerAsHeader has the bytes of "REGISTER " where UDP has its payload.
func registerAsHeader(t *testing.T, w *cloud, from string) string {
	t.Helper()
	text, id := w.request("INVITE")
	header := append([]byte{0x9c, 0x40, 0x13, 0xc4, 0, 0, 0, 1}, "REGISTER \x00\x00\x00"...)
	w.raw(t, unix.IPPROTO_TCP, from, append(header, text...))
	return id
}

// echoed has the PBX repeat, in its refusal, what looks like its acceptance, and reads the
// refusal in parts, so that a segment of it begins just there.
func echoed(t *testing.T, w *cloud, from string) string {
	t.Helper()
	const piece = "SIP/2.0 200 OK\r\n "
	ids := make([]string, 0, len(piece))
	for phase := range piece {
		p := w.slowly(t, from)
		text, register := w.request("REGISTER", bad)
		text = strings.Replace(text, "tag=1\r\n", "tag="+strings.Repeat("x", phase)+strings.Repeat(piece, 60)+"x\r\n", 1)
		w.write(t, p, text)
		w.mark(t)
		buf, all := make([]byte, 97), ""
		// The classifier keeps the REGISTER itself out.
		for w.registrar.has(register) && !strings.HasSuffix(all, "\r\n\r\n") {
			n, err := p.Read(buf)
			labtest.Must(t, err)
			all += string(buf[:n])
		}
		invite, id := w.request("INVITE")
		w.write(t, p, invite)
		ids = append(ids, id)
		w.mark(t)
		if w.registrar.has(id) {
			return id
		}
	}
	return ids[0]
}

// echoedHeader has the PBX repeat, in its refusal, a header that ends as the first line of its
// acceptance does, and be read so that a segment begins just there.
func echoedHeader(t *testing.T, w *cloud, from string) string {
	t.Helper()
	p := w.caller(t, "tcp", from, 0)
	text, _ := w.request("REGISTER", bad)
	text = strings.Replace(text, ";tag=1\r\n", ";tag=SIP/2.0 200 OK\r\n", 1)
	w.registrar.shape("", strings.Index(string(w.registrar.answer(strings.TrimSuffix(text, "\r\n\r\n"))), "SIP/2.0 200 OK"))
	defer w.registrar.shape("", 0)
	w.write(t, p, text)
	w.mark(t)
	invite, id := w.request("INVITE")
	w.write(t, p, invite)
	return id
}

// slowly opens a connection on which little can be under way.
func (w *cloud) slowly(t *testing.T, from string) caller {
	t.Helper()
	to, local := cloudPBX, &net.TCPAddr{IP: net.ParseIP(from)}
	if netip.MustParseAddr(from).Is6() {
		to = cloudPBX6
	}
	p := caller{network: "tcp", address: from}
	labtest.In(t, w.outside, func() (err error) {
		d := net.Dialer{LocalAddr: local, Deadline: labtest.Deadline(), Control: small}
		p.Conn, err = d.Dial("tcp", net.JoinHostPort(to, "5060"))
		return err
	})
	t.Cleanup(func() { p.Close() })
	return p
}

// TestNoFalseFriend: nobody gets a request in without having logged in.
func TestNoFalseFriend(t *testing.T) {
	t.Parallel()
	eachBackend(t, testNoFalseFriend)
}

func testNoFalseFriend(t *testing.T) {
	t.Helper()
	for _, engine := range []string{"auto", "off"} {
		t.Run("engine "+engine, func(t *testing.T) {
			w := newCloud(t)
			s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: register, rate: 1000000/s}\nguessing: {failures: 0}\nsignatures: {engine: "+engine+"}\n")
			s.must(t, 0, "apply")
			tried := 0
			for i, f := range slices.Concat(falseFriends(), oddWays(), oddSegments()) {
				if f.classifier && engine == "off" || !isTried(t, i, engine) {
					continue
				}
				for _, from := range []string{cloudPhone, cloudPhone6} {
					if f.once && from == cloudPhone6 || f.once6 && from == cloudPhone {
						continue
					}
					t.Run(f.name+" from "+from, func(t *testing.T) {
						id := f.try(t, w, from)
						w.mark(t)
						if w.registrar.has(id) {
							t.Errorf("it is in:\n%s", s.must(t, 0, "phones").stdout)
						}
					})
					tried++
				}
			}
			labtest.Report(t, "P8", "false friends, engine "+engine+", "+backendOf(t), tried, "0 in")
		})
	}
}

// isTried reports whether a shape is tried over the back end of the test. The short form
// tries all over nftables, and a fifth of them over each flavour of iptables with each
// engine.
func isTried(t *testing.T, shape int, engine string) bool {
	t.Helper()
	parts := []string{"iptables-legacy auto", "iptables-nft auto", "iptables-legacy off", "iptables-nft off"}
	part := slices.Index(parts, backendOf(t)+" "+engine)
	return part < 0 || labtest.Count(0, 1) > 0 || shape%(len(parts)+1) == part
}

// small has a socket take little at a time.
func small(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2304),
			unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, 600))
	}), err)
}
