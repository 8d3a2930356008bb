package signaturetest

import (
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/rules"
)

// Shipped returns the signatures of the list scanners that are switched on.
func Shipped() []signature.Signature {
	lists, err := rules.SignatureLists()
	if err != nil {
		panic(err)
	}
	var shipped []signature.Signature
	for _, s := range lists["scanners"].Signatures {
		if !s.Off {
			shipped = append(shipped, Of(s))
		}
	}
	return shipped
}

// Of is a signature of a list as the automaton takes it.
func Of(s rules.Signature) signature.Signature {
	var all []signature.Condition
	for _, c := range s.Conditions() {
		all = append(all, signature.Condition{Header: c.Header, Match: signature.Match(c.Match()), Value: c.Value()})
	}
	return signature.New(s.Name, signature.Class(s.Class), all...)
}
