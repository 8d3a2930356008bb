package cli_test

import (
	"fmt"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestStrangersMayOnlyRegister: what a stranger sends is dropped but for a REGISTER, until
// the PBX has accepted him. From then on he may send what he likes.
func TestStrangersMayOnlyRegister(t *testing.T) {
	t.Parallel()
	eachBackend(t, testStrangersMayOnlyRegister)
}

func testStrangersMayOnlyRegister(t *testing.T) {
	t.Helper()
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		for family, from := range map[string]string{"IPv4": cloudPhone, "IPv6": cloudPhone6} {
			for _, engine := range []string{"auto", "off"} {
				if backendOf(t) != "nftables" && labtest.Count(0, 1) == 0 && (network == "udp") != (engine == "auto") {
					continue // the short form has each network and each engine once over iptables
				}
				t.Run(network+" "+family+" engine "+engine, func(t *testing.T) {
					w := newCloud(t)
					s := newSite(t, w.pbx, registerPolicy+"signatures: {engine: "+engine+"}\n")
					s.must(t, 0, "apply")
					for _, method := range []string{"INVITE", "OPTIONS", "SUBSCRIBE", "register", " REGISTER", "REGISTERS"} {
						if w.arrives(t, w.caller(t, network, from, 0), method) {
							t.Errorf("the %q of a stranger has arrived", method)
						}
					}
					p := w.caller(t, network, from, 0)
					text, id := w.request("REGISTER")
					_, err := p.Write([]byte(text))
					labtest.Must(t, err)
					if p.status(t) != "401" || !w.registrar.has(id) {
						t.Fatal("the REGISTER of a stranger was not refused")
					}
					if network == "udp" && w.arrives(t, p, "INVITE") {
						t.Error("an INVITE has arrived of one whom the PBX has refused")
					}
					if !w.registers(t, p) {
						t.Fatal("the PBX has not accepted a phone")
					}
					w.reaches(t, p, "INVITE", "the INVITE of a phone has arrived")
					if w.arrives(t, w.caller(t, network, from, 0), "INVITE") {
						t.Error("the INVITE of a stranger behind a phone's address has arrived")
					}
					for _, counter := range []string{"allowed_registered", "allowed_unknown", "dropped_method"} {
						if s.counter(t, counter) == 0 {
							t.Errorf("%s has counted nothing", counter)
						}
					}
					for _, command := range []string{"refresh", "apply"} {
						s.must(t, 0, command)
						w.reaches(t, p, "OPTIONS", "a phone is let in after "+command)
					}
					s.must(t, 0, "diff")
				})
			}
		}
	}
}

// TestMatchAddress: with roaming.match address, who registers lets in all behind his
// address.
func TestMatchAddress(t *testing.T) {
	t.Parallel()
	eachBackend(t, testMatchAddress)
}

func testMatchAddress(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newCloud(t)
	s := newSite(t, w.pbx, registerPolicy+"roaming: {match: address}\n")
	s.must(t, 0, "apply")
	for _, from := range []string{cloudPhone, cloudPhone6} {
		if w.arrives(t, w.caller(t, "tcp", from, 0), "INVITE") {
			t.Error("the INVITE of a stranger has arrived")
		}
		if !w.registers(t, w.caller(t, "udp", from, 0)) || !w.arrives(t, w.caller(t, "tcp", from, 0), "INVITE") {
			t.Error("the INVITE from the address of a phone has not arrived")
		}
	}
	if w.arrives(t, w.caller(t, "udp", cloudOther, 0), "INVITE") {
		t.Error("the INVITE of a stranger has arrived")
	}
}

// TestMatchChanges: a policy that lets in all behind a phone's address lets in those of the
// phones that have registered before.
func TestMatchChanges(t *testing.T) {
	t.Parallel()
	eachBackend(t, testMatchChanges)
}

