package signature_test

import (
	"math/rand/v2"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

func compiled(t testing.TB, list []signature.Signature, required ...string) *signature.Automaton {
	t.Helper()
	a, err := signature.Compile(list, required)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// agree holds both matchers against each other.
func agree(t *testing.T, a *signature.Automaton, message []byte) signature.Result {
	t.Helper()
	got, want := a.Match(message), a.Explain(message).Result
	if got != want {
		t.Fatalf("the automaton finds %v, comparing strings finds %v in\n%q\n%+v", got, want, message, a.Explain(message).Findings)
	}
	return got
}

func TestAutomatonAgreesWithStrings(t *testing.T) {
	for _, a := range []*signature.Automaton{
		compiled(t, signaturetest.Few()), compiled(t, signaturetest.Short()), compiled(t, signaturetest.Few(), "Yealink", "sipsak", "h\xc3\xa9ros"), compiled(t, signaturetest.Many(300)), compiled(t, nil), compiled(t, nil, "a b"),
	} {
		list := a.Signatures()
		if len(list) == 0 {
			list = signaturetest.Few()
		}
		r := rand.New(rand.NewPCG(3, 4))
		found := map[signature.Result]int{}
		for range labtest.Count(50_000, 3_000_000) {
			found[agree(t, a, signaturetest.Mutant(r, list))]++
		}
		for _, s := range a.Signatures()[:min(len(a.Signatures()), len(signaturetest.Few()))] {
			matched := 0
			for result, n := range found {
				if result.Signature == s.Name {
					matched += n
				}
			}
			if matched == 0 {
				t.Errorf("no message matched %s", s.Name)
			}
		}
		t.Log(found)
	}
}
