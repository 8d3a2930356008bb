package cli_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// The provider's list is that of a shipped preset, so its name and its form are those of
// DIDWW; the server in the lab has both.
const (
	publisher = "doc.didww.com"
	listURL   = "https://" + publisher + "/voice.json"
)

// publication is a provider that publishes its addresses.
type publication struct {
	server *httptest.Server
	mu     sync.Mutex
	status int
	text   string
	asked  int // how often the whole list was sent
}

// publish makes the list at an address of a host, with a certificate of a CA of its own,
// and returns what a program needs to believe it.
func publish(t *testing.T, h *lab.Namespace, address string) (p *publication, environment []string) {
	t.Helper()
	p = &publication{status: http.StatusOK}
	ca, pair := certificates(t)
	p.server = httptest.NewUnstartedServer(p)
	p.server.Listener.Close()
	labtest.Must(t, h.Do(func() (err error) {
		p.server.Listener, err = net.Listen("tcp", address)
		return err
	}))
	p.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	labtest.Must(t, os.WriteFile(file, ca, 0o644))
	return p, []string{"SSL_CERT_FILE=" + file, "SSL_CERT_DIR=" + t.TempDir()}
}

func certificates(t *testing.T) (ca []byte, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	labtest.Must(t, err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		DNSNames: []string{publisher},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	labtest.Must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (p *publication) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tag := fmt.Sprintf("%q", fmt.Sprint(len(p.text)))
	switch {
	case p.status != http.StatusOK:
		w.WriteHeader(p.status)
	case r.Header.Get("If-None-Match") == tag:
		w.WriteHeader(http.StatusNotModified)
	default:
		p.asked++
		w.Header().Set("ETag", tag)
		fmt.Fprint(w, p.text)
	}
}

// set changes the list to these addresses.
func (p *publication) set(addresses ...string) {
	text, _ := json.Marshal(addresses)
	p.say(http.StatusOK, `{"inbound": {"signaling": {"endpoints": [{"ipv4": `+string(text)+`}]}}}`)
}

func (p *publication) say(status int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.text = status, text
}

func (p *publication) sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// newSubscriber is a host with a policy that names the preset, with a name server, and
// with the list at an address.
func newSubscriber(t *testing.T) (*site, *publication) {
	t.Helper()
	h := labtest.Host(t, "pbx")
	labtest.Must(t, h.AddAddress("lo", labtest.NameServer+"/32"))
	labtest.Must(t, h.AddAddress("lo", "192.0.2.80/32"))
	zone, err := lab.NewZone(`sip.didww.com. 60 IN A 203.0.113.49
nyc.sip.didww.com. 60 IN A 203.0.113.49
ams.sip.didww.com. 60 IN A 203.0.113.50
doc.didww.com. 60 IN A 192.0.2.80
`)
	labtest.Must(t, err)
	names, err := h.ServeNames(labtest.NameServer+":53", zone)
	labtest.Must(t, err)
	t.Cleanup(func() { names.Close() })
	s := newSite(t, h, "version: 1\nproviders:\n  - preset: didww\ndns:\n  hold: 0s\n")
	p, environment := publish(t, h, "192.0.2.80:443")
	s.environment = environment
	return s, p
}

// fromList are the addresses in the kernel that only the list can have brought.
func fromList(t *testing.T, s *site) string {
	t.Helper()
	list := labtest.Run(t, s.host, "nft", "list", "set", "inet", "ringfence", "providers4")
	return strings.Join(regexp.MustCompile(`198\.51\.100\.[0-9./-]+`).FindAllString(list, -1), " ")
}

// TestList: what a provider publishes is allowed, and what happens to the list changes as
// little as what happens to names.
func TestList(t *testing.T) {
	t.Parallel()
	s, p := newSubscriber(t)
	want := func(addresses string) {
		t.Helper()
		if got := fromList(t, s); got != addresses {
			t.Errorf("the kernel has %q, want %q", got, addresses)
		}
	}
	p.set("198.51.100.1", "198.51.100.16/28", "46.19.209.14")
	reasons := map[string]string{}
	for _, c := range s.plan(t, 2, "diff").Changes {
		reasons[c.Value] += c.Reason
	}
	for value, reason := range map[string]string{
		"198.51.100.1": "didww: list " + listURL, "198.51.100.16/28": "didww: list " + listURL,
		"46.19.209.14": "didww: list " + listURL + "; didww: preset didww", "203.0.113.49": "didww: sip.didww.com A",
	} {
		if !strings.Contains(reasons[value], reason) {
			t.Errorf("diff says %q of %s, want %q", reasons[value], value, reason)
		}
	}
	s.must(t, 0, "apply", "--yes")
	want("198.51.100.1 198.51.100.16/28")
	if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "list "+listURL) {
		t.Errorf("status does not show the list:\n%s", o.stdout)
	}

	// The same list again is not sent again, and changes nothing.
	sent := p.sent()
	if r := s.plan(t, 0, "refresh"); r.Changed || p.sent() != sent {
		t.Errorf("the same list: changes %v, sent %d times", r.Changes, p.sent()-sent)
	}

	// What is new comes in, and with a hold of 0 what is missing leaves.
	p.set("198.51.100.2", "198.51.100.16/28")
	if r := s.plan(t, 0, "refresh"); !r.Changed {
		t.Error("refresh has not changed anything")
	}
	want("198.51.100.2 198.51.100.16/28")
	o := s.must(t, 0, "history", "--addresses")
	for _, move := range []string{"+ 198.51.100.2  didww: list " + listURL, "- 198.51.100.1  didww: list " + listURL} {
		if !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), strings.Join(strings.Fields(move), " ")) {
			t.Errorf("history lacks %q:\n%s", move, o.stdout)
		}
	}

	// Whatever goes wrong with it changes nothing, ends with 4 and has a name.
	for _, test := range []struct {
		status    int
		text, why string
	}{
		{500, "", "the server answers 500 Internal Server Error"},
		{200, "<!doctype html>", "it is not JSON"},
		{200, `{"inbound": {"signaling": {}}}`, "there is no address in it"},
		{200, `{"inbound": {"signaling": {"ipv4": "0.0.0.0/0"}}}`, "it has 0.0.0.0/0, which is shorter than /8 and allows too much"},
		{200, `{"inbound": {"signaling": {"ipv4": "10.0.0.0/8"}}}`, "it has 10.0.0.0/8, which is no public address"},
		{200, strings.Repeat(" ", 2<<20), "it is larger than 1048576 bytes"},
	} {
		p.say(test.status, test.text)
		if o := s.must(t, 4, "refresh"); !strings.Contains(o.stderr, listURL+" list: "+test.why) {
			t.Errorf("refresh says %q, want %q", o.stderr, test.why)
		}
		want("198.51.100.2 198.51.100.16/28")
	}

	// Nor does a server whose certificate nobody vouches for.
	believing := s.environment
	s.environment = nil
	p.set("198.51.100.66")
	if o := s.must(t, 4, "refresh"); !strings.Contains(o.stderr, "the certificate of the server is not valid") {
		t.Errorf("refresh says %q", o.stderr)
	}
	s.environment = believing
	want("198.51.100.2 198.51.100.16/28")

	// A list that has grown very much waits for somebody.
	p.set("198.51.100.16/28", "198.51.100.2", "198.0.0.0/8")
	o = s.must(t, 4, "refresh")
	for _, text := range []string{"it has 16777233 IPv4 addresses, and 26 were known, so it is not used", "ringfence refresh --accept-large " + listURL} {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("refresh does not say %q:\n%s", text, o.stderr)
		}
	}
	if strings.Contains(s.ruleset(t), "198.0.0.0/8") {
		t.Error("it is used all the same")
	}
	s.must(t, 0, "refresh", "--accept-large", listURL)
	if !strings.Contains(s.ruleset(t), "198.0.0.0/8") {
		t.Error("it was accepted and is not used")
	}

	// A provider that is not in the policy any more takes its list along; a rollback
	// brings both back without asking.
	s.write(t, "version: 1\nproviders:\n  - name: acme\n    addresses: [203.0.113.9]\n")
	s.must(t, 0, "apply", "--yes")
	if strings.Contains(s.ruleset(t), "198.0.0.0/8") {
		t.Error("the list is still used")
	}
	p.server.Close()
	s.must(t, 0, "rollback")
	if !strings.Contains(s.ruleset(t), "198.0.0.0/8") {
		t.Error("the rollback lacks the list")
	}
}

