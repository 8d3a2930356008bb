package rules_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// agents are User-Agents as phones, gateways and PBXs write them: of each maker of a
// list, and of each model that rules/phones names.
func agents(t testing.TB) []string {
	t.Helper()
	makers, err := os.ReadFile("testdata/makers.txt")
	labtest.Must(t, err)
	var all []string
	for maker := range strings.Lines(string(makers)) {
		maker = strings.TrimSpace(maker)
		all = append(all, maker, maker+"/1.0", maker+" SIP Phone 2.3.4", "SIP "+maker, strings.ToUpper(maker)+"-VoIP")
	}
	files, err := fs.Glob(os.DirFS("phones"), "*.yaml")
	labtest.Must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("phones", file))
		labtest.Must(t, err)
		var phone struct {
			Title    string                      `yaml:"title"`
			Prefixes []string                    `yaml:"prefixes"`
			Settings []struct{ Models []string } `yaml:"settings"`
		}
		labtest.Must(t, yaml.Load(text, &phone))
		models := []string{"", "100"}
		for _, s := range phone.Settings {
			models = append(models, s.Models...)
		}
		for _, model := range models {
			model = strings.ReplaceAll(model, "*", "0")
			all = append(all, phone.Title+" "+model+" 1.2.3.4", phone.Title+"/"+model+"-7.1(a)")
			for _, prefix := range phone.Prefixes {
				all = append(all, phone.Title+" "+prefix+"-"+model+" 66.85.0.5")
			}
		}
	}
	return all
}

// words are what random headers are made of.
type words struct {
	*rand.Rand
	agents []string
}

func (w words) pick(of ...string) string { return of[w.IntN(len(of))] }

func (w words) letters(most int) string {
	b := make([]byte, 1+w.IntN(most))
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"[w.IntN(65)]
	}
	return string(b)
}

// hex and base64 are as in nonces, identifiers and signatures.
func (w words) hex(n int) string {
	var b strings.Builder
	for range n {
		fmt.Fprintf(&b, "%x", w.IntN(16))
	}
	return b.String()
}

func (w words) base64(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.IntN(256))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func (w words) host() string {
	return w.pick("sip.example.com", "pbx.example.org:5062", "edge1.carrier.example", w.letters(12)+".example.net",
		fmt.Sprintf("%d.%d.%d.%d", 1+w.IntN(223), w.IntN(256), w.IntN(256), w.IntN(256)),
		fmt.Sprintf("10.1.%d.%d:%d", w.IntN(256), w.IntN(256), 1024+w.IntN(60000)), "[2001:db8::"+w.hex(4)+"]")
}

func (w words) user() string {
	return w.pick("100", "101", "1000", "123", "sip", "alice", "test", fmt.Sprint(w.IntN(1_000_000)), fmt.Sprintf("+49%d", w.Int64N(1e10)), w.letters(14))
}

func (w words) name() string {
	return w.pick("Alice", "Bob Miller", "Front desk", "J. Sipowicz", "Nmapel", "VOIP", "Scanner room", "Test Agent Smith", "x", w.agents[w.IntN(len(w.agents))], w.letters(20))
}

func (w words) address() string {
	uri := "sip" + w.pick("", "s") + ":" + w.user() + "@" + w.host() + w.pick("", ";transport=udp", ";user=phone", ";ob", ";line="+w.letters(9))
	return w.pick(fmt.Sprintf("%q <%s>", w.name(), uri), "<"+uri+">", uri, w.name()+" <"+uri+">")
}

// list is some of the words in any order.
func (w words) list(of ...string) string {
	w.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	return strings.Join(of[:1+w.IntN(len(of))], w.pick(", ", ",", ", "))
}

func (w words) methods() []string {
	return []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "REFER", "INFO", "MESSAGE", "UPDATE", "PRACK", "PUBLISH"}
}

