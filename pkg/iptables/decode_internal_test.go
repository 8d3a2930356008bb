package iptables

import (
	"slices"
	"strings"
	"testing"
)

// FuzzDecode: whatever stands in a chain is either foreign or exactly what is written
// for the rules that it was read as, and no line is lost.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"",
		"-j RETURN\n-j DROP",
		"! -i lo -p udp -m multiport --dports 5060,5061 -j RINGFENCE-@-sip\n! -i lo -p tcp -m multiport --dports 5060 -j RINGFENCE-@-sip",
		"-m frag --fragfirst -j RINGFENCE-@-no_l4_header\n! -p 255 -j RETURN",
		"-m set --match-set ringfence-providers4 src -g RINGFENCE-@-allowed_provider\n-g RINGFENCE-@-sip6",
		"-m set ! --match-set ringfence-protected4 src -g RINGFENCE-dropped_banned",
		"-m mark --mark 0x1000000/0xf000000 -m addrtype --src-type UNICAST -j SET --add-set ringfence-banned4 src --exist --timeout 3600",
		"-m mark --mark 0x1000000/0xf000000 -j RINGFENCE-allowed_scanner\n-j MARK --set-xmark 0x0/0xf000000",
		"-m mark --mark 0x1000000/0xffffffff -j RINGFENCE-unread\n-m mark --mark 0x11000000/0xf000000 -j RINGFENCE-unread",
		"-p udp -m conntrack --ctstate DNAT --ctdir ORIGINAL -m multiport --dports 5060 -j MARK --set-xmark 0x4000000/0xf000000",
		"-p udp -m mark ! --mark 0x0/0xf000000 -m multiport --dports 5060 -j MARK --set-xmark 0x0/0xf000000",
		"-s 10.0.0.0/8 -m rpfilter --invert -j RINGFENCE-@-spoofed\n-s 172.16.0.0/12 -m rpfilter --invert -j RINGFENCE-@-spoofed",
		"-s 192.168.1.0/24 -i eth0 -j RETURN\n-i ppp+ -j RINGFENCE-unseen",
		"-m conntrack --ctdir REPLY -g RINGFENCE-allowed_reply\n-g RINGFENCE-counted_unknown",
		"-p udp -m multiport --dports 5060 -m set --match-set ringfence-armed4 src -j RINGFENCE-@-sip\n-p udp -m multiport --dports 5060 -j MARK --set-xmark 0x0/0xf000000",
		"-p udp -m multiport --dports 5060 -j RINGFENCE-@-sip\n-p udp -m multiport --dports 5060 -m set --match-set ringfence-armed4 src -j RINGFENCE-@-sip",
		"-m string --string \"x\" --algo kmp -j DROP\n-s",
		`-m u32 --u32 "0x0>>0x16&0x3c@0x8=0x52454749&&0x0>>0x16&0x3c@0xc=0x53544552&&0x0>>0x16&0x3c@0xd=0x54455220" -g RINGFENCE-@-register4`,
		`-p tcp -m u32 --u32 "0x4&0x3fff=0x0&&0x0>>0x16&0x3c@0xc>>0x1c=0x5&&0x0>>0x16&0x3c@0x11=0x0:0xffffffff" -g RINGFENCE-@-drop_method4`,
		`-p tcp -m u32 --u32 "0x3&0xff=0x6&&0x34>>0x1c=0x5&&0x3c=0x5349502f&&0x40=0x322e3020&&0x41&0xff=0x20" -j RETURN`,
		`-m u32 --u32 "0x3&0xff=0x11&&0x30=0x5349502f&&0x34=0x322e3020&&0x36=0x20203430" -g RINGFENCE-@-refused6`,
		"-m set ! --match-set ringfence-protected4 dst -m set --match-set ringfence-tries4 dst,dst --packets-gt 9 -j SET --add-set ringfence-banned4 dst --exist --timeout 3600\n" +
			"-m set ! --match-set ringfence-protected4 dst -j SET --add-set ringfence-tries4 dst,dst --timeout 60",
		"-p tcp -m tcp --tcp-flags SYN,ACK SYN -m set --match-set ringfence-rate4 src --packets-gt 20 -g RINGFENCE-@-drop_rate4\n" +
			"-p tcp -m tcp --tcp-flags SYN,ACK SYN -j SET --add-set ringfence-rate4 src --timeout 60",
		"-m set --match-set ringfence-rate4 src --packets-gt 20 -j DROP",
		"-j SET --del-set ringfence-phones4 dst,dst\n-m set ! --match-set ringfence-phones4 src,src -m set --match-set ringfence-other4 dst -j RETURN",
		"-p udp -m multiport --sports 5060 -m set --match-set ringfence-asking4 dst,dst -j RINGFENCE-@-answered4\n-p udp -j RETURN",
		"-p udp -m conntrack --ctstate DNAT --ctorigdstport 5060 --ctdir REPLY -j RINGFENCE-@-answers_dnat",
		`-m string --string "a \"b\\" c" --algo kmp --icase -g RINGFENCE-@-scanner4` + "\n-m string --string \"a  b\" --algo kmp --icase -j DROP",
	} {
		f.Add(seed, false, false)
		f.Add(seed, true, true)
	}
	f.Fuzz(func(t *testing.T, text string, v6, stage bool) {
		lines := strings.Split(text, "\n")
		var found learned
		rules := decoder{v6: v6, stage: stage, learned: &found}.rules(lines)
		ports := (&observation{learned: found}).portsFor(anyLifetime)
		var written []string
		for _, r := range rules {
			if r.Statements() == nil {
				written = append(written, lines[len(written)])
				continue
			}
			again, err := encoder{v6: v6, stage: stage, ports: ports}.rule(r)
			if err != nil || len(again) == 0 {
				t.Fatalf("%q was read as %q, which cannot be written: %v", text, r, err)
			}
			written = append(written, again...)
		}
		if !slices.Equal(written, lines) {
			t.Errorf("%q was read as what is written as %q", lines, written)
		}
	})
}

// FuzzParseSave: no listing ends the program, and none has more lines than were read.
func FuzzParseSave(f *testing.F) {
	f.Add("*raw\n:PREROUTING ACCEPT [1:2]\n:RINGFENCE-A-sip - [0:0]\n[3:4] -A RINGFENCE-A-sip -j DROP\nCOMMIT\n")
	f.Add("*raw\n:\n[ -A\n[1:] -A x\n-A\n[1:2] -A y -j \"a b\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		for _, chain := range parseSave(text) {
			n += len(chain.lines)
			if len(chain.packets) != len(chain.lines) || len(chain.bytes) != len(chain.lines) {
				t.Errorf("%d lines have %d counts of packets and %d of bytes", len(chain.lines), len(chain.packets), len(chain.bytes))
			}
		}
		if n > strings.Count(text, "\n")+1 {
			t.Errorf("%d lines are read from %q", n, text)
		}
	})
}
