package cli_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestPhonesComeBack: what another program's flush, a restart of ringfence, or a reboot
// forgets comes back for the rest of its life, and so do bans.
func TestPhonesComeBack(t *testing.T) {
	t.Parallel()
	eachBackend(t, testPhonesComeBack)
}

var timeText = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)

// sameTimes compares texts of which the times may differ by two seconds.
func sameTimes(a, b string) bool {
	as, bs := timeText.FindAllString(a, -1), timeText.FindAllString(b, -1)
	return timeText.ReplaceAllString(a, "") == timeText.ReplaceAllString(b, "") && slices.EqualFunc(as, bs, func(a, b string) bool {
		was, err := time.Parse(time.DateTime, a)
		is, bad := time.Parse(time.DateTime, b)
		return err == nil && bad == nil && was.Sub(is).Abs() <= 2*time.Second
	})
}

func testPhonesComeBack(t *testing.T) {
	t.Helper()
	t.Parallel()
	r := newRoads(t, toRegister)
	const banned = "198.51.100.66"
	p := r.phone(t, "udp", homeInside+":5070", "mover")
	isAccepted(t, p)
	r.must(t, 0, "ban", banned)
	isThere := func(when string) {
		t.Helper()
		getsThrough(t, p, true)
		if bans := r.must(t, 0, "bans").stdout; !strings.Contains(bans, banned) {
			t.Errorf("%s the ban is gone:\n%s", when, bans)
		}
	}
	s := serve(t, r.site)
	before := r.must(t, 0, "phones").stdout
	for range labtest.Count(2, 50) {
		r.flush(t)
		until(t, "the phone is in again", func() bool { return strings.Contains(r.must(t, 0, "phones").stdout, home4) })
		isThere("after a flush")
	}
	s.end(t)
	// A host that boots has no table, and is given the saved one.
	r.flush(t)
	r.must(t, 0, "up")
	isThere("after a boot")
	r.must(t, 0, "down")
	r.must(t, 0, "up")
	isThere("after down and up")
	r.write(t, roamingPolicy+toRegister+"bans: {size: 1000}\n")
	r.must(t, 0, "apply")
	r.must(t, 0, "refresh")
	isThere("after apply and refresh")
	// What is left of a time comes back in whole seconds over iptables.
	if after := r.must(t, 0, "phones").stdout; !sameTimes(after, before) {
		t.Errorf("phones before:\n%s\nand after:\n%s", before, after)
	}
	// Somebody there has logged in today: who fails is slowed down, and not banned.
	stale := r.phone(t, "udp", homeInside+":5071", "100")
	stale.Password = "old"
	for range 8 {
		_, err := stale.Register(300, unheard)
		labtest.Must(t, err)
	}
	if bans := r.must(t, 0, "bans").stdout; strings.Contains(bans, home4) {
		t.Errorf("a phone with a wrong password is banned at an address where another one has logged in:\n%s", bans)
	}
	if alarms := r.must(t, 0, "status").stdout; !strings.Contains(alarms, "fails to log in") {
		t.Errorf("status does not speak of the wrong password:\n%s", alarms)
	}
}

// TestPhonesAreExplained: phones, why, status and bans say who is let in for having
// registered, and who is out for having guessed.
func TestPhonesAreExplained(t *testing.T) {
	t.Parallel()
	eachBackend(t, testPhonesAreExplained)
}

func testPhonesAreExplained(t *testing.T) {
	t.Helper()
	t.Parallel()
	r := newRoads(t, toRegister)
	p := r.phone(t, "udp", homeInside+":5070", "100")
	isAccepted(t, p)
	h, source, _ := r.stranger(t, 9)
	guesser, err := labtest.NewPhone(t.Context(), h, "udp", source+":5071", pbx4+":5060", "100")
	labtest.Must(t, err)
	defer guesser.Close()
	guesser.Password = "guess"
	until(t, "the guesser is out", func() bool {
		_, err := guesser.Register(300, unheard)
		labtest.Must(t, err)
		return strings.Contains(r.must(t, 0, "dropped").stdout, source)
	})
	for _, c := range []struct{ command, says string }{
		{"phones", `(?m)^ADDRESS +PORT +SINCE +UNTIL +USER-AGENT\n192\.0\.2\.2 +5070 +\S+ \S+ +\S+ \S+ *$`},
		{"phones -o json", `"address": "192.0.2.2",\n +"port": 5070,\n +"since": "[^"]+",\n +"until": "[^"]+",\n +"user_agent": ""`},
		{"status", `(?m)^phones +1 let in because they have registered; ringfence phones lists them$`},
		{"status -o json", `"phones": 1,`},
		{"why " + home4, `^allowed: the SIP server has accepted its registration from port 5070; it gets in until \d.*, if it does not register again; from other ports only a REGISTER passes\n$`},
		{"why " + home4 + " -o json", `"verdict": "allowed",\n[^}]*"by": "registration",\n +"reason": "registered",`},
		{"why 192.0.2.77", `^dropped: method, the SIP server has not accepted a registration of it, and until then only a REGISTER passes\n$`},
		{"why " + source, `^dropped: banned by a rule, because it sent what a scanner sends, or failed to log in too often, \d+m\d+s left; `},
		{"bans", `(?m)^` + source + ` +\S+ left +it sent what a scanner sends, or failed to log in too often$`},
		{"dropped", `(?m)^` + source + ` .* banned`},
	} {
		if out := r.must(t, 0, strings.Fields(c.command)...).stdout; !regexp.MustCompile(c.says).MatchString(out) {
			t.Errorf("ringfence %s says\n%swant\n%s", c.command, out, c.says)
		}
	}
}

// flush removes the fence of the test's back end with all that it has learned, as another
// program might, or a reboot does.
func (s *site) flush(t *testing.T) {
	t.Helper()
	flavour := backendOf(t)
	if flavour == "nftables" || flavour == "" {
		labtest.Run(t, s.host, "nft", "flush", "ruleset")
		return
	}
	// Sets that rules name cannot be destroyed, and the service may be faster: then it has
	// found them again with all that they hold.
	labtest.Run(t, s.host, "sh", "-c", strings.ReplaceAll(`for try in 1 2 3; do
		for table in raw mangle filter; do for program in FLAVOUR; do $program -t $table -F; $program -t $table -X; done; done
		ipset destroy && exit; done 2>/dev/null; true`,
		"FLAVOUR", flavour+" "+strings.Replace(flavour, "ip", "ip6", 1)))
}

// TestBansComeBack: a ban by hand lasts over the end of the table and a boot.
func TestBansComeBack(t *testing.T) {
	t.Parallel()
	eachBackend(t, testBansComeBack)
}

func testBansComeBack(t *testing.T) {
	t.Helper()
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), roamingPolicy)
	s.must(t, 0, "apply")
	s.must(t, 0, "ban", "198.51.100.66")
	s.must(t, 0, "ban", "2001:db8::66", "--for", "36h")
	s.must(t, 0, "ban", "198.51.100.67")
	s.must(t, 0, "unban", "198.51.100.67")
	s.must(t, 0, "down")
	s.must(t, 0, "up")
	want := regexp.MustCompile(`^198\.51\.100\.66 +(1h|59m\d+s) left +by \S+\n2001:db8::66 +(36h|35h59m\d+s) left +by \S+\n$`)
	if bans := s.must(t, 0, "bans").stdout; !want.MatchString(bans) {
		t.Errorf("after down and up the bans are\n%swant\n%s", bans, want)
	}
	if r := s.plan(t, 0, "diff"); r.Changed {
		t.Errorf("the bans are a difference: %v", r.Changes)
	}
}
