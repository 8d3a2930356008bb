package classifier_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// pieces are what messages are made of that begin as a REGISTER does, or nearly.
var pieces = []string{
	"\r\n", "\r\n", "\r\n", "\n", "\r", "\x00", " ", "Expires: 0\r\n", "expires:\t 0\r\n", "Expires: 3600\r\n", "Contact: *\r\n", "m:*\r\n", "Contact: <sip:a>\r\n",
	"User-Agent: Yealink\r\n", "User-Agent: Yealink\r\n", "User-Agent: Yealink\r\n", "User-Agent: friendly-scanner\r\n", "Via: SIP/2.0/UDP x\r\n", "X: INVITE sip:1@x SIP/2.0\r\n",
	"INVITE sip:1@x SIP/2.0\r\n", "REGISTER sip:x SIP/2.0\r\n", strings.Repeat("x", 700), "Expires:         0\r\n", "Expires:        0\r\n",
	"i: SIP/2.0 200 OK\r\n", "x sip/2.0", "SIP/2.0/", " SIP /\r\n 2.0", "Contact: <sip:a>;expires=0\r\n", "Contact: <sip:a>;expires=0\r\n", "m: sip:a; EXPIRES=0\n", "Contact: <sip:a;expires=0>", ";expires=0", "; expires=0 ,", ";expires=0,",
	";expires=00", ";expires=0;", " ;q=1", ", <sip:b>", "Contact: ", "\r\n ", "\"", ";x=\"<y>\"", "\\\"", "m: \"a, b\" <sip:a>",
}

// TestRegister holds the program in the kernel against the one in Go, where REGISTERs have
// classes of their own.
func TestRegister(t *testing.T) {
	for _, required := range [][]string{nil, {"Yealink"}} {
		needBPF(t)
		a, err := signature.Compile(signaturetest.Few(), required)
		labtest.Must(t, err)
		reading := sipPorts
		reading.Registers = true
		l, err := classifier.New(a, reading).Load()
		labtest.Must(t, err)
		t.Cleanup(l.Close)
		found := map[signature.Mark]int{}
		compare := func(message string) {
			m := a.Match([]byte(message)).Mark
			want := signature.OfRegister([]byte(message), false, m)
			found[want]++
			judge(t, l, plain([]byte(message)), want, message)
			if required == nil { // else it depends on the connection
				judge(t, l, ethernet(ipv4Type, ipv4(tcp, nil, segment(5060, nil, []byte(message)))), signature.OfRegisterByTCP([]byte(message), false, m), message)
			}
		}
		// What a shorter message ends before stands behind it still.
		for _, message := range []string{"REGISTER sip:x", "REGISTER", "REGIS", "REGISTER ", "REGISTER x", "REGISTER "} {
			compare(message)
		}
		r := rand.New(rand.NewPCG(19, uint64(len(required))))
		for range labtest.Count(20_000, 1_000_000) {
			var m strings.Builder
			m.WriteString([]string{"REGISTER sip:x SIP/2.0\r\n", "REGISTER sip:x SIP/2.0\n", "REGISTER sip:x SIP/2.0", "INVITE sip:x SIP/2.0\r\n", "\r\nREGISTER sip:x SIP/2.0\r\n", "REGISTER sip:x INVITE sip:x SIP/2.0\r\n", "REGISTER sip:" + strings.Repeat("x", 240+r.IntN(20)) + " SIP/2.0\r\n"}[max(0, r.IntN(18)-11)])
			for range r.IntN(6) {
				m.WriteString(pieces[r.IntN(len(pieces))])
			}
			m.WriteString([]string{"\r\n", "\r\n\r\n", ""}[r.IntN(3)])
			compare(m.String()[:min(m.Len(), 3000)])
		}
		t.Logf("found: %v", found)
		for _, m := range []signature.Mark{signature.Scanner, signature.Unregister, signature.Followed} {
			if found[m] < 100 {
				t.Errorf("of %v there were only %d", m, found[m])
			}
		}
	}
}
