package sip_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/sip"
)

// TestReadAnswer: what accepts a registration or a call is known, and nothing else is
// taken for it.
func TestReadAnswer(t *testing.T) {
	for message, want := range map[string]sip.Answer{
		"SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\nServer: Asterisk\r\n\r\n":           {Status: 200, Method: "REGISTER", Agent: "Asterisk"},
		"\r\nSIP/2.0 202 Accepted\nCSeq : 7\n INVITE\nUser-Agent: snom\nServer: x": {Status: 202, Method: "INVITE", Agent: "snom"},
		"SIP/2.0 200 OK\r\nCSeq: 1\r\n\r\n":                                        {Status: 200},
		"SIP/2.0 401 Unauthorized\r\nCSeq: 1 REGISTER\r\n\r\n":                     {Status: 401, Method: "REGISTER"},
		"SIP/2.0 200 OK\r\nVia: x\r\n\r\nCSeq: 1 INVITE\r\n":                       {Status: 200},
		"REGISTER sip:a SIP/2.0\r\nCSeq: 1 REGISTER\r\n\r\n":                       {},
		"SIP/2.0": {}, "": {}, "SIP/2.0 x\r\nCSeq: 1 INVITE\r\n": {},
	} {
		got := sip.ReadAnswer([]byte(message))
		if got != want {
			t.Errorf("%q: got %+v, want %+v", message, got, want)
		}
		if good := want.Status/100 == 2 && want.Method != ""; got.Good() != good {
			t.Errorf("%q: good %t", message, got.Good())
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\nServer: Asterisk\r\n\r\n"))
	f.Fuzz(func(_ *testing.T, message []byte) { sip.ReadAnswer(message) })
}
