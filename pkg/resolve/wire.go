package resolve

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

var wireTypes = map[Type]uint16{
	A: dns.TypeA, AAAA: dns.TypeAAAA, CNAME: dns.TypeCNAME, SRV: dns.TypeSRV, NAPTR: dns.TypeNAPTR,
}

// records reads the records of an answer that are of types which matter here.
func records(list []dns.RR) []Record {
	var records []Record
	for _, rr := range list {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		r := Record{Owner: plainName(h.Name), TTL: time.Duration(h.Ttl) * time.Second}
		if r.TTL > LongestTTL {
			r.TTL = 0 // RFC 2181 section 8: the highest bit makes it 0
		}
		switch rr := rr.(type) {
		case *dns.A:
			r.Type = A
			r.Address, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			r.Type = AAAA
			r.Address, _ = netip.AddrFromSlice(rr.AAAA.To16())
		case *dns.CNAME:
			r.Type, r.Target = CNAME, plainName(rr.Target)
		case *dns.SRV:
			r.Type, r.Target = SRV, plainName(rr.Target)
			r.Priority, r.Weight, r.Port = rr.Priority, rr.Weight, rr.Port
		case *dns.NAPTR:
			r.Type, r.Target = NAPTR, plainName(rr.Replacement)
			r.Priority, r.Weight = rr.Order, rr.Preference
			r.Flags, r.Service, r.Regexp = rr.Flags, rr.Service, rr.Regexp
		default:
			continue
		}
		records = append(records, r)
	}
	return records
}

// plainName writes a name as Question does.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
