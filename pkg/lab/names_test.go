package lab_test

import (
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }

// TestNameServer asks over the network, by UDP and TCP.
func TestNameServer(t *testing.T) {
	h := labtest.Host(t, "names")
	zone, err := lab.NewZone(`_sip._udp.sip.acme.example. 60 IN SRV 10 50 5060 edge.acme.example.
edge.acme.example. 60 IN CNAME edge1.acme.example.
edge1.acme.example. 60 IN A 203.0.113.5`)
	labtest.Must(t, err)
	server, err := h.ServeNames("127.0.0.1:53", zone)
	labtest.Must(t, err)
	ask := func(network, name string, kind uint16) string {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		var m *dns.Msg
		labtest.In(t, h, func() (err error) {
			m, _, err = (&dns.Client{Net: network}).Exchange(q, "127.0.0.1:53")
			return err
		})
		texts := []string{dns.RcodeToString[m.Rcode]}
		for _, r := range m.Answer {
			texts = append(texts, strings.Join(strings.Fields(r.String()), " "))
		}
		return strings.Join(texts, "; ")
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, test := range []struct {
			name string
			kind uint16
			want string
		}{
			{"_SIP._udp.sip.acme.example.", dns.TypeSRV, "NOERROR; _sip._udp.sip.acme.example. 60 IN SRV 10 50 5060 edge.acme.example."},
			{"edge.acme.example.", dns.TypeA, "NOERROR; edge.acme.example. 60 IN CNAME edge1.acme.example.; edge1.acme.example. 60 IN A 203.0.113.5"},
			{"edge1.acme.example.", dns.TypeAAAA, "NOERROR"},
			{"sip.acme.example.", dns.TypeA, "NOERROR"}, // because something exists below it
			{"other.example.", dns.TypeA, "NXDOMAIN"},
		} {
			if got := ask(network, test.name, test.kind); got != test.want {
				t.Errorf("%s %s by %s: %s, want %s", test.name, dns.TypeToString[test.kind], network, got, test.want)
			}
		}
	}
	labtest.Must(t, zone.Set("edge1.acme.example. 60 IN A 203.0.113.6"))
	if got := ask("udp", "edge1.acme.example.", dns.TypeA); !strings.HasSuffix(got, "203.0.113.6") {
		t.Errorf("after a change: %s", got)
	}
	if err := zone.Set("edge1.acme.example. 60 IN A no-address"); err == nil {
		t.Error("a broken zone was read")
	}
	labtest.Must(t, server.Close())
}