// otherBoot makes what is remembered that of another boot, after which all names and lists
// are due.
func otherBoot(t *testing.T, s *site) {
	t.Helper()
	file := filepath.Join(s.state(), "addresses.json")
	text, err := os.ReadFile(file)
	labtest.Must(t, err)
	labtest.Must(t, os.WriteFile(file, bytes.ReplaceAll(text, []byte(`"boot"`), []byte(`"earlier"`)), 0o640))
}

// TestListAtBoot: up uses what was known last and asks nobody.
func TestListAtBoot(t *testing.T) {
	t.Parallel()
	s, p := newSubscriber(t)
	p.set("198.51.100.1")
	s.must(t, 0, "apply", "--yes")
	p.server.Close()
	labtest.Run(t, s.host, "nft", "flush", "ruleset")
	otherBoot(t, s)
	s.must(t, 0, "up")
	if got := fromList(t, s); got != "198.51.100.1" {
		t.Errorf("the kernel has %q", got)
	}
	// The daemon takes note of the failure, and keeps the list.
	d := serve(t, s)
	d.until(t, "it has noticed", func() bool {
		return strings.Contains(d.log(), listURL+" list: the server cannot be reached: connect: connection refused")
	})
	if got := fromList(t, s); got != "198.51.100.1" {
		t.Errorf("with the daemon the kernel has %q", got)
	}
	d.end(t)
}

// TestListInTime: the daemon fetches a list that is due.
func TestListInTime(t *testing.T) {
	t.Parallel()
	s, p := newSubscriber(t)
	p.say(http.StatusServiceUnavailable, "")
	s.must(t, 4, "apply", "--yes")
	p.set("198.51.100.1")
	otherBoot(t, s)
	d := serve(t, s)
	d.until(t, "the list is in force", func() bool { return fromList(t, s) == "198.51.100.1" })
	d.end(t)
	var report struct {
		Providers []struct {
			Addresses []struct{ Address, From, LastSeen string }
		}
	}
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &report))
	for _, a := range report.Providers[0].Addresses {
		if a.Address == "198.51.100.1" && a.From == "list "+listURL {
			return
		}
	}
	t.Errorf("status has %+v", report)
}
