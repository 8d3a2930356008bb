package cli_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// registrar stands in for a PBX: it accepts each REGISTER that says "Authorization: good",
// refuses all others, and answers every other request with 200. Unlike a real one, it
// takes every request in a datagram for one.
type registrar struct {
	mu  sync.Mutex
	got []string // the requests, each as its method and Call-ID
	// padding are more headers of each answer, and split is where one by TCP is cut into two
	// segments, 0 for nowhere.
	padding string
	split   int
	// port is where answers by UDP go to, as Via may say, 0 for where the request came from.
	port int
	// took is how long each answer took to be sent, by its Call-ID.
	took map[string]time.Duration
}

// send sends an answer.
func (r *registrar) send(answer []byte, write func() error) {
	began := time.Now()
	_ = write() // who has asked may have gone
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.took == nil {
		r.took = map[string]time.Duration{}
	}
	r.took[header(string(answer), "Call-ID")] = took
}

// shape says how answers look from now on.
func (r *registrar) shape(padding string, split int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.padding, r.split = padding, split
}

// answersTo has answers by UDP go to a port of who asks from now on.
func (r *registrar) answersTo(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.port = port
}

// back is where an answer goes.
func (r *registrar) back(from net.Addr) net.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := *from.(*net.UDPAddr)
	to.Port = cmp.Or(r.port, to.Port)
	return &to
}

// startRegistrar listens on UDP and TCP until the test ends.
func startRegistrar(t *testing.T, h *lab.Namespace, addresses ...string) *registrar {
	t.Helper()
	r := &registrar{}
	for _, address := range addresses {
		r.listen(t, h, address)
	}
	return r
}

// listen listens at one more address.
func (r *registrar) listen(t *testing.T, h *lab.Namespace, address string) {
	t.Helper()
	var packets net.PacketConn
	var connections net.Listener
	labtest.In(t, h, func() (err error) {
		if packets, err = net.ListenPacket("udp", address); err == nil {
			connections, err = net.Listen("tcp", address)
		}
		return err
	})
	t.Cleanup(func() { packets.Close(); connections.Close() })
	go r.datagrams(packets)
	go r.streams(connections)
}

func (r *registrar) datagrams(c net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for text := string(buf[:max(n, 0)]); text != ""; {
			message, rest, _ := strings.Cut(text, "\r\n\r\n")
			if answer := r.answer(message); answer != nil {
				r.send(answer, func() error {
					_, err := c.WriteTo(answer, r.back(from))
					return err
				})
			}
			text = rest
		}
	}
}

func (r *registrar) streams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var text []byte
			buf := make([]byte, 65536)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				text = append(text, buf[:n]...)
				for {
					message, rest, found := bytes.Cut(text, []byte("\r\n\r\n"))
					if !found {
						break
					}
					if answer := r.answer(string(message)); answer != nil {
						r.mu.Lock()
						split := r.split
						r.mu.Unlock()
						r.send(answer, func() error {
							if split > 0 {
								c.Write(answer[:split])
							}
							_, err := c.Write(answer[split:])
							return err
						})
					}
					text = rest
				}
			}
		}()
	}
}

// answer takes note of a request and answers it.
func (r *registrar) answer(message string) []byte {
	message = strings.TrimLeft(message, "\r\n \x00")
	method, _, _ := strings.Cut(message, " ")
	if message == "" || strings.HasPrefix(method, "SIP/") {
		return nil
	}
	id := header(message, "Call-ID")
	r.mu.Lock()
	r.got = append(r.got, method+" "+id)
	padding := r.padding
	r.mu.Unlock()
	status := "200 OK"
	if strings.EqualFold(method, "REGISTER") && header(message, "Authorization") != "good" {
		status = "401 Unauthorized"
	}
	return fmt.Appendf(nil, "SIP/2.0 %s\r\nVia: %s\r\nFrom: %s\r\nCall-ID: %s\r\n%sContent-Length: 0\r\n\r\n",
		status, header(message, "Via"), header(message, "From"), id, padding)
}

// header is the value of a header, with its folded lines.
func header(message, name string) string {
	_, value, _ := strings.Cut(message+"\r\n", "\r\n"+name+": ")
	for i := 0; ; i += 2 {
		end := strings.Index(value[i:], "\r\n")
		if end < 0 {
			return value
		}
		if i += end; i+2 >= len(value) || value[i+2] != ' ' {
			return value[:i]
		}
	}
}

// sent is how long the answer to a request took to be sent, 0 if it is not yet.
func (r *registrar) sent(request string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, id, _ := strings.Cut(request, " ")
	return r.took[id]
}

func (r *registrar) has(request string) bool { return r.count(request) > 0 }

// count is how many requests came that begin with a text.
func (r *registrar) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, g := range r.got {
		if strings.HasPrefix(g, prefix) {
			n++
		}
	}
	return n
}

// cloud is a PBX with phones and others on the internet, who all come by one way.
type cloud struct {
	pbx, outside *lab.Namespace
	registrar    *registrar
	ids          int
	markers      net.Conn // of the provider
	markers6     net.Conn // the same, by IPv6
	port         int      // the last that was chosen
}

// The addresses of a cloud, of each family.
const (
	cloudPBX, cloudPBX6           = "203.0.113.1", "2001:db8:203::1"
	cloudProvider, cloudProvider6 = "203.0.113.5", "2001:db8:203::5"
	cloudPhone, cloudPhone6       = "203.0.113.66", "2001:db8:203::66"
	cloudOther, cloudOther6       = "203.0.113.67", "2001:db8:203::67"

	cloudPolicy = `version: 1
providers: [{name: acme, addresses: [` + cloudProvider + `, "` + cloudProvider6 + `"]}]
`
	registerPolicy = cloudPolicy + "unknown: {action: register}\n"
)

