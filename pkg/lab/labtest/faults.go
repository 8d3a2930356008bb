package labtest

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/miekg/dns"
)

// Fault is a fault of a name server. It stands in front of a correct handler, which it
// may call.
type Fault func(honest dns.Handler) dns.Handler

// ServFail answers SERVFAIL.
func ServFail(dns.Handler) dns.Handler { return status(dns.RcodeServerFailure) }

// Refused answers REFUSED.
func Refused(dns.Handler) dns.Handler { return status(dns.RcodeRefused) }

// NoName answers NXDOMAIN.
func NoName(dns.Handler) dns.Handler { return status(dns.RcodeNameError) }

// Empty answers that the name exists but has no such records.
func Empty(dns.Handler) dns.Handler { return status(dns.RcodeSuccess) }

func status(rcode int) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode))
	})
}

// Silent never answers.
func Silent(dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(dns.ResponseWriter, *dns.Msg) {})
}

// Only has the fault for one type of record and answers all others correctly.
func Only(kind uint16, fault Fault) Fault {
	return func(honest dns.Handler) dns.Handler {
		faulty := fault(honest)
		return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if asks(q, kind) {
				faulty.ServeDNS(w, q)
				return
			}
			honest.ServeDNS(w, q)
		})
	}
}

func asks(q *dns.Msg, kind uint16) bool { return len(q.Question) == 1 && q.Question[0].Qtype == kind }

// Truncated answers by UDP that the answer does not fit, and closes TCP connections. A
// server without TCP (ServeNamesByUDP) refuses them instead.
func Truncated(dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if byTCP(w) {
			_ = w.Close()
			return
		}
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		_ = w.WriteMsg(m)
	})
}

func byTCP(w dns.ResponseWriter) bool { return w.RemoteAddr().Network() == "tcp" }

// Changed changes the correct answer before it is sent. change may return nil to send
// no answer.
func Changed(change func(m *dns.Msg) *dns.Msg) Fault {
	return func(honest dns.Handler) dns.Handler {
		return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := change(answerOf(honest, w, q))
			if m == nil {
				return
			}
			size := dns.MaxMsgSize
			if !byTCP(w) {
				size = dns.MinMsgSize
				if edns := q.IsEdns0(); edns != nil {
					size = int(edns.UDPSize())
				}
			}
			m.Truncate(size)
			_ = w.WriteMsg(m)
		})
	}
}

// answerOf returns the answer of a handler.
func answerOf(h dns.Handler, w dns.ResponseWriter, q *dns.Msg) *dns.Msg {
	caught := &catcher{ResponseWriter: w}
	h.ServeDNS(caught, q)
	if caught.m == nil {
		return new(dns.Msg).SetReply(q)
	}
	return caught.m.Copy()
}

// catcher stores an answer instead of sending it.
type catcher struct {
	dns.ResponseWriter
	m *dns.Msg
}

func (c *catcher) WriteMsg(m *dns.Msg) error {
	c.m = m
	return nil
}

// replaced replaces the records of the asked type, if the answer has any and the type
// is one of kinds.
func replaced(records func(q dns.Question) []dns.RR, kinds ...uint16) Fault {
	return Changed(func(m *dns.Msg) *dns.Msg {
		if slices.Contains(kinds, m.Question[0].Qtype) && slices.ContainsFunc(m.Answer, func(r dns.RR) bool { return r.Header().Rrtype == m.Question[0].Qtype }) {
			m.Answer = records(m.Question[0])
		}
		return m
	})
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
}

// addressRecord makes an A or AAAA record.
func addressRecord(name, address string) dns.RR {
	ip := net.ParseIP(address)
	if v4 := ip.To4(); v4 != nil {
		return &dns.A{Hdr: header(name, dns.TypeA), A: v4}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: ip}
}

// Lie replaces the addresses in answers with others of the same family.
func Lie(addresses ...string) Fault {
	return replaced(func(q dns.Question) []dns.RR {
		var records []dns.RR
		for _, a := range addresses {
			if r := addressRecord(q.Name, a); r.Header().Rrtype == q.Qtype {
				records = append(records, r)
			}
		}
		return records
	}, dns.TypeA, dns.TypeAAAA)
}

// Bogons answers with addresses that no public name should have.
func Bogons(honest dns.Handler) dns.Handler {
	addresses := Lie(
		"0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1", "255.255.255.255", "10.0.0.1", "192.168.1.1",
		"::", "::1", "ff02::1", "fe80::1", "fd00::1",
	)
	return addresses(honest)
}

// Many replaces each address with n addresses.
func Many(n int) Fault {
	return replaced(func(q dns.Question) []dns.RR {
		var records []dns.RR
		for i := range n {
			address := fmt.Sprintf("198.18.%d.%d", i/256, i%256)
			if q.Qtype == dns.TypeAAAA {
				address = fmt.Sprintf("2001:db8:ffff::%x", i)
			}
			records = append(records, addressRecord(q.Name, address))
		}
		return records
	}, dns.TypeA, dns.TypeAAAA)
}

// Alias makes every name an alias that leads back to itself over another name.
func Alias(dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name, other := q.Question[0].Name, "other."+q.Question[0].Name
		m.Answer = []dns.RR{
			&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: other},
			&dns.CNAME{Hdr: header(other, dns.TypeCNAME), Target: name},
		}
		_ = w.WriteMsg(m)
	})
}