func testMatchChanges(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newCloud(t)
	s := newSite(t, w.pbx, registerPolicy)
	s.must(t, 0, "apply")
	for _, from := range []string{cloudPhone, cloudPhone6} {
		if !w.registers(t, w.caller(t, "udp", from, 0)) || !w.registers(t, w.caller(t, "tcp", from, 0)) {
			t.Fatal("the PBX has not accepted a phone")
		}
	}
	s.write(t, registerPolicy+"roaming: {match: address}\n")
	s.must(t, 0, "apply")
	for _, from := range []string{cloudPhone, cloudPhone6} {
		if !w.arrives(t, w.caller(t, "udp", from, 0), "INVITE") {
			t.Errorf("the INVITE from the address of a phone, %s, has not arrived:\n%s", from, s.ruleset(t))
		}
	}
	if w.arrives(t, w.caller(t, "udp", cloudOther, 0), "INVITE") {
		t.Error("the INVITE of a stranger has arrived")
	}
}

// TestFailuresAreKept: what counts failed logins goes on counting when the policy changes,
// when the service starts and ends, and over refresh and rollback.
func TestFailuresAreKept(t *testing.T) {
	t.Parallel()
	eachBackend(t, testFailuresAreKept)
}

func testFailuresAreKept(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newCloud(t)
	// Within an hour, so that no failure is forgotten while the test runs.
	const policy = registerPolicy + "guessing: {within: 1h}\n"
	s := newSite(t, w.pbx, policy)
	s.must(t, 0, "apply")
	guesser := w.caller(t, "udp", cloudPhone, 0)
	arrived := 0
	guess := func() { arrived += w.guesses(t, 2, func() caller { return guesser }) }
	for _, change := range []func(){
		func() { s.must(t, 0, "refresh") },
		func() { serve(t, s).end(t) },
		func() {
			s.write(t, policy+"bans: {duration: 2h, size: 1000}\nsignatures: {engine: 'off'}\n")
			s.must(t, 0, "apply")
		},
		func() { s.must(t, 0, "rollback") },
	} {
		guess()
		change()
	}
	for range 5 {
		guess()
	}
	if banned := s.banned(t); arrived != 10 || len(banned) != 1 || banned[0] != cloudPhone {
		t.Errorf("of 18 guesses %d have reached the PBX, want 10; banned are %q", arrived, banned)
	}
}

// guesses sends so many REGISTERs with a wrong password, each from the socket that next
// returns, and returns how many arrive.
func (w *cloud) guesses(t *testing.T, n int, next func() caller) int {
	t.Helper()
	var ids []string
	for range n {
		text, id := w.request("REGISTER", bad)
		w.came(t, next(), text, id)
		ids = append(ids, id)
	}
	w.mark(t)
	arrived := 0
	for _, id := range ids {
		if w.registrar.has(id) {
			arrived++
		}
	}
	return arrived
}

// TestGuessersAreBanned: who fails to log in too often is shut out, and a phone behind the same
// address is not.
func TestGuessersAreBanned(t *testing.T) {
	t.Parallel()
	eachBackend(t, testGuessersAreBanned)
}

func testGuessersAreBanned(t *testing.T) {
	t.Helper()
	for name, engine := range map[string]string{"with the classifier": "auto", "without": "off"} {
		t.Run(name, func(t *testing.T) {
			w := newCloud(t)
			s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: register, rate: 1000/min}\nguessing: {within: 1h}\nsignatures: {engine: "+engine+"}\n") // no failure is forgotten meanwhile
			s.must(t, 0, "apply")
			guesser := w.caller(t, "udp", cloudPhone, 0)
			if n := w.guesses(t, 40, func() caller { return guesser }); n != 10 {
				t.Errorf("of 40 guesses %d have reached the PBX, want 10", n)
			}
			if banned := s.banned(t); len(banned) != 1 || banned[0] != cloudPhone {
				t.Errorf("banned are %q", banned)
			}
			if w.arrives(t, w.caller(t, "udp", cloudPhone, 0), "REGISTER", good) {
				t.Error("a REGISTER of a banned source has arrived")
			}
			// Each guess from another port.
			ports := func() caller { return w.caller(t, "udp", cloudOther6, 0) }
			if n := w.guesses(t, 80, ports); n < 50 || n > 55 {
				t.Errorf("of 80 guesses from as many ports %d have reached the PBX, want 50", n)
			}
			if s.counter(t, "dropped_banned") < 50 {
				t.Errorf("dropped_banned is %d", s.counter(t, "dropped_banned"))
			}
		})
	}
}

