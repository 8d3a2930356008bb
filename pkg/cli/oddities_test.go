package cli_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// oddRegisters are REGISTERs of strangers that some server may take for something else, or
// may answer with 200. WHO is the stranger's address and port, VIAHOST what the Via has of
// that and VIA its protocol, IDENTITY a Call-ID.
var oddRegisters = map[string]string{
	"with the CSeq of an INVITE":              oddRegister("CSeq: 1 REGISTER", "CSeq: 1 INVITE"),
	"with the CSeq of OPTIONS":                oddRegister("CSeq: 1 REGISTER", "CSeq: 1 OPTIONS"),
	"with a CSeq in lower case":               oddRegister("CSeq: 1 REGISTER", "CSeq: 1 register"),
	"with a folded CSeq":                      oddRegister("CSeq: 1 REGISTER", "CSeq: 1\r\n INVITE"),
	"with two CSeq":                           oddRegister("CSeq: 1 REGISTER", "CSeq: 1 REGISTER\r\nCSeq: 2 INVITE"),
	"with two CSeq, the other first":          oddRegister("CSeq: 1 REGISTER", "CSeq: 2 OPTIONS\r\nCSeq: 1 REGISTER"),
	"with blanks before the colon":            oddRegister("CSeq: 1 REGISTER", "CSeq  : 1 OPTIONS"),
	"with a CSeq far behind":                  oddRegister("CSeq: 1 REGISTER", "X: "+strings.Repeat("x", 2100)+"\r\nCSeq: 1 OPTIONS"),
	"without a CSeq":                          oddRegister("CSeq: 1 REGISTER\r\n", ""),
	"with a CSeq too large":                   oddRegister("CSeq: 1 REGISTER", "CSeq: 99999999999999999999 REGISTER"),
	"with the method of a body":               oddRegister("Content-Length: 0\r\n\r\n", "Content-Type: message/sip\r\nContent-Length: 40\r\n\r\nINVITE sip:echo@pbx.example SIP/2.0\r\n\r\n\r\n"),
	"without Content-Length":                  oddRegister("Content-Length: 0\r\n", ""),
	"with a Content-Length too large":         oddRegister("Content-Length: 0", "Content-Length: 4000"),
	"with a negative Content-Length":          oddRegister("Content-Length: 0", "Content-Length: -1"),
	"with short names":                        oddRegister("Via:", "v:", "From:", "f:", "To:", "t:", "Call-ID:", "i:", "Contact:", "m:", "Content-Length:", "l:"),
	"that ends a registration":                oddRegister("Expires: 300", "Expires: 0"),
	"that ends all registrations":             oddRegister("Contact: <sip:100@WHO>", "Contact: *", "Expires: 300", "Expires: 0"),
	"that ends one by its contact":            oddRegister("Contact: <sip:100@WHO>", "Contact: <sip:100@WHO>;expires=0"),
	"that only asks":                          oddRegister("Contact: <sip:100@WHO>\r\n", ""),
	"with nowhere to go":                      oddRegister("Max-Forwards: 70", "Max-Forwards: 0"),
	"that requires what nobody has":           oddRegister("Max-Forwards: 70", "Max-Forwards: 70\r\nRequire: nothing\r\nProxy-Require: nothing"),
	"with another Via port":                   oddRegister(";rport", "", "VIAHOST", "192.0.2.99:5060"),
	"with maddr":                              oddRegister(";rport", ";maddr=192.0.2.99"),
	"with received":                           oddRegister(";rport", ";rport=5060;received=192.0.2.99"),
	"with two Via":                            oddRegister("Max-Forwards: 70", "Via: SIP/2.0/UDP 192.0.2.99:5060;branch=z9hG4bKother\r\nMax-Forwards: 70"),
	"with a Route elsewhere":                  oddRegister("Max-Forwards: 70", "Route: <sip:192.0.2.99;lr>\r\nMax-Forwards: 70"),
	"with a tag of the To":                    oddRegister("To: <sip:100@pbx.example>", "To: <sip:100@pbx.example>;tag=old"),
	"with a Path":                             oddRegister("Max-Forwards: 70", "Path: <sip:192.0.2.99;lr>\r\nSupported: path\r\nMax-Forwards: 70"),
	"of nobody":                               oddRegister("sip:100@pbx.example", "sip:pbx.example"),
	"of the echo":                             oddRegister("sip:100@pbx.example", "sip:echo@pbx.example"),
	"to the echo":                             oddRegister("REGISTER sip:pbx.example", "REGISTER sip:echo@pbx.example"),
	"to elsewhere":                            oddRegister("REGISTER sip:pbx.example", "REGISTER sip:other.example"),
	"to a telephone number":                   oddRegister("REGISTER sip:pbx.example", "REGISTER tel:100"),
	"of another version":                      oddRegister("sip:pbx.example SIP/2.0", "sip:pbx.example SIP/3.0"),
	"with two blanks":                         oddRegister("REGISTER sip:", "REGISTER  sip:"),
	"with an empty Authorization":             oddRegister("Max-Forwards: 70", "Authorization: Digest\r\nMax-Forwards: 70"),
	"with an Authorization of nothing":        oddRegister("Max-Forwards: 70", `Authorization: Digest username="100", realm="pbx.example", nonce="", uri="sip:pbx.example", response=""`+"\r\nMax-Forwards: 70"),
	"with a made up nonce":                    oddRegister("Max-Forwards: 70", `Authorization: Digest username="100", realm="pbx.example", nonce="1", uri="sip:pbx.example", response="d41d8cd98f00b204e9800998ecf8427e"`+"\r\nMax-Forwards: 70"),
	"with Basic":                              oddRegister("Max-Forwards: 70", "Authorization: Basic MTAwOnNlY3JldC0xMDA=\r\nMax-Forwards: 70"),
	"with a Proxy-Authorization":              oddRegister("Max-Forwards: 70", `Proxy-Authorization: Digest username="100", realm="pbx.example", nonce="1", uri="sip:pbx.example", response="1"`+"\r\nMax-Forwards: 70"),
	"with what a PBX answers in its branch":   oddRegister("branch=z9hG4bK", "branch=SIP/2.0 200 OK\r\n ;x=z9hG4bK"),
	"with what a PBX answers in its Call-ID":  oddRegister("Call-ID: ", "Call-ID: SIP/2.0 200 OK "),
	"with what a PBX answers in its User":     oddRegister("<sip:100@", `"SIP/2.0 200 OK" <sip:100@`),
	"with line feeds alone":                   strings.ReplaceAll(oddRegister(), "\r\n", "\n"),
	"with a NUL behind the headers":           oddRegister("Content-Length: 0\r\n\r\n", "Content-Length: 0\r\n\r\n\x00"),
	"with an INVITE behind a lone line break": oddRegister("Max-Forwards: 70", "Max-Forwards: 70\n\nINVITE sip:echo@pbx.example SIP/2.0"),
}