// Aliases leads to an address over a chain of n aliases.
func Aliases(n int, address string) Fault {
	return replaced(func(q dns.Question) []dns.RR {
		var records []dns.RR
		name := q.Name
		for i := range n {
			next := fmt.Sprintf("alias%d.example.", i)
			records = append(records, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: next})
			name = next
		}
		return append(records, addressRecord(name, address))
	}, dns.TypeA, dns.TypeAAAA)
}

// WrongOwner answers with records of another name than the asked one.
func WrongOwner(honest dns.Handler) dns.Handler {
	return Changed(func(m *dns.Msg) *dns.Msg {
		m.Answer = []dns.RR{addressRecord("evil.example.", "198.18.6.6")}
		return m
	})(honest)
}

// WrongID answers with an ID that no question had.
func WrongID(honest dns.Handler) dns.Handler {
	return Changed(func(m *dns.Msg) *dns.Msg {
		m.Id++
		return m
	})(Lie("198.18.6.6", "2001:db8:ffff::6")(honest))
}

// OtherQuestion answers another question than the asked one.
func OtherQuestion(honest dns.Handler) dns.Handler {
	return Changed(func(m *dns.Msg) *dns.Msg {
		m.Question[0].Name = "evil.example."
		m.Answer = []dns.RR{addressRecord("evil.example.", "198.18.6.6")}
		return m
	})(honest)
}

// TTL sets the TTL of all records.
func TTL(seconds uint32) Fault {
	return Changed(func(m *dns.Msg) *dns.Msg {
		for _, r := range m.Answer {
			r.Header().Ttl = seconds
		}
		return m
	})
}

// Flapping answers with at most n of the records, and with the next ones each time.
func Flapping(n int) Fault {
	var times atomic.Int64
	return Changed(func(m *dns.Msg) *dns.Msg {
		if len(m.Answer) > n {
			at := n * int(times.Add(1)) % len(m.Answer)
			m.Answer = slices.Concat(m.Answer[at:], m.Answer[:at])[:n]
		}
		return m
	})
}

// NoService answers by SRV that there is no service at all (RFC 2782).
func NoService(honest dns.Handler) dns.Handler {
	return replaced(func(q dns.Question) []dns.RR {
		return []dns.RR{&dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Target: "."}}
	}, dns.TypeSRV)(honest)
}

// NAPTRLoop answers with NAPTR records that lead back to the asked name.
func NAPTRLoop(honest dns.Handler) dns.Handler {
	return replaced(func(q dns.Question) []dns.RR {
		return []dns.RR{
			&dns.NAPTR{Hdr: header(q.Name, dns.TypeNAPTR), Order: 1, Flags: "s", Service: "SIP+D2U", Replacement: q.Name},
			&dns.NAPTR{Hdr: header(q.Name, dns.TypeNAPTR), Order: 2, Flags: "a", Service: "SIP+D2T", Replacement: q.Name},
		}
	}, dns.TypeNAPTR)(honest)
}

// SRVToAlias makes SRV targets aliases, which RFC 2782 forbids.
func SRVToAlias(honest dns.Handler) dns.Handler {
	const alias = "alias."
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		name := q.Question[0].Name
		if rest := name[min(len(alias), len(name)):]; name != rest && alias+rest == name {
			behind := q.Copy()
			behind.Question[0].Name = rest
			m := answerOf(honest, w, behind)
			m.Question = q.Question
			m.Answer = slices.Concat([]dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: rest}}, m.Answer)
			_ = w.WriteMsg(m)
			return
		}
		m := answerOf(honest, w, q)
		for _, r := range m.Answer {
			if srv, ok := r.(*dns.SRV); ok {
				srv.Target = alias + srv.Target
			}
		}
		_ = w.WriteMsg(m)
	})
}

// Garbage answers with bytes that are not a DNS message.
func Garbage(dns.Handler) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		garbage := []byte{byte(q.Id >> 8), byte(q.Id), 0x81, 0x80, 0, 9, 0, 9, 0xc0, 0xff, 0xc0, 0x0c, 0xff, 0xee}
		_, _ = w.Write(garbage)
	})
}

// Half answers with the first half of a wrong message.
func Half(honest dns.Handler) dns.Handler {
	lie := Lie("198.18.6.6", "198.18.6.7", "2001:db8:ffff::6", "2001:db8:ffff::7")(honest)
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := answerOf(lie, w, q)
		m.Extra = append(m.Extra, addressRecord("more.example.", "198.18.6.8")) // so that an empty answer can be halved as well
		packed, err := m.Pack()
		if err != nil {
			return
		}
		_, _ = w.Write(packed[:len(packed)-6])
	})
}

// Switch is a handler that can be replaced while it serves.
type Switch struct{ handler atomic.Pointer[dns.Handler] }

// NewSwitch makes a switch with its first handler.
func NewSwitch(h dns.Handler) *Switch {
	s := &Switch{}
	s.To(h)
	return s
}

// To replaces the handler.
func (s *Switch) To(h dns.Handler) { s.handler.Store(&h) }

// ServeDNS calls the current handler.
func (s *Switch) ServeDNS(w dns.ResponseWriter, q *dns.Msg) { (*s.handler.Load()).ServeDNS(w, q) }