// TestOfficeRegisters: many phones behind one address that register at the same moment are
// each refused once, and not banned.
func TestOfficeRegisters(t *testing.T) {
	t.Parallel()
	eachBackend(t, testOfficeRegisters)
}

func testOfficeRegisters(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newCloud(t)
	s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: register, rate: 100/min}\n")
	s.must(t, 0, "apply")
	var phones []caller
	for range 19 {
		p := w.caller(t, "udp", cloudPhone, 0)
		phones = append(phones, p)
		if !w.arrives(t, p, "REGISTER", "Authorization: none") {
			t.Fatal("a REGISTER has not arrived")
		}
	}
	for i, p := range phones {
		p.status(t)
		if !w.registers(t, p) || !w.arrives(t, p, "INVITE") {
			t.Errorf("phone %d of an office is not in", i)
		}
	}
	if banned := s.banned(t); len(banned) > 0 {
		t.Errorf("banned are %q", banned)
	}
}

// TestRate: a stranger may send so many REGISTERs, and open so many connections.
func TestRate(t *testing.T) {
	t.Parallel()
	eachBackend(t, testRate)
}

func testRate(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newCloud(t)
	s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: register, rate: 20/h}\nguessing: {failures: 0}\n")
	s.must(t, 0, "apply")
	p := w.caller(t, "udp", cloudPhone, 0)
	if n := w.guesses(t, 60, func() caller { return p }); n != 20 {
		t.Errorf("of 60 REGISTERs %d have arrived, want 20", n)
	}
	if n := s.counter(t, "dropped_rate"); n != 40 {
		t.Errorf("dropped_rate is %d, want 40", n)
	}
	if !w.registers(t, w.caller(t, "tcp", cloudOther, 0)) {
		t.Error("another stranger may not register")
	}
}

// TestMonitorRegister: in monitor mode everything passes, nobody is banned, and who
// registers is known.
func TestMonitorRegister(t *testing.T) {
	t.Parallel()
	eachBackend(t, testMonitorRegister)
}

func testMonitorRegister(t *testing.T) {
	t.Helper()
	t.Parallel()
	w := newCloud(t)
	s := newSite(t, w.pbx, registerPolicy+"mode: monitor\n")
	s.must(t, 0, "apply")
	p, guesser, mixed := w.caller(t, "udp", cloudPhone, 0), w.caller(t, "udp", cloudOther, 0), w.caller(t, "udp", cloudOther, 0)
	if !w.arrives(t, p, "INVITE") || s.counter(t, "dropped_method") != 1 {
		t.Error("a stranger's INVITE was not only counted")
	}
	phone := w.caller(t, "udp", cloudPhone6, 0)
	if !w.registers(t, phone) || !w.arrives(t, phone, "INVITE") || s.counter(t, "allowed_registered") == 0 {
		t.Error("a phone is not known")
	}
	if n := w.guesses(t, 40, func() caller { return guesser }); n != 40 || s.counter(t, "dropped_rate") == 0 {
		t.Errorf("of 40 guesses %d have arrived; dropped_rate is %d", n, s.counter(t, "dropped_rate"))
	}
	if banned := s.banned(t); len(banned) > 0 {
		t.Errorf("banned are %q", banned)
	}
	// What is answered to another request makes nobody known when the fence drops.
	w.arrives(t, mixed, "OPTIONS")
	w.arrives(t, mixed, "REGISTER", bad)
	w.arrives(t, mixed, "OPTIONS")
	s.write(t, registerPolicy)
	s.must(t, 0, "apply")
	if w.arrives(t, mixed, "INVITE") {
		t.Error("an INVITE has arrived of one who has only asked for options")
	}
	if !w.arrives(t, phone, "INVITE") {
		t.Error("a phone that has registered in monitor mode is not known")
	}
}

