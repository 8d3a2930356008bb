package signature

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// Sieve finds where in a message a signature could match, without reading it
// header by header: it looks at each aligned group of four bytes.
//
// A text of seven bytes or more contains an aligned group of four, whatever its own
// alignment. So four groups are kept for each signature, one for each alignment of its
// text: the value if it is long enough, otherwise the name of the header. A message
// that contains none of the groups matches nothing. Bytes are compared with bit 0x20
// set, which turns upper case into lower case and makes some other bytes equal as well,
// so a group that is found proves nothing until the automaton has read the header
// around it.
type Sieve struct {
	// Groups is a hash table. Its length is a power of two. A group g, with its first
	// byte the lowest one, can only be at g * Multiplier >> Shift. 0 is a free place.
	Groups     []uint32
	Multiplier uint32
	Shift      uint8
	// Names says where each of Groups comes from: 0 for a value; otherwise the group
	// begins at byte Names-1 of a line break followed by a header's name.
	Names []uint8
	// EveryHeader is set if the value of a signature is too short for the sieve and so
	// is the name of its header, or that has a compact form. All headers must be read
	// then, and Groups is empty.
	EveryHeader bool
	// RequestLine is set if the request line must be read.
	RequestLine bool
}

const (
	group     = 4
	leastText = 2*group - 1
	// mostName is the length of the part of a header's name that is looked for.
	mostName = 64
	// The possible sizes of the hash table. The smaller it is, the more of it stays in
	// the processor's cache.
	leastBits, mostBits = 8, 14
	// multipliers is how many are tried for each size.
	multipliers = 1000
)

// usual is text that most messages contain. Groups from it distinguish little.
const usual = `INVITE sip:user@domain.example.com;user=phone;transport=udp SIP/2.0
sip:100@10.0.0.1 sip:1001@172.16.0.1 sip:1234@example.org "100" <sip:100@127.0.0.1>;tag=1928301774
OPTIONS REGISTER SUBSCRIBE NOTIFY MESSAGE sips: tel:+
Via: SIP/2.0/UDP 192.168.1.10:5060;rport;branch=z9hG4bK
Via: SIP/2.0/TCP Via: SIP/2.0/TLS Record-Route: Route: <sip:10.0.0.1;lr>
From: "anonymous" <sip:anonymous@anonymous.invalid>;tag= "sip:user@domain" "sipgate" "sip phone"
To: <sip: Call-ID: CSeq: 1 INVITE
Contact: <sip: ;expires=3600;ob;+sip.instance="<urn:uuid: ;reg-id=1
Max-Forwards: 70 Content-Type: application/sdp Content-Length: 0
User-Agent: Server: Asterisk PBX FreeSWITCH Kamailio phone SIP-Phone
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, PRACK, UPDATE, MESSAGE
Supported: replaces, timer, 100rel, path, outbound, gruu Accept: Accept-Language: Accept-Encoding:
Session-Expires: 1800;refresher=uac Min-SE: Expires: Event: presence Subject: Date: GMT
Authorization: Digest username="",realm="",nonce="",uri="sip:",response="",algorithm=MD5,qop=auth,nc=00000001,cnonce=""
P-Asserted-Identity: P-Preferred-Identity: Privacy: none Remote-Party-ID: Diversion: Allow-Events: Organization:
a=rtpmap:0 PCMU/8000 a=fmtp:101 telephone-event/8000 a=sendrecv m=audio RTP/AVP c=IN IP4 o=- s=- t=0 0 a=ptime:20 a=candidate:`

// text is a text that the sieve looks for, for one or more signatures.
type text struct {
	bytes string
	name  bool // a line break and a header's name
}

// choice holds the groups of a text that have the same alignment. One of them must be
// kept. Those that are rare in messages come first.
type choice struct {
	text
	groups []placed
}

// placed is a group and the place in its text where it begins.
type placed struct {
	group uint32
	begin int
}

func (t text) choices(usual map[uint32]int) []choice {
	choices := make([]choice, group)
	for begin, g := range groups(t.bytes) {
		choices[begin%group].groups = append(choices[begin%group].groups, placed{g, begin})
	}
	for i := range choices {
		choices[i].text = t
		slices.SortStableFunc(choices[i].groups, func(a, b placed) int { return usual[a.group] - usual[b.group] })
	}
	return choices
}