// header is one that any request may have.
func (w words) header() string {
	switch w.IntN(30) {
	case 0:
		return "Route: <sip:" + w.host() + ";lr>"
	case 1:
		return "Record-Route: <sip:" + w.host() + ";lr;ftag=" + w.letters(12) + ">"
	case 2:
		return w.pick("Contact: ", "m: ") + w.address() + ";expires=3600;+sip.instance=\"<urn:uuid:" + w.hex(32) + ">\""
	case 3:
		return w.pick("Allow: ", "allow:") + w.list(w.methods()...)
	case 4:
		return w.pick("Supported: ", "k: ") + w.list("replaces", "timer", "100rel", "path", "outbound", "gruu", "eventlist", "from-change", "histinfo", "norefersub")
	case 5:
		return w.pick("Subject: ", "s: ") + w.pick("Performance tests of the phones", "we block friendly-scanner", "sipvicious in the logs", "VOIP", w.letters(40))
	case 6:
		return "Authorization: Digest username=\"" + w.user() + "\", realm=\"" + w.host() + "\", nonce=\"" + w.base64(24) + "\", uri=\"sip:" + w.host() + "\", response=\"" + w.hex(32) + "\", algorithm=MD5"
	case 7:
		return "Proxy-Authorization: Digest username=\"" + w.user() + "\", realm=\"asterisk\", nonce=\"" + w.hex(40) + "\", cnonce=\"" + w.letters(30) + "\", nc=00000001, qop=auth"
	case 8:
		return "P-Asserted-Identity: " + w.address()
	case 9:
		return "Remote-Party-ID: " + w.address() + ";party=calling;privacy=off"
	case 10:
		return "Diversion: " + w.address() + ";reason=no-answer"
	case 11:
		return "History-Info: " + w.address() + ";index=1, " + w.address() + ";index=1.1"
	case 12:
		return w.pick("Identity: ", "y: ") + w.base64(90) + ";info=<https://" + w.host() + "/cert.pem>;alg=ES256"
	case 13:
		return w.pick("Session-Expires: ", "x: ") + "1800;refresher=ua" + w.pick("c", "s")
	case 14:
		return w.pick("Event: ", "o: ") + w.pick("presence", "message-summary", "dialog;sla", "as-feature-event", "reg")
	case 15:
		return w.pick("Refer-To: ", "r: ") + w.address()
	case 16:
		return w.pick("Referred-By: ", "b: ") + w.address()
	case 17:
		return "Replaces: " + w.hex(24) + "@" + w.host() + ";to-tag=" + w.letters(10) + ";from-tag=" + w.letters(10)
	case 18:
		return "Accept: " + w.list("application/sdp", "application/dtmf-relay", "text/plain", "message/sipfrag")
	case 19:
		return "Call-Info: <http://" + w.host() + "/" + w.letters(12) + ".jpg>;purpose=icon"
	case 20:
		return "Date: Sat, 13 Nov 2010 23:29:00 GMT"
	case 21:
		return "Organization: " + w.name()
	case 22:
		return "Reason: Q.850;cause=16;text=\"" + w.name() + "\""
	case 23:
		return "X-" + w.letters(12) + ": " + w.letters(60)
	case 24:
		return "Max-Forwards: " + fmt.Sprint(w.IntN(71))
	case 25:
		return "Path: <sip:" + w.letters(8) + "@" + w.host() + ";lr;ob>"
	case 26:
		return "P-Access-Network-Info: IEEE-EUI-48;eui-48-addr=" + w.hex(12)
	case 27:
		return "P-Charging-Vector: icid-value=\"" + w.hex(32) + "\";icid-generated-at=" + w.host()
	case 28:
		return "Server: " + w.agents[w.IntN(len(w.agents))]
	}
	return "Expires: " + fmt.Sprint(w.IntN(7200))
}

// branch has forms of several stacks of SIP, such as reSIProcate's.
func (w words) branch() string {
	return "z9hG4bK" + w.pick(w.letters(32), "-524287-1---"+w.hex(16), "-d8754z-"+w.hex(16)+"-1---d8754z-", "-d87543-"+w.hex(9)+"-1--d87543-",
		"PjmOE"+w.letters(20), w.hex(7)+".0", fmt.Sprint(w.Int64N(1e10)))
}

// request is one as a device may send it. No device that is called VOIP and nothing else
// has a branch of reSIProcate's old form.
func (w words) request() string {
	method := w.pick(w.methods()...)
	headers := []string{
		w.pick("Via: ", "v: ") + "SIP/2.0/" + w.pick("UDP ", "TCP ", "TLS ") + w.host() + ";branch=" + w.branch() + w.pick("", ";rport", ";rport;alias"),
		w.pick("From: ", "f: ") + w.address() + ";tag=" + w.letters(20),
		w.pick("To: ", "t: ") + w.address() + w.pick("", ";tag="+w.letters(10)),
		w.pick("Call-ID: ", "i: ") + w.letters(36) + w.pick("", "@"+w.host()),
		fmt.Sprintf("CSeq: %d %s", w.Int64N(1<<31), method),
	}
	if w.IntN(10) > 0 {
		headers = append(headers, "User-Agent: "+w.agents[w.IntN(len(w.agents))]+w.pick("", " "+w.letters(12)))
	}
	for range w.IntN(9) {
		headers = append(headers, w.header())
	}
	w.Shuffle(len(headers), func(i, j int) { headers[i], headers[j] = headers[j], headers[i] })
	end := w.pick("\r\n", "\r\n", "\r\n", "\n")
	return method + " sip:" + w.user() + "@" + w.host() + " SIP/2.0" + end + strings.Join(headers, end) + end + end +
		w.pick("", "v=0\r\no=- 1 1 IN IP4 192.0.2.4\r\ns=sipcli\r\na=ice-pwd:"+w.letters(24)+"\r\n", "User-Agent: friendly-scanner\r\n")
}

// TestNoBenignMessageIsBanned: none of a hundred thousand requests, of all methods, with
// headers of thirty kinds and what is random in them, from each maker and each model,
// is taken for a scanner's.
func TestNoBenignMessageIsBanned(t *testing.T) {
	a, err := signature.Compile(signaturetest.Shipped(), nil)
	labtest.Must(t, err)
	w := words{rand.New(rand.NewPCG(15, 4)), agents(t)}
	if len(w.agents) < 900 {
		t.Errorf("only %d User-Agents", len(w.agents))
	}
	for _, agent := range w.agents {
		if got := a.Match([]byte("INVITE sip:100@192.0.2.5 SIP/2.0\r\nUser-Agent: " + agent + "\r\n\r\n")); got.Mark == signature.Scanner {
			t.Errorf("%q is taken for %s", agent, got.Signature)
		}
	}
	labels := map[string]int{}
	for range labtest.Count(100_000, 2_000_000) {
		message := w.request()
		got := a.Match([]byte(message))
		if got.Mark == signature.Scanner {
			t.Fatalf("%s is found in\n%s", got.Signature, message)
		}
		labels[got.Signature]++
	}
	delete(labels, "")
	t.Logf("of class label %v", labels)
}
