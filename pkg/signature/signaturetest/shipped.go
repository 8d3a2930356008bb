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
			shipped = append(shipped, signature.Signature{
				Name: s.Name, Header: s.Header, Match: signature.Match(s.Match()), Value: s.Value(), Class: signature.Class(s.Class),
			})
		}
	}
	return shipped
}
