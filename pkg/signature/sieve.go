package signature

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// Sieve finds where in a message a signature could match, without reading it
// header by header: it looks at one aligned group of four bytes after the other.
//
// Text of seven bytes or more holds an aligned group of four whatever it is
// aligned to. So for each signature four groups are kept, one for each way in
// which its text can be aligned, out of its value where that is long enough, else
// out of its header's name; and a message that holds none of them matches
// nothing. Bytes are compared with bit 0x20 set, which makes lower case of upper
// case and confuses some others: a group that is found means nothing before the
// automaton has read the header that it is in.
type Sieve struct {
	// Groups is a hash table whose length is a power of two: a group g, its first
	// byte the lowest one, can only be at g * Multiplier >> Shift. 0 is free.
	Groups     []uint32
	Multiplier uint32
	Shift      uint8
	// Names says what a group in Groups is part of: 0 of a value, else of a line
	// break with a header's name behind it, of which it begins at byte Names-1.
	Names []uint8
	// EveryHeader is set if a signature's value is too short for the sieve, and so
	// is the name of its header, or it has a compact form: then all headers have to
	// be read, and Groups is empty.
	EveryHeader bool
	// RequestLine is set if the request line has to be read.
	RequestLine bool
}

const (
	group     = 4
	leastText = 2*group - 1
	// mostName is how much of a header's name is looked for.
	mostName = 64
	// The sizes that the hash table may have. The smaller it is the more of it
	// stays in the processor's cache.
	leastBits, mostBits = 8, 14
	// multipliers are how many are tried for each size.
	multipliers = 1000
)

// usual is what most messages hold. Groups out of it say little.
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

// text is what the sieve looks for, for one signature or more.
type text struct {
	bytes string
	name  bool // a line break and a header's name
}

// choice are groups of a text one of which is to be kept: those that are aligned
// alike. The ones that are rare in messages come first.
type choice struct {
	text
	groups []placed
}

// placed is a group and where in its text it begins.
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

// groups are the groups that begin at each byte of a text.
func groups(text string) []uint32 {
	var all []uint32
	for i := range len(text) - group + 1 {
		all = append(all, binary.LittleEndian.Uint32([]byte(text[i:i+group]))|0x20202020)
	}
	return all
}

// newSieve makes the sieve. sieved says of a header (or RequestLine) whether all
// that its values may contain is found by the value itself.
func newSieve(list []Signature, required []string) (s Sieve, sieved func(header string) bool) {
	texts, unsieved := map[text]bool{}, map[string]bool{}
	none := func(string) bool { return false }
	for _, signature := range list {
		of := header(signature.Header)
		name, hasName := nameText(of)
		value, hasValue := valueText(signature.Value)
		switch {
		case signature.isRequestLine():
			if signature.Match == Contains && hasValue {
				texts[value] = true
			} else {
				s.RequestLine = true
				unsieved[RequestLine] = unsieved[RequestLine] || signature.Match == Contains
			}
		case hasValue && (signature.Match == Contains || !hasName):
			texts[value] = true
		case hasName:
			keepName(texts, name)
			unsieved[of] = unsieved[of] || signature.Match == Contains
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

// valueText is the longest part of a value that white space cannot stretch.
func valueText(value string) (text, bool) {
	longest := ""
	for part := range strings.FieldsSeq(normal(value)) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return text{longest, false}, len(longest) >= leastText
}

// fill makes the hash table, the smallest one that holds a group of each choice.
func (s *Sieve) fill(texts map[text]bool) bool {
	inUsual := map[uint32]int{}
	for _, g := range groups(lower(usual)) {
		inUsual[g]++
	}
	var choices []choice
	for t := range texts {
		choices = append(choices, t.choices(inUsual)...)
	}
	// Those with the least freedom first; otherwise any order that is always the
	// same.
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

// keep puts one group of a choice into the table; false if there is room for
// none of them.
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
			names = 0 // it may be part of a value, so that header has to be read whole
		}
		s.Groups[slot], s.Names[slot] = g.group, names
		return true
	}
	return false
}
