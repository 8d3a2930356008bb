package labtest_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestFaults asks over the network what each fault makes of correct answers.
func TestFaults(t *testing.T) {
	h := labtest.Host(t, "names")
	honest, err := lab.NewZone(`sip.example. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.sip.example.
_sip._udp.sip.example. 60 IN SRV 10 50 5060 edge.example.
edge.example. 60 IN A 203.0.113.1
edge.example. 60 IN A 203.0.113.2
edge.example. 60 IN A 203.0.113.3
edge.example. 60 IN AAAA 2001:db8::1`)
	labtest.Must(t, err)
	server := labtest.NewSwitch(honest)
	names, err := h.ServeNames("127.0.0.1:53", server)
	labtest.Must(t, err)
	t.Cleanup(func() { names.Close() })

	const a, srv, naptr = dns.TypeA, dns.TypeSRV, dns.TypeNAPTR
	for _, test := range []struct {
		name  string
		fault labtest.Fault
		asked string
		kind  uint16
		want  string
	}{
		{"none", func(h dns.Handler) dns.Handler { return h }, "edge.example.", a, "NOERROR 203.0.113.1 203.0.113.2 203.0.113.3"},
		{"SERVFAIL", labtest.ServFail, "edge.example.", a, "SERVFAIL"},
		{"REFUSED", labtest.Refused, "edge.example.", a, "REFUSED"},
		{"NXDOMAIN", labtest.NoName, "edge.example.", a, "NXDOMAIN"},
		{"empty", labtest.Empty, "edge.example.", a, "NOERROR"},
		{"silent", func(h dns.Handler) dns.Handler { return thenNotZone(labtest.Silent(h)) }, "edge.example.", a, "NOTZONE"},
		{"A only, of A", labtest.Only(a, labtest.ServFail), "edge.example.", a, "SERVFAIL"},
		{"A only, of AAAA", labtest.Only(a, labtest.ServFail), "edge.example.", dns.TypeAAAA, "NOERROR 2001:db8::1"},
		{"truncated", labtest.Truncated, "edge.example.", a, "NOERROR truncated; by TCP no answer"},
		{"a lie", labtest.Lie("198.18.0.1", "2001:db8::66"), "edge.example.", a, "NOERROR 198.18.0.1"},
		{"a lie about nothing", labtest.Lie("198.18.0.1"), "sip.example.", a, "NOERROR"},
		{"bogons", labtest.Bogons, "edge.example.", a, "NOERROR 0.0.0.0 127.0.0.1 224.0.0.1 169.254.1.1 255.255.255.255 10.0.0.1 192.168.1.1"},
		{"70 addresses", labtest.Many(70), "edge.example.", a, "NOERROR truncated; by TCP NOERROR 70 records"},
		{"5,000 addresses", labtest.Many(5000), "edge.example.", a, "NOERROR truncated; by TCP NOERROR truncated 4094 records"},
		{"a circle", labtest.Alias, "edge.example.", a, "NOERROR other.edge.example. edge.example."},
		{"nine aliases", labtest.Aliases(9, "198.18.0.1"), "edge.example.", a, "NOERROR alias0.example. alias1.example. alias2.example. alias3.example. alias4.example. alias5.example. alias6.example. alias7.example. alias8.example. 198.18.0.1"},
		{"wrong owner", labtest.WrongOwner, "edge.example.", a, "NOERROR 198.18.6.6 of evil.example."},
		{"wrong number", labtest.WrongID, "edge.example.", a, "another number"},
		{"another question", labtest.OtherQuestion, "edge.example.", a, "another question"},
		{"TTL 2^31", labtest.TTL(1 << 31), "edge.example.", a, "NOERROR 203.0.113.1 203.0.113.2 203.0.113.3 TTL 2147483648"},
		{"flapping", labtest.Flapping(2), "edge.example.", a, "NOERROR 203.0.113.3 203.0.113.1"},
		{"no service", labtest.NoService, "_sip._udp.sip.example.", srv, "NOERROR ."},
		{"SRV to an alias", labtest.SRVToAlias, "_sip._udp.sip.example.", srv, "NOERROR alias.edge.example."},
		{"the alias of SRV", labtest.SRVToAlias, "alias.edge.example.", a, "NOERROR edge.example. 203.0.113.1 203.0.113.2 203.0.113.3"},
		{"NAPTR in a circle", labtest.NAPTRLoop, "sip.example.", naptr, "NOERROR sip.example. sip.example."},
		{"garbage", labtest.Garbage, "edge.example.", a, "no message"},
		{"half an answer", labtest.Half, "edge.example.", a, "no message"},
	} {
		server.To(test.fault(honest))
		if got := said(t, h, test.asked, test.kind); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// thenNotZone calls a handler and then answers with a status that no handler uses. The
// client sees this status only if the handler did not answer.
func thenNotZone(h dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		h.ServeDNS(w, q)
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNotZone))
	})
}

// said asks a question and returns the answer as text.
func said(t *testing.T, h *lab.Namespace, name string, kind uint16) string {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, kind)
	m, problem := exchange(t, h, "udp", q)
	if m == nil {
		return problem
	}
	if !m.Truncated {
		return answerText(m)
	}
	byTCP, problem := exchange(t, h, "tcp", q)
	if byTCP != nil {
		problem = answerText(byTCP)
	}
	return dns.RcodeToString[m.Rcode] + " truncated; by TCP " + problem
}

func exchange(t *testing.T, h *lab.Namespace, network string, q *dns.Msg) (m *dns.Msg, problem string) {
	t.Helper()
	labtest.In(t, h, func() error {
		conn, err := dns.Dial(network, "127.0.0.1:53")
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := errors.Join(conn.SetDeadline(labtest.Deadline()), conn.WriteMsg(q)); err != nil {
			return err
		}
		m, err = conn.ReadMsg()
		switch {
		case err == nil && m.Id != q.Id:
			m, problem = nil, "another number"
		case err == nil && m.Question[0] != q.Question[0]:
			m, problem = nil, "another question"
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case errors.Is(err, io.EOF):
			m, problem = nil, "no answer"
		default:
			m, problem = nil, "no message"
		}
		return nil
	})
	return m, problem
}

func answerText(m *dns.Msg) string {
	texts := []string{dns.RcodeToString[m.Rcode]}
	if m.Truncated {
		texts = append(texts, "truncated")
	}
	if len(m.Answer) > 20 {
		return strings.Join(append(texts, fmt.Sprintf("%d records", len(m.Answer))), " ")
	}
	for _, r := range m.Answer {
		fields := strings.Fields(r.String())
		texts = append(texts, fields[len(fields)-1])
		if owner := r.Header().Name; owner == "evil.example." {
			texts = append(texts, "of "+owner)
		}
	}
	if len(m.Answer) > 0 && m.Answer[0].Header().Ttl != 60 {
		texts = append(texts, fmt.Sprintf("TTL %d", m.Answer[0].Header().Ttl))
	}
	return strings.Join(texts, " ")
}