func newCloud(t *testing.T) *cloud {
	t.Helper()
	w := &cloud{pbx: labtest.Host(t, "pbx"), outside: labtest.Host(t, "outside")}
	labtest.Link(t,
		lab.End{Host: w.pbx, Interface: "eth0", Addresses: []string{cloudPBX + "/24", cloudPBX6 + "/64"}},
		lab.End{Host: w.outside, Interface: "eth0", Addresses: []string{
			cloudProvider + "/24", cloudPhone + "/24", cloudOther + "/24", cloudProvider6 + "/64", cloudPhone6 + "/64", cloudOther6 + "/64",
		}})
	w.registrar = startRegistrar(t, w.pbx, net.JoinHostPort(cloudPBX, "5060"), net.JoinHostPort(cloudPBX6, "5060"))
	w.markers = w.caller(t, "udp", cloudProvider, 5060)
	w.markers6 = w.caller(t, "udp", cloudProvider6, 5060)
	return w
}

// caller is somebody with a socket of his own.
type caller struct {
	net.Conn
	network, address string
}

// caller opens a socket to the PBX from an address; port 0 is one that nobody has had.
func (w *cloud) caller(t *testing.T, network, from string, port int) caller {
	t.Helper()
	to := cloudPBX
	if netip.MustParseAddr(from).Is6() {
		to = cloudPBX6
	}
	return w.peerTo(t, network, from, port, net.JoinHostPort(to, "5060"))
}

func (w *cloud) peerTo(t *testing.T, network, from string, port int, to string) caller {
	t.Helper()
	if port == 0 {
		w.port++
		port = 20000 + w.port
	}
	p := caller{network: network, address: from}
	labtest.In(t, w.outside, func() (err error) {
		local := net.Addr(&net.UDPAddr{IP: net.ParseIP(from), Port: port})
		if network == "tcp" {
			local = &net.TCPAddr{IP: net.ParseIP(from), Port: port}
		}
		p.Conn, err = (&net.Dialer{LocalAddr: local, Deadline: labtest.Deadline()}).Dial(network, to)
		return err
	})
	t.Cleanup(func() { p.Close() })
	return p
}

// Write gives each packet the time that a test waits: a connection may be used for longer.
func (p caller) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(labtest.Deadline()); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// Read does the same for each answer.
func (p caller) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(labtest.Deadline()); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// request is a request with a Call-ID of its own and some more headers.
func (w *cloud) request(method string, headers ...string) (text, id string) {
	w.ids++
	id = fmt.Sprintf("call-%d", w.ids)
	text = method + " sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-" + id + ";rport\r\nFrom: <sip:a@pbx.example>;tag=1\r\nCall-ID: " + id + "\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	return text + "Content-Length: 0\r\n\r\n", method + " " + id
}

// good and bad are the headers of those who know the password, and of others.
const good, bad = "Authorization: good", "Authorization: bad"

// arrives sends a request and reports whether the PBX has got it when it gets what the
// provider sends right after.
func (w *cloud) arrives(t *testing.T, p caller, method string, headers ...string) bool {
	t.Helper()
	text, id := w.request(method, headers...)
	return w.came(t, p, text, id)
}

// reaches sends a request that has to reach the PBX, and waits for it: another processor may
// still have it when what the provider sends right after has come.
func (w *cloud) reaches(t *testing.T, p caller, method, what string) {
	t.Helper()
	text, id := w.request(method)
	_, err := p.Write([]byte(text))
	labtest.Must(t, err)
	labtest.Until(t, what, func() bool { return w.registrar.has(id) })
}

// came does the same with a text of any kind, which holds the request.
func (w *cloud) came(t *testing.T, p caller, text, id string) bool {
	t.Helper()
	_, err := p.Write([]byte(text))
	labtest.Must(t, err)
	w.mark(t)
	return w.registrar.has(id)
}

// mark waits until the PBX has got what was sent before. It sends two packets one after
// the other: one alone may overtake what another processor still has in its queue. The PBX
// has a socket for each family.
func (w *cloud) mark(t *testing.T) {
	t.Helper()
	for _, markers := range []net.Conn{w.markers, w.markers6, w.markers} {
		if markers == nil {
			continue // this PBX is not reached by IPv6
		}
		text, id := w.request("OPTIONS")
		_, err := markers.Write([]byte(text))
		labtest.Must(t, err)
		labtest.Until(t, "the provider's packet", func() bool { return w.registrar.has(id) })
	}
}

// status waits for an answer and returns its status.
func (p caller) status(t *testing.T) string {
	t.Helper()
	buf := make([]byte, 65536)
	n, err := p.Read(buf)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	status, _, _ := strings.Cut(strings.TrimPrefix(string(buf[:n]), "SIP/2.0 "), " ")
	return status
}

// registers logs in as phones do: first without the password. It reports whether the PBX
// has accepted it.
func (w *cloud) registers(t *testing.T, p caller, headers ...string) bool {
	t.Helper()
	for _, authorization := range []string{"Authorization: none", good} {
		text, _ := w.request("REGISTER", append(headers, authorization)...)
		_, err := p.Write([]byte(text))
		labtest.Must(t, err)
		if p.status(t) == "200" {
			return true
		}
	}
	return false
}
