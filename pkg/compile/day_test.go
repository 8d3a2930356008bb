package compile_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// machine does what the kernel does with the rules about peers, by a clock of its own.
type machine struct {
	state *ruleset.State
	now   time.Duration
	sets  map[string]map[netip.AddrPort]*member
}

// member is an element of a dynamic set.
type member struct {
	end    time.Duration
	tokens float64 // of its limit
	at     time.Duration
}

// datagram is a packet of UDP from a peer, or an answer to it.
type datagram struct {
	peer   netip.AddrPort
	answer bool
	text   string
	class  ruleset.Class
}

// passes takes a datagram through the rules.
func (m *machine) passes(t *testing.T, d datagram) bool {
	t.Helper()
	chain := "prerouting"
	if d.answer {
		chain = "answers"
	}
	return m.chain(t, chain, d) != ruleset.Drop
}

// chain returns the verdict of a chain, "" for none.
func (m *machine) chain(t *testing.T, name string, d datagram) ruleset.VerdictKind {
	t.Helper()
	for _, r := range m.state.Chains[name].Rules {
		for _, s := range r.Statements() {
			v, ok := s.(ruleset.Verdict)
			if !ok {
				if !m.matches(t, s, d) {
					break
				}
				continue
			}
			switch v.Kind {
			case ruleset.Return:
				return ""
			case ruleset.Goto:
				return m.chain(t, v.Chain, d)
			case ruleset.Jump:
				if end := m.chain(t, v.Chain, d); end != "" {
					return end
				}
			default:
				return v.Kind
			}
		}
	}
	return ""
}

// matches does what a statement does, and reports whether the rule goes on.
func (m *machine) matches(t *testing.T, statement ruleset.Statement, d datagram) bool {
	t.Helper()
	const header = 8
	switch s := statement.(type) {
	case ruleset.Passive, ruleset.Count, ruleset.SetMark, ruleset.SourcePort, ruleset.Destination, ruleset.InInterface, ruleset.Unicast, ruleset.HasTransport:
		return true
	case ruleset.FirstFragment, ruleset.ReversePathMissing, ruleset.Connection, ruleset.RepliedFrom, ruleset.TCPHeader, ruleset.Opening, ruleset.IPv6Packet, ruleset.OtherPort:
		return false
	case ruleset.Mark:
		return (s.Class == d.class) != s.Not
	case ruleset.Transport:
		return s.Protocol == ruleset.UDP
	case ruleset.Text:
		return strings.HasPrefix(d.text[min(s.Offset-header, len(d.text)):], s.Text)
	case ruleset.Reaches:
		return s.Offset < header+len(d.text)
	case ruleset.Source:
		return !s.V6 && m.has(s.Set, netip.AddrPortFrom(d.peer.Addr(), 0)) != s.Not
	case ruleset.PeerIn:
		return !s.V6 && m.has(s.Set, key(s.Peer, d)) != s.Not
	case ruleset.Forget:
		if s.V6 {
			return false
		}
		delete(m.sets[s.Set], key(s.Peer, d))
		return true
	case ruleset.Learn:
		return !s.V6 && m.learn(s, key(s.Peer, d))
	case ruleset.Ban:
		return !s.V6 && m.learn(ruleset.Learn{Set: s.Set, For: s.For}, netip.AddrPortFrom(d.peer.Addr(), 0))
	}
	t.Fatalf("the test does not know %T", statement)
	return false
}

func key(p ruleset.Peer, d datagram) netip.AddrPort {
	if p.Port {
		return d.peer
	}
	return netip.AddrPortFrom(d.peer.Addr(), 0)
}

func (m *machine) has(set string, k netip.AddrPort) bool {
	e := m.sets[set][k]
	return e != nil && e.end > m.now
}

// learn reports whether the peer is in the set now and, where there is a limit, beyond it.
func (m *machine) learn(s ruleset.Learn, k netip.AddrPort) bool {
	set := m.sets[s.Set]
	if set == nil {
		set = map[netip.AddrPort]*member{}
		m.sets[s.Set] = set
	}
	e := set[k]
	if e == nil || e.end <= m.now {
		if e == nil && len(set) >= int(m.state.Sets[s.Set].Size) {
			return false
		}
		e = &member{tokens: float64(s.Over.Burst), at: m.now}
		set[k] = e
	}
	e.end = m.now + s.For
	if s.Over == (ruleset.Limit{}) {
		return true
	}
	e.tokens = min(float64(s.Over.Burst), e.tokens+float64(m.now-e.at)/float64(s.Over.Per)*float64(s.Over.Rate))
	e.at = m.now
	if e.tokens >= 1 {
		e.tokens--
		return false
	}
	return true
}

// sweep takes out what has expired, as the kernel does from time to time, and returns how
// many elements the sets of a kind hold.
func (m *machine) sweep() map[string]int {
	sizes := map[string]int{}
	for name, set := range m.sets {
		for k, e := range set {
			if e.end <= m.now {
				delete(set, k)
			}
		}
		sizes[name] = len(set)
	}
	return sizes
}

// handset is a phone of the day, as the PBX knows it.
type handset struct {
	place   netip.AddrPort
	expires time.Duration // how long it registers for
	next    time.Duration // when it does something
	until   time.Duration // when the PBX forgets it
	in      time.Duration // when the fence does
}

