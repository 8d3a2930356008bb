package signature_test

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/signature"
)

func TestOfRegister(t *testing.T) {
	const (
		line = "REGISTER sip:pbx.example SIP/2.0\r\n"
		via  = "Via: SIP/2.0/UDP 192.0.2.1;rport\r\n"
		end  = "\r\n"
	)
	invite := strings.Replace(line, "REGISTER", "INVITE", 1) + via + end
	for text, want := range map[string]signature.Mark{
		line + via + end: signature.None,
		line + end:       signature.None,
		strings.ReplaceAll(line+via+end, "\r", ""):                                        signature.None,
		line + via + "Expires: 3600\r\n" + end:                                            signature.None,
		line + via + "Expires: 0\r\n" + end:                                               signature.Unregister,
		line + "EXPIRES:0\r\n" + via + end:                                                signature.Unregister,
		line + "Contact: *\r\n" + via + end:                                               signature.Unregister,
		line + "m:\t*\n" + via + end:                                                      signature.Unregister,
		line + "Contact: <sip:a@b>;expires=0\r\n" + via + end:                             signature.Unregister,
		line + via + "m: \"a, b\" <sip:a@b>; Expires=0 ;q=1\r\n" + end:                    signature.Unregister,
		line + "m: <sip:a@b>;expires=0;+sip.instance=\"<urn:uuid:1>\"\r\n" + end:          signature.Unregister,
		line + "m: <sip:a@b>;methods=\"A, B\\\" ,\"; expires=0\r\n" + end:                 signature.Unregister,
		line + "m: <sip:a@b>;x=\";expires=0;\"\r\n" + end:                                 signature.None,
		line + "m: <sip:a@b>;x=\"y\r\n ;expires=0;\"\r\n" + end:                           signature.None,
		line + "m: <sip:a>;x=\"\r\nm: <sip:a>;expires=0\r\n" + end:                        signature.None,
		line + via + "m: <sip:a@b>; q=1; Expires=0 ;r\r\n" + end:                          signature.Unregister,
		line + "Contact:\r\n <sip:a@b>\r\n\t;expires=0\r\n" + end:                         signature.Unregister,
		line + "Contact: <sip:a>;expires=0, <sip:b>;expires=0\r\n" + end:                  signature.Unregister,
		line + "Contact: <sip:a>;expires=0\r\nContact: <sip:b>;expires=0\r\n" + via + end: signature.Unregister,
		line + "Contact: sip:a;expires=0\r\nExpires: 3600\r\n" + end:                      signature.Unregister,
		line + "Contact: <sip:a>;expires=0, <sip:b>\r\n" + end:                            signature.None,
		line + "Contact: <sip:a>;expires=60, <sip:b>;expires=0\r\n" + end:                 signature.None,
		line + "Contact: <sip:a>\r\nContact: <sip:b>;expires=0\r\n" + end:                 signature.None,
		line + "Contact: <sip:a;expires=0>\r\n" + end:                                     signature.None,
		line + "Contact: <sip:a;expires=0;x=y>\r\n" + end:                                 signature.None,
		line + "Contact: \"x;expires=0;\" <sip:a>\r\n" + end:                              signature.None,
		line + "Contact: <sip:a>;expires=05\r\n" + end:                                    signature.None,
		line + "Contact: <sip:a>;xexpires=0\r\n" + end:                                    signature.None,
		line + "X: <sip:a>;expires=0\r\n" + end:                                           signature.None,
		line + "Contact: <sip:a>\r\nX: y\r\n ;expires=0\r\n" + end:                        signature.None,
		line + "Expires: 00\r\n" + via + end:                                              signature.None,
		line + "X-Expires: 0\r\n" + via + end:                                             signature.None,
		line + "Contact: *x\r\n" + via + end:                                              signature.None,
		invite:                                                                            signature.None,
		line + via:                                                                        signature.Followed,
		line + via + "Expires: 0":                                                         signature.Followed,
		line + via + end + invite:                                                         signature.Followed,
		line + via + end + "x":                                                            signature.Followed,
		line + via + end + end:                                                            signature.Followed,
		line + via + "\r" + invite:                                                        signature.Followed,
		line + via + "\r\r" + invite:                                                      signature.Followed,
		line + "\n" + invite:                                                              signature.Followed,
		line + via + "X: \x00\r\n" + end:                                                  signature.Followed,
		line + "X: " + strings.Repeat("x", 2048) + "\r\n" + end:                           signature.Followed,
		"register sip:pbx.example SIP/2.0\r\n" + end + invite:                             signature.None, // the rules drop it
		"\r\n" + line + end + invite:                                                      signature.Followed,
		"REGISTER x\r\n" + end:                                                            signature.Followed,
	} {
		if got := signature.OfRegister([]byte(text), false, signature.None); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
	for text, want := range map[string]signature.Mark{
		line + via + end: signature.None,
		line + via + "Call-ID: 1 SIP/2.0 200 OK\r\n" + end:                      signature.Followed,
		line + "i: sip/2.0\r\n 200 OK\r\n" + via + end:                          signature.Followed,
		line + "X: INVITE sip:a SIP/2.0\r\n" + via + end:                        signature.Followed,
		line + via + "Expires: 0\r\nX: SIP/2.0\n" + end:                         signature.Followed,
		line + via + "Expires: 0\r\n" + end:                                     signature.Unregister,
		line + "v: SIP/2.0/TCP a, SIP/2.0/UDP b\r\n" + end:                      signature.None,
		line + via + "INVITE sip:a SIP / 2.00\r\n" + end:                        signature.Followed,
		line + "X: INVITE sip:a SIP\r\n /\r\n 2.0/1\r\n" + via + end:            signature.Followed,
		"REGISTER sip:aINVITE sip:b SIP/2.0\r\n" + via + end:                    signature.Followed,
		"REGISTER sip:a\tINVITE SIP/2.0\r\n" + via + end:                        signature.Followed,
		"REGISTER sip:a  SIP/2.0\r\n" + via + end:                               signature.Followed,
		"REGISTER sip:" + strings.Repeat("a", 250) + " SIP/2.0\r\n" + via + end: signature.None,
		"REGISTER sip:" + strings.Repeat("a", 251) + " SIP/2.0\r\n" + via + end: signature.Followed,
		line + via: signature.Followed,
		invite:     signature.None,
	} {
		if got := signature.OfRegisterByTCP([]byte(text), false, signature.None); got != want {
			t.Errorf("by TCP, %q is %v, want %v", text, got, want)
		}
		for _, m := range []signature.Mark{signature.Scanner, signature.NotAllowed} {
			if got := signature.OfRegisterByTCP([]byte(text), false, m); got != m {
				t.Errorf("by TCP, %q of a %v is %v", text, m, got)
			}
		}
	}
	for _, m := range []signature.Mark{signature.Scanner, signature.NotAllowed} {
		if got := signature.OfRegister([]byte(line+via), false, m); got != m {
			t.Errorf("a REGISTER of a %v is %v", m, got)
		}
	}
	if got := signature.OfRegister([]byte(line+via+end), true, signature.None); got != signature.Followed {
		t.Errorf("of a REGISTER that is there only partly it says %v", got)
	}
	if got := signature.OfRegister([]byte(line+via+end), false, signature.Allowed); got != signature.Allowed {
		t.Errorf("a REGISTER with an allowed User-Agent is %v", got)
	}
}
