package signature_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// TestStored: an automaton that was written and read again finds the same in every
// message, knows whose it is, and gives the kernel the same tables.
func TestStored(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	text := func(list []signature.Signature) []signature.Signature {
		return slices.DeleteFunc(list, func(s signature.Signature) bool { return !utf8.ValidString(s.Value) })
	}
	few := text(signaturetest.Few())
	for i, a := range []*signature.Automaton{
		compiled(t, few), compiled(t, text(signaturetest.Short())), compiled(t, few, "Yealink", "sipsak", "h\xc3\xa9ros"),
		compiled(t, signaturetest.Shipped()), compiled(t, text(signaturetest.Many(300))), compiled(t, nil), compiled(t, nil, "a b"),
	} {
		data, err := a.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back signature.Automaton
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatalf("automaton %d: %v", i, err)
		}
		for range 300 {
			m := signaturetest.Mutant(r, few)
			if got, want := agree(t, &back, m), a.Match(m); got != want {
				t.Fatalf("automaton %d: read again it finds %v, before %v in\n%q", i, got, want, m)
			}
		}
		if diff := cmp.Diff(a.Table(), back.Table()); diff != "" {
			t.Errorf("automaton %d: %s", i, diff)
		}
	}
}

// TestNotStored: what would be another text after reading is not written.
func TestNotStored(t *testing.T) {
	for name, a := range map[string]*signature.Automaton{
		"a signature": compiled(t, []signature.Signature{{Name: "a", Header: "from", Match: signature.Exact, Value: "h\xffros", Class: signature.Ban}}),
		"a condition": compiled(t, []signature.Signature{{Name: "a", Class: signature.Ban, All: []signature.Condition{
			{Header: "from", Match: signature.Exact, Value: "x"}, {Header: "to", Match: signature.Exact, Value: "\xff"},
		}}}),
		"a required User-Agent": compiled(t, nil, "\xff"),
	} {
		if _, err := a.MarshalBinary(); err == nil {
			t.Errorf("%s that is not UTF-8 was written", name)
		}
	}
}

// TestIsOf: an automaton that was made beforehand is taken only for exactly the signatures
// that it was made of.
func TestIsOf(t *testing.T) {
	few := signaturetest.Few()
	another := append([]signature.Signature{}, few...)
	another[0].Value += "x"
	for _, test := range []struct {
		name     string
		list     []signature.Signature
		required []string
		want     bool
	}{
		{"the same", few, []string{"Yealink"}, true},
		{"one less", few[1:], []string{"Yealink"}, false},
		{"another value", another, []string{"Yealink"}, false},
		{"another order", append(append([]signature.Signature{}, few[1:]...), few[0]), []string{"Yealink"}, false},
		{"another User-Agent", few, []string{"snom"}, false},
		{"no User-Agent", few, nil, false},
		{"nothing", nil, nil, false},
	} {
		if got := compiled(t, few, "Yealink").IsOf(test.list, test.required); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
	if !compiled(t, nil).IsOf(nil, nil) || !compiled(t, nil).IsOf([]signature.Signature{}, []string{}) {
		t.Error("the automaton of nothing is not that of nothing")
	}
}

// TestDamagedAutomaton: data that was cut or changed is an error, and not an automaton
// that finds something else.
func TestDamagedAutomaton(t *testing.T) {
	a := compiled(t, signaturetest.Shipped()[:5])
	data, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if err := new(signature.Automaton).UnmarshalBinary(data[:n]); err == nil {
			t.Fatalf("%d of %d bytes were read", n, len(data))
		}
	}
	for name, content := range map[string]string{
		"less than a length":   "\x01",
		"less than its head":   "\x10\x00\x00\x00{}",
		"a head of no JSON":    "\x01\x00\x00\x00x",
		"tables without size":  "\x02\x00\x00\x00{}tables",
		"a size without table": "\x0a\x00\x00\x00{\"Next\":7}",
	} {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestSpeed)
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if err := new(signature.Automaton).UnmarshalBinary(b.Bytes()); err == nil || !strings.HasPrefix(err.Error(), "read automaton: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var empty signature.Automaton
	if err := empty.UnmarshalBinary(nil); err == nil || len(empty.Signatures()) > 0 {
		t.Errorf("nothing was read: %v", err)
	}
}

// TestMarkNames: events, counters and signatures test name what a packet was taken for.
func TestMarkNames(t *testing.T) {
	for mark, want := range map[signature.Mark]string{
		signature.Scanner: "scanner", signature.Allowed: "allowed User-Agent", signature.NotAllowed: "no allowed User-Agent",
		signature.None: "none", signature.Unread: "not read", 0: "none",
	} {
		if got := mark.String(); got != want {
			t.Errorf("mark %d is %q, want %q", mark, got, want)
		}
	}
}
