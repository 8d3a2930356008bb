package cli_test

import (
	"slices"
	"testing"
)

// TestGuesserReadsElsewhere: a guesser has the PBX answer to another port than he asks from.
// He is counted all the same, and nobody becomes a phone by that.
func TestGuesserReadsElsewhere(t *testing.T) {
	t.Parallel()
	eachBackend(t, testGuesserReadsElsewhere)
}

func testGuesserReadsElsewhere(t *testing.T) {
	t.Helper()
	t.Parallel()
	const elsewhere = 30999
	for _, action := range []string{"register, rate: 1000/min", "accept"} {
		t.Run(action, func(t *testing.T) {
			w := newCloud(t)
			s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: "+action+"}\nguessing: {within: 1h}\n")
			s.must(t, 0, "apply")
			reader := w.caller(t, "udp", cloudPhone, elsewhere)
			guesser := w.caller(t, "udp", cloudPhone, 0)
			w.registrar.answersTo(elsewhere)
			if action != "accept" {
				text, id := w.request("REGISTER", good)
				if !w.came(t, guesser, text, id) || reader.status(t) != "200" {
					t.Fatal("the PBX has not accepted a phone")
				}
				if w.arrives(t, guesser, "INVITE") || w.arrives(t, reader, "INVITE") {
					t.Error("a phone is in that has asked from one port and was answered at another")
				}
			}
			if n := w.guesses(t, 40, func() caller { return guesser }); n != 10 {
				t.Errorf("of 40 guesses %d have reached the PBX, want 10", n)
			}
			if banned := s.banned(t); !slices.Equal(banned, []string{cloudPhone}) {
				t.Errorf("banned are %q", banned)
			}
			w.registrar.answersTo(0)
			phone := w.caller(t, "udp", cloudOther, 0)
			if !w.registers(t, phone) || !w.arrives(t, phone, "INVITE") {
				t.Error("a phone is not in")
			}
		})
	}
}

// TestGuesserCalls: where strangers may send anything, a guesser sends other requests from the
// same port, whose answers could be refusals too. He is banned, after ten times as many as
// others; nobody is where somebody has logged in.
func TestGuesserCalls(t *testing.T) {
	t.Parallel()
	eachBackend(t, testGuesserCalls)
}

func testGuesserCalls(t *testing.T) {
	t.Helper()
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			w := newCloud(t)
			s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: accept}\nguessing: {failures: 2, within: 1h}\n")
			s.must(t, 0, "apply")
			phone := w.caller(t, network, cloudOther, 0)
			if !w.registers(t, phone) {
				t.Fatal("the PBX has not accepted a phone")
			}
			guesser := w.caller(t, network, cloudPhone, 0)
			// The fence forgets after some time that somebody calls.
			calls := func(p caller) func() caller {
				n := 0
				return func() caller {
					if n%20 == 0 {
						w.arrives(t, p, "OPTIONS")
					}
					n++
					return p
				}
			}
			if n := w.guesses(t, 120, calls(guesser)); n != 100 {
				t.Errorf("of 120 guesses %d have reached the PBX, want 100", n)
			}
			if n := w.guesses(t, 120, calls(phone)); n != 120 {
				t.Errorf("of 120 REGISTERs of a phone that calls %d have reached the PBX", n)
			}
			if banned := s.banned(t); !slices.Equal(banned, []string{cloudPhone}) {
				t.Errorf("banned are %q", banned)
			}
		})
	}
}

// TestStalePassword: a phone whose password is wrong since yesterday is slowed down and
// not banned; when it is corrected it is as it was.
func TestStalePassword(t *testing.T) {
	t.Parallel()
	eachBackend(t, testStalePassword)
}

func testStalePassword(t *testing.T) {
	t.Helper()
	t.Parallel()
	for _, action := range []string{"register", "accept"} {
		t.Run(action, func(t *testing.T) {
			w := newCloud(t)
			s := newSite(t, w.pbx, cloudPolicy+"unknown: {action: "+action+"}\n")
			s.must(t, 0, "apply")
			p := w.caller(t, "udp", cloudPhone, 0)
			if !w.registers(t, p) {
				t.Fatal("the PBX has not accepted a phone")
			}
			n := w.guesses(t, 40, func() caller { return p })
			if n < 10 || n > 14 {
				t.Errorf("of 40 REGISTERs with a stale password %d have reached the PBX, want about 12", n)
			}
			if banned := s.banned(t); len(banned) > 0 {
				t.Errorf("banned are %q", banned)
			}
			other := w.caller(t, "udp", cloudPhone, 0)
			if !w.registers(t, other) || !w.arrives(t, other, "INVITE") {
				t.Error("another phone behind the same address is not in")
			}
			if s.counter(t, "dropped_rate") == 0 {
				t.Error("dropped_rate has counted nothing")
			}
		})
	}
}

func (s *site) counter(t *testing.T, name string) uint64 {
	t.Helper()
	return s.recognised(t).Counters[name]
}