// registers sends a REGISTER without a password and one with, and reports whether both
// have passed.
func (m *machine) registers(t *testing.T, h *handset, class ruleset.Class) bool {
	t.Helper()
	for _, status := range []string{"SIP/2.0 401 Unauthorized\r\n", "SIP/2.0 200 OK\r\n"} {
		if !m.passes(t, datagram{peer: h.place, text: "REGISTER sip:pbx.example SIP/2.0\r\n", class: class}) {
			return false
		}
		m.passes(t, datagram{peer: h.place, answer: true, text: status})
	}
	return true
}

// TestDay simulates 24 hours of 5,000 phones that register, end their registrations and go
// away, and of guessers: whom the PBX knows is let in, whom it has not accepted for
// roaming.life is not, and the sets hold no more than that. The short form has 500 phones.
func TestDay(t *testing.T) {
	p := parse(t, "providers: [{name: acme, addresses: [203.0.113.5]}]\nunknown: {action: register}\n")
	state, _ := compile.State(p, nil, ruleset.Host{Engine: "bpf"})
	m := &machine{state: state, sets: map[string]map[netip.AddrPort]*member{}}
	r := rand.New(rand.NewPCG(1, 1))
	phones := make([]*handset, labtest.Count(500, 5000))
	for i := range phones {
		phones[i] = &handset{
			expires: []time.Duration{10 * time.Minute, 30 * time.Minute, time.Hour}[r.IntN(3)],
			next:    time.Duration(r.Int64N(int64(time.Hour))),
		}
		phones[i].place = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i / 10 / 250), byte(i / 10 % 250)}), uint16(1024+i))
	}
	var guesses, arrived, registrations int
	most := map[string]int{}
	const step = 5 * time.Second
	for m.now = 0; m.now < 24*time.Hour; m.now += step {
		for _, h := range phones {
			if h.next > m.now {
				continue
			}
			registrations++
			lives(t, m, h, r)
		}
		for g := range 10 {
			guesser := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(g)}), 5060)
			guesses++
			if m.passes(t, datagram{peer: guesser, text: "REGISTER sip:pbx.example SIP/2.0\r\n", class: ruleset.Seen}) {
				arrived++
				m.passes(t, datagram{peer: guesser, answer: true, text: "SIP/2.0 401 Unauthorized\r\n"})
			}
			if m.passes(t, datagram{peer: guesser, text: "INVITE sip:1@pbx.example SIP/2.0\r\n", class: ruleset.Seen}) {
				t.Fatalf("the INVITE of a guesser arrives after %s", m.now)
			}
		}
		if m.now%(10*time.Minute) == 0 {
			compares(t, m, phones)
			for set, n := range m.sweep() {
				most[set] = max(most[set], n)
			}
		}
	}
	t.Logf("%d registrations; of %d guesses %d arrive; at most %v", registrations, guesses, arrived, most)
	for set, n := range map[string]int{"phones4": 2 * len(phones), "known4": len(phones)/10 + 1, "asking4": len(phones), "banned4": 10, "rate4": len(phones) + 10} {
		if most[set] > n || most[set] == 0 {
			t.Errorf("set %s holds %d, want 1 to %d", set, most[set], n)
		}
	}
	// A guess each 5 s is 12 a minute, 2 more than may fail: after some minutes each ban is
	// for an hour.
	if rounds := 25; arrived > 10*rounds*70 {
		t.Errorf("of %d guesses %d arrive", guesses, arrived)
	}
}

// lives does what a phone does next.
func lives(t *testing.T, m *machine, h *handset, r *rand.Rand) {
	t.Helper()
	class, n := ruleset.Seen, r.IntN(100)
	if n < 4 && h.until > m.now {
		class = ruleset.Unregister
	}
	if !m.registers(t, h, class) {
		t.Fatalf("a REGISTER of %s does not arrive after %s", h.place, m.now)
	}
	h.until, h.in = m.now+h.expires, m.now+time.Hour
	h.next = m.now + time.Duration((0.5+0.4*r.Float64())*float64(h.expires))
	invite := datagram{peer: h.place, text: "INVITE sip:1@pbx.example SIP/2.0\r\n", class: ruleset.Seen}
	switch {
	case class == ruleset.Unregister:
		h.until, h.in, h.next = 0, 0, m.now+time.Duration(r.Int64N(int64(2*time.Hour)))
		if m.passes(t, invite) {
			t.Fatalf("the INVITE of %s arrives after it has ended its registration", h.place)
		}
	case !m.passes(t, invite):
		t.Fatalf("the INVITE of %s does not arrive after its registration", h.place)
	case n < 8: // it goes away, and comes back from another port
		gone := *h
		h.next = m.now + time.Hour + time.Duration(r.Int64N(int64(time.Hour)))
		h.place = netip.AddrPortFrom(gone.place.Addr(), gone.place.Port()%60000+1024)
		h.until, h.in = 0, 0
	}
}

// compares compares whom the fence lets in with whom the PBX knows.
func compares(t *testing.T, m *machine, phones []*handset) {
	t.Helper()
	for _, h := range phones {
		in := m.has("phones4", h.place)
		if known := h.until > m.now; known && !in || in && h.in < m.now {
			t.Fatalf("after %s, %s is let in %t, and known to the PBX %t", m.now, h.place, in, known)
		}
	}
	if slices.ContainsFunc(phones, func(h *handset) bool { return m.has("banned4", netip.AddrPortFrom(h.place.Addr(), 0)) }) {
		t.Fatalf("a phone is banned after %s", m.now)
	}
}
