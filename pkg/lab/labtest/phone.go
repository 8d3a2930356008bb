package labtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
)

// Phone is a SIP phone with one socket. It sends each request once, so that a request
// that is lost is seen.
type Phone struct {
	User, Password string
	// ByContact has it say behind its contact for how long it registers, not in a header.
	ByContact bool

	conn      net.Conn
	in        *bufio.Reader // of TCP
	transport string
	call      int
	nonce     string // of the PBX's last question for a password
}

// NewPhone opens a phone in a host, which has a socket from its own address and port to
// those of the PBX. The transport is udp or tcp.
func NewPhone(ctx context.Context, n *lab.Namespace, transport, from, to, user string) (*Phone, error) {
	p := &Phone{User: user, Password: "secret-" + user, transport: strings.ToUpper(transport)}
	err := n.Do(func() (err error) {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		if transport == "udp" {
			dialer.LocalAddr, err = net.ResolveUDPAddr("udp", from)
		} else {
			dialer.LocalAddr, err = net.ResolveTCPAddr("tcp", from)
		}
		if err == nil {
			p.conn, err = dialer.DialContext(ctx, transport, to)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect phone %s: %w", user, err)
	}
	if transport == "tcp" {
		p.in = bufio.NewReader(p.conn)
	}
	return p, nil
}

// LocalAddr is the address and port that it has itself.
func (p *Phone) LocalAddr() netip.AddrPort {
	if a, ok := p.conn.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Close closes the socket.
func (p *Phone) Close() error { return p.conn.Close() }

// branches counts the requests of all phones: a PBX takes two of the same branch for one.
var branches atomic.Int64

// Request makes a request with some more lines of header. Each one is of a call of its
// own.
func (p *Phone) Request(method, to string, lines ...string) []byte {
	p.call++
	var m bytes.Buffer
	fmt.Fprintf(&m, "%s sip:%s SIP/2.0\r\n", method, to)
	fmt.Fprintf(&m, "Via: SIP/2.0/%s %s;branch=z9hG4bK%d;rport\r\n", p.transport, p.conn.LocalAddr(), branches.Add(1))
	fmt.Fprintf(&m, "Max-Forwards: 70\r\nFrom: <sip:%s@pbx.example>;tag=%d\r\n", p.User, p.call)
	if method == "REGISTER" {
		to = p.User + "@pbx.example"
	}
	fmt.Fprintf(&m, "To: <sip:%s>\r\nCall-ID: %d-%s@%s\r\nCSeq: 1 %s\r\n", to, p.call, p.User, p.conn.LocalAddr(), method)
	fmt.Fprintf(&m, "Contact: <sip:%s@%s;transport=%s>\r\n", p.User, p.conn.LocalAddr(), strings.ToLower(p.transport))
	for _, line := range lines {
		m.WriteString(line + "\r\n")
	}
	m.WriteString("User-Agent: phone\r\nContent-Length: 0\r\n\r\n")
	return m.Bytes()
}

// Send sends a message.
func (p *Phone) Send(message []byte) error {
	_, err := p.conn.Write(message)
	return err
}

// ErrNoAnswer says that no answer has come in time.
var ErrNoAnswer = errors.New("no answer")

// Answer reads the next answer and returns its status and text.
func (p *Phone) Answer(within time.Duration) (status int, text string, err error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return 0, "", err
	}
	if p.in == nil {
		buf := make([]byte, 65536)
		var n int
		if n, err = p.conn.Read(buf); err == nil {
			text = string(buf[:n])
		}
	} else {
		text, err = readMessage(p.in)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, "", ErrNoAnswer
	}
	if err != nil {
		return 0, "", err
	}
	if _, rest, ok := strings.Cut(text, "SIP/2.0 "); ok && len(rest) >= 3 {
		status, _ = strconv.Atoi(rest[:3])
	}
	return status, text, nil
}

// readMessage reads a message without a body from a stream.
func readMessage(r *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			return text.String(), err
		}
		if strings.TrimSpace(line) == "" && text.Len() > 4 {
			break
		}
	}
	length := contentLength.FindStringSubmatch(text.String())
	if length == nil {
		return text.String(), nil
	}
	n, _ := strconv.Atoi(length[1])
	_, err := io.CopyN(&text, r, int64(n))
	return text.String(), err
}

