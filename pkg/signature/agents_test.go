package signature_test

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

func TestRequiredUserAgent(t *testing.T) {
	a := compiled(t, signaturetest.Few(), "Yealink", "snom 7", "sipsak")
	for _, test := range []struct {
		name, message string
		want          signature.Mark
	}{
		{"allowed", request("User-Agent: Yealink SIP-T46S"), signature.Allowed},
		{"in odd case", request("user-agent: YEALINK"), signature.Allowed},
		{"folded", request("User-Agent:\r\n snom\r\n 760"), signature.Allowed},
		{"not at the beginning", request("User-Agent: My Yealink"), signature.NotAllowed},
		{"another one", request("User-Agent: Grandstream"), signature.NotAllowed},
		{"none", request(), signature.NotAllowed},
		{"one of two", request("User-Agent: x", "User-Agent: Yealink"), signature.Allowed},
		{"in another header", request("Server: Yealink"), signature.NotAllowed},
		{"in the body", request() + "User-Agent: Yealink\r\n", signature.NotAllowed},
		{"cut before it", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: Yealin", signature.NotAllowed},
		{"cut behind it", "OPTIONS sip:a SIP/2.0\r\nUser-Agent: Yealink", signature.Allowed},
		{"a scanner with it", request("User-Agent: Yealink friendly-scanner"), signature.Scanner},
		{"a label with it", request("User-Agent: sipsak"), signature.Allowed},
		{"a response", "SIP/2.0 200 OK\r\nUser-Agent: x\r\n\r\n", signature.None},
		{"a keep-alive", "\r\n\r\n", signature.None},
		{"a response behind line breaks", "\r\n\r\nSIP/2.0 486 Busy Here\r\nUser-Agent: x\r\n\r\n", signature.None},
		{"a response of no status", "SIP/2.0 OK sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: x\r\n\r\n", signature.NotAllowed},
		{"a response that is none", "SIP/2.00 200 OK, or so it says\r\nUser-Agent: x\r\n\r\n", signature.NotAllowed},
		{"a segment out of the middle", "Agent: Yealink\r\nContent-Length: 0\r\n\r\n", signature.NotAllowed},
		{"nothing", "", signature.None},
		{"a long keep-alive", strings.Repeat("\r\n", 3000), signature.None},
		{"a keep-alive of STUN", "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl", signature.None},
		{"something else", strings.Repeat("\x80\x00RTP", 10), signature.NotAllowed},
		{"carriage returns only", strings.ReplaceAll(request("User-Agent: Yealink"), "\n", ""), signature.Allowed},
		{"carriage returns only, and another one", strings.ReplaceAll(request("User-Agent: x"), "\n", ""), signature.NotAllowed},
		{"another version", "OPTIONS sip:a SIP/2.00\r\nUser-Agent: x\r\n\r\n", signature.NotAllowed},
		{"line breaks before it", strings.Repeat("\r\n", 1100) + request("User-Agent: x"), signature.NotAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := agree(t, a, []byte(test.message)); got.Mark != test.want {
				t.Errorf("%q gets mark %q, want %q", test.message, got.Mark, test.want)
			}
		})
	}
}