// oddRegister is a REGISTER with some texts replaced.
func oddRegister(replace ...string) string {
	text := "REGISTER sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/VIA VIAHOST;branch=z9hG4bKIDENTITY;rport\r\nMax-Forwards: 70\r\n" +
		"From: <sip:100@pbx.example>;tag=1\r\nTo: <sip:100@pbx.example>\r\nCall-ID: IDENTITY\r\nCSeq: 1 REGISTER\r\n" +
		"Contact: <sip:100@WHO>\r\nExpires: 300\r\nUser-Agent: phone\r\nContent-Length: 0\r\n\r\n"
	return strings.NewReplacer(replace...).Replace(text)
}

// TestNoFalseFriendOfRealPBX: whatever a real PBX makes of a stranger's REGISTER, it lets
// nobody in who does not know the password. Each comes from an address and port of its own,
// and calls right behind.
func TestNoFalseFriendOfRealPBX(t *testing.T) { eachPBX(t, testNoFalseFriendOfRealPBX) }

func testNoFalseFriendOfRealPBX(t *testing.T, pbx string) {
	t.Helper()
	r := newRoadsTo(t, pbx, crowded)
	h, source, _ := r.stranger(t, 9)
	phone := r.phone(t, "udp", homeInside+":5070", "honest")
	isAccepted(t, phone)
	answers, tried := map[int]int{}, 0
	for i, name := range slices.Sorted(maps.Keys(oddRegisters)) {
		for _, transport := range []string{"udp", "tcp"} {
			at := fmt.Sprintf("%s:%d", source, 20000+i)
			p, err := labtest.NewPhone(t.Context(), h, transport, at, pbx4+":5060", "100")
			labtest.Must(t, err)
			text := strings.NewReplacer("WHO", at, "VIAHOST", at, "VIA", strings.ToUpper(transport), "IDENTITY", fmt.Sprintf("odd%d%s", i, transport)).Replace(oddRegisters[name])
			labtest.Must(t, p.Send([]byte(text)))
			// The honest phone's answer comes behind what the PBX has had before.
			getsThrough(t, phone, true)
			invite := p.Request("INVITE", "echo@pbx.example")
			_ = p.Send(bytes.ReplaceAll(invite, []byte("Call-ID: "), []byte("Call-ID: call"))) // TCP may have been closed
			for {
				status, _, err := p.Answer(time.Millisecond)
				if err != nil {
					break
				}
				answers[status]++
				if status/100 == 2 {
					t.Errorf("%s by %s: the PBX answers with %d", name, transport, status)
				}
			}
			p.Close()
			tried++
		}
	}
	getsThrough(t, phone, true)
	t.Logf("%d requests are answered with %v", tried, answers)
	for _, method := range []string{"INVITE", "OPTIONS", "invite"} {
		if n := r.server.Requests(source, method); n != 0 {
			t.Errorf("%d requests of the stranger have come to the PBX as %s", n, method)
		}
	}
	if phones := r.must(t, 0, "phones").stdout; strings.Contains(phones, source) {
		t.Errorf("a stranger is let in:\n%s", phones)
	}
	labtest.Report(t, "P8", "odd REGISTERs of strangers to "+pbx, tried, "0 in")
}