// groups returns the groups that begin at each byte of a text.
func groups(text string) []uint32 {
	var all []uint32
	for i := range len(text) - group + 1 {
		all = append(all, binary.LittleEndian.Uint32([]byte(text[i:i+group]))|0x20202020)
	}
	return all
}

// newSieve makes the sieve. sieved reports whether everything that is looked for within
// the values of a header (or RequestLine) is found by the value itself.
func newSieve(list []part, required []string) (s Sieve, sieved func(header string) bool) {
	texts, unsieved := map[text]bool{}, map[string]bool{}
	none := func(string) bool { return false }
	for _, p := range list {
		of := header(p.Header)
		name, hasName := nameText(of)
		value, hasValue := valueText(p.Value)
		switch {
		case p.isRequestLine():
			if p.Match == Contains && hasValue {
				texts[value] = true
			} else {
				s.RequestLine = true
				unsieved[RequestLine] = unsieved[RequestLine] || p.Match == Contains
			}
		case hasValue && (p.Match == Contains || !hasName):
			texts[value] = true
		case hasName:
			keepName(texts, name)
			unsieved[of] = unsieved[of] || p.Match == Contains
		default:
			return Sieve{EveryHeader: true, RequestLine: true}, none
		}
	}
	if len(required) > 0 {
		name, _ := nameText(userAgent)
		keepName(texts, name)
	}
	if !s.fill(texts) {
		return Sieve{EveryHeader: true, RequestLine: true}, none
	}
	return s, func(header string) bool { return !unsieved[header] }
}

// keepName keeps a name behind either line break.
func keepName(texts map[text]bool, name text) {
	texts[name] = true
	name.bytes = "\r" + name.bytes[1:]
	texts[name] = true
}

// nameText is what a header begins with, if it has no other form and is long
// enough.
func nameText(header string) (text, bool) {
	_, hasOther := compact[header]
	t := text{("\n" + header)[:min(1+len(header), mostName)], true}
	return t, !hasOther && len(t.bytes) >= leastText
}

// valueText returns the longest part of a value in which no white space can be
// stretched.
func valueText(value string) (text, bool) {
	longest := ""
	for part := range strings.FieldsSeq(normal(value)) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return text{longest, false}, len(longest) >= leastText
}

// fill makes the hash table: the smallest one that has a group of each choice.
func (s *Sieve) fill(texts map[text]bool) bool {
	inUsual := map[uint32]int{}
	for _, g := range groups(lower(usual)) {
		inUsual[g]++
	}
	var choices []choice
	for t := range texts {
		choices = append(choices, t.choices(inUsual)...)
	}
	// Those with the fewest groups first; beyond that, any fixed order.
	slices.SortFunc(choices, func(a, b choice) int {
		return cmp.Or(cmp.Compare(len(a.groups), len(b.groups)), strings.Compare(a.bytes, b.bytes), cmp.Compare(a.groups[0].begin%group, b.groups[0].begin%group))
	})
	for size := leastBits; size <= mostBits; size++ {
		s.Groups, s.Names = make([]uint32, 1<<size), make([]uint8, 1<<size)
		for try := range uint32(multipliers) {
			clear(s.Groups)
			clear(s.Names)
			s.Multiplier, s.Shift = 0x9e3779b1+2*0x1000193*try, uint8(32-size)
			if !slices.ContainsFunc(choices, func(c choice) bool { return !s.keep(c) }) {
				return true
			}
		}
	}
	return false
}

// keep puts one group of a choice into the table. It returns false if there is no room
// for any.
func (s *Sieve) keep(c choice) bool {
	for _, g := range c.groups {
		slot := g.group * s.Multiplier >> s.Shift
		if s.Groups[slot] != 0 && s.Groups[slot] != g.group {
			continue
		}
		names := uint8(0)
		if c.name {
			names = uint8(g.begin + 1)
		}
		if s.Groups[slot] == g.group && s.Names[slot] != names {
			names = 0 // it may be part of a value, so the header must be read as a whole
		}
		s.Groups[slot], s.Names[slot] = g.group, names
		return true
	}
	return false
}
