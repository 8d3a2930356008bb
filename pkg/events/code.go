package events

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ringfence/ringfence/pkg/sip"
)

var errContent = errors.New("its content is not what was written")

// hourKey is the name of the bucket of an hour. Earlier hours come first.
func hourKey(hour time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(hour.Unix(), 0)))
}

func parseHour(key []byte) (time.Time, error) {
	if len(key) != 8 {
		return time.Time{}, errContent
	}
	seconds := binary.BigEndian.Uint64(key)
	if seconds >= 1<<40 || seconds%3600 != 0 {
		return time.Time{}, errContent
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// texts are the texts of a record, in the order in which they are written.
func (r *Record) texts() []*string {
	return []*string{&r.Protocol, &r.Reason, &r.Method, &r.UserAgent, &r.Called, &r.Signature}
}

// key is the key of a record in the bucket of its hour.
func (r Record) key() []byte {
	key := appendText(nil, string(r.Source.AsSlice()))
	key = binary.BigEndian.AppendUint16(key, r.Port)
	for _, text := range r.texts() {
		key = appendText(key, *text)
	}
	return key
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// value has the packets, and the times in milliseconds of the hour.
func (r Record) value() []byte {
	value := binary.AppendUvarint(nil, r.Packets)
	for _, at := range []time.Time{r.First, r.Last} {
		value = binary.AppendUvarint(value, uint64(min(max(at.Sub(r.Hour), 0), time.Hour).Milliseconds()))
	}
	return value
}

// parseRecord reads what key and value have written. Nothing in the file is trusted.
func parseRecord(hour time.Time, key, value []byte) (Record, error) {
	r := Record{Hour: hour}
	k, v := parser{rest: string(key)}, parser{rest: string(value)}
	if source := k.text(); source != "" {
		address, ok := netip.AddrFromSlice([]byte(source))
		k.bad = k.bad || !ok
		r.Source = address
	}
	r.Port = uint16(k.byte())<<8 | uint16(k.byte())
	for _, text := range r.texts() {
		*text = k.text()
		k.bad = k.bad || !utf8.ValidString(*text)
	}
	r.Packets = v.number()
	for _, at := range []*time.Time{&r.First, &r.Last} {
		n := v.number()
		v.bad = v.bad || n > uint64(time.Hour.Milliseconds())
		*at = hour.Add(time.Duration(min(n, uint64(time.Hour.Milliseconds()))) * time.Millisecond)
	}
	if k.bad || v.bad || k.rest != "" || v.rest != "" {
		return Record{}, errContent
	}
	return r, nil
}

// parser reads numbers and texts. After the first one that is not there, it is bad.
type parser struct {
	rest string
	bad  bool
}

func (p *parser) byte() byte {
	if p.rest == "" {
		p.bad = true
		return 0
	}
	b := p.rest[0]
	p.rest = p.rest[1:]
	return b
}

func (p *parser) number() uint64 {
	n, length := binary.Uvarint([]byte(p.rest[:min(len(p.rest), binary.MaxVarintLen64)]))
	if length <= 0 {
		p.bad = true
		return 0
	}
	p.rest = p.rest[length:]
	return n
}

func (p *parser) text() string {
	n := p.number()
	if n > uint64(min(len(p.rest), sip.MaxText)) {
		p.bad = true
		return ""
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return text
}

func compareCounts(a, b Count) int {
	return cmp.Or(a.Hour.Compare(b.Hour), strings.Compare(a.Name, b.Name))
}

func parseCount(hour time.Time, key, value []byte) (Count, error) {
	v := parser{rest: string(value)}
	c := Count{hour, string(key), v.number()}
	if v.bad || v.rest != "" || len(c.Name) > sip.MaxText || !utf8.ValidString(c.Name) {
		return Count{}, errContent
	}
	return c, nil
}