// TestGuessersAreBannedByAccept: guessing also counts where strangers may send anything,
// and what is not a login does not count.
func TestGuessersAreBannedByAccept(t *testing.T) {
	t.Parallel()
	eachBackend(t, testGuessersAreBannedByAccept)
}

func testGuessersAreBannedByAccept(t *testing.T) {
	t.Helper()
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			w := newCloud(t)
			s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: accept}\n")
			s.must(t, 0, "apply")
			phone := w.caller(t, network, cloudOther, 0)
			for range 20 {
				if !w.registers(t, phone) || !w.arrives(t, phone, "INVITE") {
					t.Fatal("a phone that registers again and again is not in")
				}
				phone.status(t)
			}
			guesser := w.caller(t, network, cloudPhone, 0)
			if n := w.guesses(t, 40, func() caller { return guesser }); n != 10 {
				t.Errorf("of 40 guesses %d have reached the PBX, want 10", n)
			}
			if banned := s.banned(t); len(banned) != 1 || banned[0] != cloudPhone {
				t.Errorf("banned are %q", banned)
			}
		})
	}
}

// TestRegisterBehindForward: the PBX is behind a router with the fence, which translates a
// port, and perhaps a port that is not fenced to one that is, or the other way round.
func TestRegisterBehindForward(t *testing.T) {
	t.Parallel()
	eachBackend(t, testRegisterBehindForward)
}

func testRegisterBehindForward(t *testing.T) {
	t.Helper()
	t.Parallel()
	for _, ports := range []struct{ outside, inside int }{{5060, 5060}, {15060, 5060}, {5060, 15060}} {
		outside, inside := ports.outside, ports.inside
		t.Run(fmt.Sprint(outside, " to ", inside), func(t *testing.T) {
			w := &cloud{pbx: labtest.Host(t, "pbx"), outside: labtest.Host(t, "outside")}
			router := labtest.Host(t, "router")
			labtest.Must(t, router.Forward())
			labtest.Link(t, lab.End{Host: router, Interface: "eth0", Addresses: []string{cloudPBX + "/24"}},
				lab.End{Host: w.outside, Interface: "eth0", Addresses: []string{cloudProvider + "/24", cloudPhone + "/24", cloudOther + "/24"}})
			labtest.Link(t, lab.End{Host: router, Interface: "lan0", Addresses: []string{"10.9.0.1/24"}},
				lab.End{Host: w.pbx, Interface: "eth0", Addresses: []string{"10.9.0.2/24"}})
			labtest.Run(t, w.pbx, "ip", "route", "add", "default", "via", "10.9.0.1")
			labtest.Rules(t, router, fmt.Sprintf(`table ip nat { chain in { type nat hook prerouting priority dstnat;
				iifname "eth0" meta l4proto { udp, tcp } th dport %d dnat to 10.9.0.2:%d; }; }`, outside, inside))
			w.registrar = startRegistrar(t, w.pbx, fmt.Sprint("10.9.0.2:", inside))
			to := fmt.Sprintf("%s:%d", cloudPBX, outside)
			w.markers = w.peerTo(t, "udp", cloudProvider, 5060, to)
			s := newSite(t, router, registerPolicy+"interfaces: [eth0]\n")
			s.must(t, 0, "apply")
			for _, network := range []string{"udp", "tcp"} {
				if w.arrives(t, w.peerTo(t, network, cloudPhone, 0, to), "INVITE") {
					t.Errorf("%s: the INVITE of a stranger has arrived", network)
				}
				p := w.peerTo(t, network, cloudPhone, 0, to)
				if !w.registers(t, p) || !w.arrives(t, p, "INVITE") {
					t.Errorf("%s: the INVITE of a phone has not arrived:\n%s", network, s.ruleset(t))
				}
			}
			guesser := w.peerTo(t, "udp", cloudOther, 0, to)
			if n := w.guesses(t, 40, func() caller { return guesser }); n != 10 {
				t.Errorf("of 40 guesses %d have reached the PBX, want 10", n)
			}
		})
	}
}