var contentLength = regexp.MustCompile(`(?im)^Content-Length:\s*(\d+)`)

var nonceOf = regexp.MustCompile(`nonce="([^"]*)"`)

// Ask sends a request and returns the status of the answer, 0 if none comes in time.
// Provisional answers are no answer, and those to other requests are not either.
func (p *Phone) Ask(request []byte, within time.Duration) (status int, text string, err error) {
	if err := p.Send(request); err != nil {
		return 0, "", err
	}
	id := callID.FindSubmatch(request)
	for status < 200 || id != nil && !strings.Contains(text, string(id[1])) {
		status, text, err = p.Answer(within)
		if errors.Is(err, ErrNoAnswer) {
			return 0, "", nil
		}
		if err != nil {
			return 0, "", err
		}
	}
	return status, text, nil
}

var callID = regexp.MustCompile(`(?im)^Call-ID:\s*(\S+)`)

// Register registers for a number of seconds, with an answer to the PBX's question for a
// password. It returns the last status, 0 if an answer does not come in time.
func (p *Phone) Register(seconds int, within time.Duration) (int, error) {
	status, text, err := p.Ask(p.registration(seconds), within)
	if err != nil || status != 401 {
		return status, err
	}
	nonce := nonceOf.FindStringSubmatch(text)
	if nonce == nil {
		return status, errors.New("the PBX asks for a password without a nonce")
	}
	p.nonce = nonce[1]
	status, _, err = p.Ask(p.registration(seconds, p.Authorization("REGISTER", "pbx.example", p.nonce)), within)
	return status, err
}

func (p *Phone) registration(seconds int, lines ...string) []byte {
	if !p.ByContact {
		return p.Request("REGISTER", "pbx.example", append(lines, fmt.Sprintf("Expires: %d", seconds))...)
	}
	contact := fmt.Sprintf(";transport=%s>", strings.ToLower(p.transport))
	return bytes.ReplaceAll(p.Request("REGISTER", "pbx.example", lines...), []byte(contact), fmt.Appendf(nil, "%s;expires=%d", contact, seconds))
}

// RegisterAgain is Register with the answer to the PBX's question of before.
func (p *Phone) RegisterAgain(seconds int, within time.Duration) (int, error) {
	if p.nonce == "" {
		return p.Register(seconds, within)
	}
	status, _, err := p.Ask(p.registration(seconds, p.Authorization("REGISTER", "pbx.example", p.nonce)), within)
	return status, err
}

// Refresh is RegisterAgain, as phones do it. Where the PBX asks another question it is
// answered.
func (p *Phone) Refresh(seconds int, within time.Duration) (int, error) {
	status, err := p.RegisterAgain(seconds, within)
	if err != nil || status != 401 {
		return status, err
	}
	return p.Register(seconds, within)
}

// Authorization is the line that answers a question for a password, RFC 2617.
func (p *Phone) Authorization(method, to, nonce string) string {
	hash := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	who := hash(p.User + ":pbx.example:" + p.Password)
	response := hash(who + ":" + nonce + ":" + hash(method+":sip:"+to))
	return fmt.Sprintf(`Authorization: Digest username="%s", realm="pbx.example", nonce="%s", uri="sip:%s", response="%s"`,
		p.User, nonce, to, response)
}

// Call calls the PBX, with an answer to its question for a password if it asks one. It
// returns the status of the answer, 0 if none comes in time.
func (p *Phone) Call(within time.Duration) (int, error) {
	const to = "echo@pbx.example"
	invite := p.Request("INVITE", to)
	status, text, err := p.Ask(invite, within)
	if err != nil || status != 401 {
		return status, err
	}
	if err := p.Send(bytes.ReplaceAll(invite, []byte("INVITE"), []byte("ACK"))); err != nil {
		return status, err
	}
	nonce := nonceOf.FindStringSubmatch(text)
	if nonce == nil {
		return status, errors.New("the PBX asks for a password without a nonce")
	}
	status, _, err = p.Ask(p.Request("INVITE", to, p.Authorization("INVITE", to, nonce[1])), within)
	return status, err
}
