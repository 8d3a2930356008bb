package signaturetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Phones are User-Agents of ordinary devices.
var Phones = []string{
	"Yealink SIP-T46S 66.85.0.5", "Grandstream GXP2170 1.0.11.3", "PolycomVVX-VVX_411-UA/5.9.6.2327", "Cisco-SIPGateway/IOS-12.x",
	"Linksys/SPA942-6.1.5(a)", "snom760/8.9.3.80", "3CXPhoneSystem 18.0.6", "FPBX-16.0.40(18.18.0)", "Asterisk PBX 18.10.0",
	"Zoiper rv2.10.19.2", "Z 3.15.40006 rv2.8.30", "Linphone/3.6.1 (eXosip2/4.1.0)", "X-Lite release 5.0.1", "MicroSIP/3.21.3",
	"Sipura/SPA3000-3.1.7", "FreeSWITCH-mod_sofia/1.10.7", "kamailio (5.6.1 (x86_64/linux))", "Bria 5 release 5.8.3",
	"Gigaset N510 IP PRO/42.258", "AVM FRITZ!Box 7590 154.07.57 (Jan  9 2023)", "sipgate", "Gulpilil 1.0", "SIPPER for PhonerLite",
}

// Benign makes a request of an ordinary device. The parts that are random in such a
// message are random here.
func Benign(r *rand.Rand) []byte {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	name := func() string {
		return pick("Alice", "Bob Miller", "Gulpilil", "Reception", "J. Sipowicz", "smapper", "Test Agent Smith", "Praxis Dr. Nmapel", "Scanner room", "")
	}
	host := func() string {
		return pick("sip.example.com", "pbx.example.org", "atlanta.example.net", fmt.Sprintf("192.0.2.%d", r.IntN(256)), fmt.Sprintf("10.1.1.%d:5062", r.IntN(256)), "[2001:db8::5]")
	}
	user := func() string {
		return pick("100", "101", fmt.Sprint(r.IntN(100_000)), "+4930"+fmt.Sprint(r.IntN(1_000_000)), "alice")
	}
	address := func() string { return fmt.Sprintf("%q <sip:%s@%s>", name(), user(), host()) }
	method := pick("INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "NOTIFY", "MESSAGE", "BYE", "ACK")
	headers := []string{
		"Via: SIP/2.0/" + pick("UDP ", "TCP ", "TLS ") + host() + ";branch=z9hG4bK" + letters(r, 8+r.IntN(24)) + pick("", ";rport", ";rport;received=198.51.100.7"),
		pick("From: ", "f: ") + address() + ";tag=" + letters(r, 6+r.IntN(20)),
		pick("To: ", "t: ") + address() + pick("", ";tag="+letters(r, 10)),
		pick("Call-ID: ", "i: ") + letters(r, 12+r.IntN(24)) + pick("", "@"+host()),
		fmt.Sprintf("CSeq: %d %s", r.Int64N(1<<31), method),
		pick("Contact: ", "m: ") + fmt.Sprintf("<sip:%s@%s;ob>;+sip.instance=\"<urn:uuid:%s>\"", user(), host(), letters(r, 32)),
		"Max-Forwards: 70",
		pick("Subject: ", "s: ") + pick("we block friendly-scanner", "Performance Tests", "about sipvicious and svmap", letters(r, 30)),
		"Authorization: Digest username=\"" + user() + "\", realm=\"example\", nonce=\"" + letters(r, 40) + "\", response=\"" + letters(r, 32) + "\"",
		"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY",
	}
	if r.IntN(8) > 0 {
		headers = append(headers, "User-Agent: "+pick(Phones...))
	}
	r.Shuffle(len(headers), func(i, j int) { headers[i], headers[j] = headers[j], headers[i] })
	body := ""
	if method == "INVITE" || method == "MESSAGE" {
		body = pick("v=0\r\no=- 1 1 IN IP4 192.0.2.4\r\ns=SIPPTS\r\na=ice-ufrag:"+letters(r, 8)+"\r\na=ice-pwd:"+letters(r, 24)+"\r\n",
			"OPTIONS sip:100@192.0.2.4 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", "User-Agent: sipcli/v1.8\r\n")
	}
	headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
	return []byte(method + " sip:" + user() + "@" + host() + " SIP/2.0\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body)
}

// letters returns n random letters and digits.
func letters(r *rand.Rand, n int) string {
	const all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = all[r.IntN(len(all))]
	}
	return string(b)
}
