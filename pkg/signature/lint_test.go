package signature_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		s    signature.Signature
		want signature.Lint
	}{
		{signature.Signature{Name: "a", Header: "user-agent", Match: signature.Contains, Value: "BadDialer/1"}, signature.Lint{}},
		{signature.Signature{Name: "b", Header: "user-agent", Match: signature.Contains, Value: "bad"}, signature.Lint{Length: 3, Least: 8}},
		{signature.Signature{Name: "c", Header: "user-agent", Match: signature.Prefix, Value: "ba"}, signature.Lint{Length: 2, Least: 3}},
		{signature.Signature{Name: "d", Header: "user-agent", Match: signature.Exact, Value: "ba"}, signature.Lint{}},
		{signature.Signature{Name: "e", Header: "max-forwards", Match: signature.Exact, Value: "70"}, signature.Lint{Text: "70"}},
		{signature.Signature{Name: "f", Header: "user-agent", Match: signature.Exact}, signature.Lint{}}, // Compile reports it
	} {
		test.s.Class = signature.Ban
		got, found := signature.Check(test.s)
		if found != (test.want != signature.Lint{}) || got.Least != test.want.Least || got.Length != test.want.Length || (got.Text == "") != (test.want.Text == "") {
			t.Errorf("%s: %+v (%t), want %+v", test.s.Name, got, found, test.want)
		}
	}
}
