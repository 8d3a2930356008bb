package cli_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestNewcomer is the way of somebody who has just put up a fence in monitor mode: a remote
// phone, a server that the provider has not listed and a scanner come. dropped names all
// three, why says what each may be, and what it proposes lets the first two in when the
// fence is enforced; with the service and without.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T) {
		t.Parallel()
		for _, service := range []bool{true, false} {
			t.Run(fmt.Sprintf("service %t", service), func(t *testing.T) {
				t.Parallel()
				testNewcomer(t, service)
			})
		}
	})
}

const newcomerPolicy = "version: 1\nproviders: [{name: acme, addresses: [" + edge1 + "]}]\n"

func testNewcomer(t *testing.T, service bool) {
	labtest.Need(t, "svmap")
	w := newWorld(t)
	phone, phone4, _ := w.stranger(t, 1)
	scanner, scanner4, _ := w.stranger(t, 2)
	pbx := listen(t, w.pbx, 5060, pbx4, pbx6)
	s := newSite(t, w.pbx, newcomerPolicy+"mode: monitor\n")
	s.must(t, 0, "apply")
	if service {
		r := serve(t, s)
		untilListens(t, r)
		defer r.end(t)
	}
	for range 3 {
		ask(t, phone, phone4, pbx4, "REGISTER", "Yealink SIP-T46S")
	}
	ask(t, w.provider, edge2, pbx4, "INVITE", "edge")
	scan(t, scanner, "svmap -p 5060 "+pbx4)
	why := func(a string) string { return s.must(t, 0, "why", a).stdout }
	until(t, "dropped names all three", func() bool {
		d := s.dropped(t)
		return len(d) == 3 && d[phone4].Packets >= 3 && d[edge2].Packets > 0 && d[scanner4].Packets > 0 &&
			(!service || d[phone4].Method != "" && d[edge2].Method != "" && d[scanner4].Method != "")
	})
	if heard := pbx.From(phone4, edge2, scanner4); heard == 0 {
		t.Error("in monitor mode nobody is heard")
	}
	const would = "allowed in monitor mode, and would be dropped: unknown; "
	says := map[string]string{
		phone4:   would + `3 packets.*, last \d+ (s|min) ago: if it is yours: ringfence allow ` + phone4 + " --for 2h, or add it to trusted.addresses",
		edge2:    would + `1 packet.*, last .*: another server of acme\? ringfence allow ` + edge2 + " --for 2h, or add " + edge2 + " to the addresses of provider acme",
		scanner4: would + `\d+ packets?.*, last .*, it sent what a scanner sends: a scanner, nothing to do`,
	}
	if service {
		says[phone4] = would + `3 packets since .*, last \d+ (s|min) ago, REGISTER of \S+ by Yealink SIP-T46S: a remote phone\? ringfence allow ` + phone4 + " --for 2h, or add it to trusted.addresses"
		says[scanner4] = would + `\d+ packets? since .*, OPTIONS of 100 by friendly-scanner \(\S+\): a scanner, nothing to do`
	}
	if d := s.dropped(t)[scanner4]; d.Reason != "signature" {
		t.Errorf("of the scanner, dropped says %+v", d)
	}
	for a, text := range says {
		if got := why(a); !regexp.MustCompile("^" + text + "\n$").MatchString(got) {
			t.Errorf("why %s says\n%swant\n%s", a, got, text)
		}
	}

	// What is proposed: a command for the phone, a line of the policy for the server.
	command := regexp.MustCompile(`ringfence (allow \S+ --for 2h)`).FindStringSubmatch(why(phone4))
	s.write(t, strings.Replace(newcomerPolicy, edge1, edge1+", "+edge2, 1))
	s.must(t, 0, "apply")
	s.must(t, 0, strings.Fields(command[1])...)
	if got := why(phone4); !strings.HasPrefix(got, "allowed by hand by ") {
		t.Errorf("of the phone that was let in, why says\n%s", got)
	}
	if got := why(edge2); !strings.HasPrefix(got, "allowed by acme: addresses; before that it was not") {
		t.Errorf("of the server that was listed, why says\n%s", got)
	}
	if got := why(scanner4); !strings.HasPrefix(got, "dropped: unknown; ") {
		t.Errorf("of the scanner, why says\n%s", got)
	}
	before := pbx.From(scanner4)
	fromPhone, fromServer := pbx.From(phone4), pbx.From(edge2)
	ask(t, scanner, scanner4, pbx4, "OPTIONS", "friendly-scanner")
	ask(t, phone, phone4, pbx4, "REGISTER", "Yealink SIP-T46S")
	ask(t, w.provider, edge2, pbx4, "INVITE", "edge")
	until(t, "the phone and the server are heard", func() bool { return pbx.From(phone4) > fromPhone && pbx.From(edge2) > fromServer })
	if pbx.From(scanner4) != before {
		t.Error("the scanner is heard")
	}
}
