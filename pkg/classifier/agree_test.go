package classifier_test

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// before is a mark all of whose bits must stay but those of the nibble.
const before, without = 0xfedcba98, 0xf0dcba98

// untouched is what becomes of packets to other ports.
const untouched signature.Mark = 0

func mark(m signature.Mark) uint32 {
	if m == untouched {
		return before
	}
	return without | ruleset.DefaultMarkBits.Of(ruleset.Class(m))
}

// judge runs the program on a frame and wants a certain mark.
func judge(t *testing.T, l *classifier.Loaded, frame []byte, want signature.Mark, about any) {
	t.Helper()
	got, err := l.Run(frame, before)
	labtest.Must(t, err)
	if got != mark(want) {
		t.Fatalf("the mark is %#x, want %#x: %q", got, mark(want), about)
	}
}

// TestKernelAgrees holds the program in the kernel against the automaton in Go, on
// RFC 4475's messages and on messages that lie in wait for both: the marks, and
// which signature is counted.
func TestKernelAgrees(t *testing.T) {
	for _, c := range []struct {
		name     string
		list     []signature.Signature
		required []string
	}{
		{"few", signaturetest.Few(), nil},
		{"some too short for the sieve", signaturetest.Short(), nil},
		{"with a required User-Agent", signaturetest.Few(), []string{"Yealink", "sipsak", "h\xc3\xa9ros"}},
		{"the shipped ones", signaturetest.Shipped(), nil},
		{"a thousand", signaturetest.Many(1000), nil},
		{"none", nil, nil},
		{"only a required User-Agent", nil, []string{"a b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := loaded(t, c.list, c.required...)
			a, err := signature.Compile(c.list, c.required)
			labtest.Must(t, err)
			want := map[string]uint64{}
			for _, s := range c.list {
				want[s.Name] = 0
			}
			compare := func(message []byte) {
				result := a.Match(message)
				if result.Signature != "" {
					want[result.Signature]++
				}
				judge(t, l, plain(message), result.Mark, message)
			}
			for _, m := range signaturetest.Torture() {
				// What BPF_PROG_TEST_RUN takes fits into a page.
				compare(m.Bytes[:min(len(m.Bytes), 3000)])
			}
			of := c.list
			if len(of) == 0 {
				of = signaturetest.Few()
			}
			r := rand.New(rand.NewPCG(9, uint64(len(c.name))))
			for range labtest.Count(10_000, 1_000_000) {
				m := signaturetest.Mutant(r, of)
				compare(m[:min(len(m), 3000)])
			}
			for range labtest.Count(1000, 100_000) {
				compare(signaturetest.Benign(r))
			}
			got, err := l.Counts()
			labtest.Must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("hits: %s", diff)
			}
			matched := 0
			for n := range maps.Values(got) {
				if n > 0 {
					matched++
				}
			}
			t.Logf("%d of %d signatures have matched", matched, len(c.list))
		})
	}
}
