package classifier_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

var sipPorts = classifier.Ports{UDP: []uint16{5060, 5061}, TCP: []uint16{5060}}

func udp4(payload []byte) []byte {
	p := make([]byte, 14+28+len(payload))
	copy(p, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0})
	ip := p[14:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(payload)))
	ip[8], ip[9] = 64, 17
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	u := ip[20:]
	binary.BigEndian.PutUint16(u, 5060)
	binary.BigEndian.PutUint16(u[2:], 5060)
	binary.BigEndian.PutUint16(u[4:], uint16(8+len(payload)))
	copy(u[8:], payload)
	return p
}

func TestKernelAgrees(t *testing.T) {
	for _, c := range []struct {
		list     []signature.Signature
		required []string
	}{
		{signaturetest.Few(), nil}, {signaturetest.Short(), nil}, {signaturetest.Few(), []string{"Yealink", "sipsak", "h\xc3\xa9ros"}}, {signaturetest.Many(300), nil}, {nil, []string{"a b"}},
	} {
		a, err := signature.Compile(c.list, c.required)
		labtest.Must(t, err)
		l, err := classifier.New(a, sipPorts).Load()
		labtest.Must(t, err)
		r := rand.New(rand.NewPCG(5, 6))
		list := c.list
		if len(list) == 0 {
			list = signaturetest.Few()
		}
		want := map[string]uint64{}
		for _, s := range c.list {
			want[s.Name] = 0
		}
		for range labtest.Count(20_000, 1_000_000) {
			m := signaturetest.Mutant(r, list)
			m = m[:min(len(m), 3000)]
			got, err := l.Run(udp4(m), 0xfedcba98)
			labtest.Must(t, err)
			result := a.Match(m)
			if result.Signature != "" {
				want[result.Signature]++
			}
			if got != 0xf0dcba98|uint32(result.Mark)<<classifier.MarkShift {
				t.Fatalf("kernel %#x want %v\n%q", got, result, m)
			}
		}
		counts, err := l.Counts()
		labtest.Must(t, err)
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Error(diff)
		}
		l.Close()
	}
}
