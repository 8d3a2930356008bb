package signature_test

import (
	"fmt"

	"github.com/ringfence/ringfence/pkg/signature"
)

func ExampleCompile() {
	a, err := signature.Compile([]signature.Signature{
		{Name: "friendly-scanner", Header: "User-Agent", Match: signature.Prefix, Value: "friendly-scanner", Class: signature.Ban},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := a.Match([]byte("OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: Friendly-Scanner\r\n\r\n"))
	fmt.Println(r.Mark, r.Signature)
	r = a.Match([]byte("OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nSubject: friendly-scanner\r\n\r\n"))
	fmt.Printf("%v %q\n", r.Mark, r.Signature)
	// Output:
	// scanner friendly-scanner
	// none ""
}
