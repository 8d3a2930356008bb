package cli_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	reports "github.com/ringfence/ringfence/pkg/report"
)

// roads is an internet with a PBX that asks for passwords, and phones that are now behind
// one router and now behind another, as on the road.
//
//	             +-- home 192.0.2.2 --- 10.1.0.0/16 ---+
//	internet ----+                                     phones
//	  |          +-- mobile 192.0.2.6 - 10.2.0.0/16 ---+
//	 pbx
type roads struct {
	*world
	home, mobile, phones *lab.Namespace
	server               labtest.PBX
	kamailio             *labtest.Kamailio // that, if it is one
	*site
}

// pbxs are the real PBXs that phones register with, by how a host starts them.
var pbxs = map[string]func(t *testing.T, h *lab.Namespace, listen ...string) labtest.PBX{
	"Kamailio": func(t *testing.T, h *lab.Namespace, listen ...string) labtest.PBX {
		return labtest.StartKamailio(t, h, listen...)
	},
	"Asterisk": asterisk(false),
	// Long and short names of headers stand at other places.
	"Asterisk with short headers": asterisk(true),
}

func asterisk(compact bool) func(t *testing.T, h *lab.Namespace, listen ...string) labtest.PBX {
	return func(t *testing.T, h *lab.Namespace, listen ...string) labtest.PBX {
		users := []string{"mover", "caller", "callee", "100", "honest"}
		for i := range 1000 {
			users = append(users, fmt.Sprintf("p%d", i))
		}
		return labtest.StartAsterisk(t, h, labtest.AsteriskOptions{Users: users, Compact: compact, Listen: listen})
	}
}

// eachPBX runs a test with every PBX.
func eachPBX(t *testing.T, test func(t *testing.T, pbx string)) {
	t.Helper()
	t.Parallel()
	for _, pbx := range slices.Sorted(maps.Keys(pbxs)) {
		t.Run(pbx, func(t *testing.T) {
			t.Parallel()
			test(t, pbx)
		})
	}
}

const (
	home4, mobile4 = "192.0.2.2", "192.0.2.6" // as seen from outside
	homeInside     = "10.1.0.2"               // the phones' own
	mobileInside   = "10.2.0.2"
	homeRouter     = "10.1.0.1"
	mobileRouter   = "10.2.0.1"
	roamingPolicy  = "version: 1\nproviders: [{name: acme, addresses: [" + edge1 + ", \"" + edge6 + "\"]}]\n"
	// toRegister is the rest of a policy by which phones have to register.
	toRegister = "unknown: {action: register}\n"
	// crowded is one for many phones behind one address.
	crowded = "unknown: {action: register, rate: 100000/min}\nguessing: {failures: 0}\n"
)

// newRoads makes the internet, and puts a fence round Kamailio.
func newRoads(t *testing.T, policy string) *roads {
	t.Helper()
	return newRoadsTo(t, "Kamailio", policy)
}

// newRoadsTo does that with any PBX.
func newRoadsTo(t *testing.T, pbx, policy string) *roads {
	t.Helper()
	r := &roads{world: newWorld(t), phones: labtest.Host(t, "phones")}
	router := func(n int, name, inside, phone string) *lab.Namespace {
		h, _, _ := r.stranger(t, n)
		labtest.Must(t, h.Forward())
		labtest.Must(t, h.Translate("eth0"))
		labtest.Link(t, lab.End{Host: h, Interface: "lan", Addresses: []string{inside + "/16"}},
			lab.End{Host: r.phones, Interface: name, Addresses: []string{phone + "/16"}})
		return h
	}
	r.home = router(0, "home", homeRouter, homeInside)
	r.mobile = router(1, "mobile", mobileRouter, mobileInside)
	r.move(t, homeRouter)
	r.server = pbxs[pbx](t, r.pbx, "udp:"+pbx4+":5060", "tcp:"+pbx4+":5060", "udp:["+pbx6+"]:5060", "tcp:["+pbx6+"]:5060")
	r.kamailio, _ = r.server.(*labtest.Kamailio)
	r.site = newSite(t, r.pbx, roamingPolicy+policy)
	r.must(t, 0, "apply")
	return r
}

func scenarioFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	labtest.Must(t, err)
	return path
}

// move sends what the phones send by another router from now on.
func (r *roads) move(t *testing.T, router string) {
	t.Helper()
	labtest.Run(t, r.phones, "ip", "route", "replace", "default", "via", router)
}

// sipp is a run of phones that each register and call at once.
type sipp struct {
	from      *lab.Namespace
	addresses []string // of the phones
	to        string
	transport string // un: UDP, a socket for each phone; ui: an address for each; tn: TCP
	phones    int
	rate      int // phones a second
	together  int // how many phones are under way at most; 0: all
	// patient phones send again what is not answered; those of an office only register.
	patient, office bool
}

// run runs the phones and returns how many of them registered and got their call through.
func (s sipp) run(t *testing.T) int {
	t.Helper()
	labtest.Need(t, "sipp")
	folder := t.TempDir()
	users := []byte("SEQUENTIAL\n")
	for i := range s.phones {
		users = fmt.Appendf(users, "p%d;[authentication username=p%d password=secret-p%d];%s\n", i, i, i, s.addresses[i%len(s.addresses)])
	}
	file := filepath.Join(folder, "users.csv")
	labtest.Must(t, os.WriteFile(file, users, 0o644))
	args := []string{"-sf", scenarioFile(t, "roaming.xml"), "-nr", "-recv_timeout", "20000"} // nothing is sent twice
	switch {
	case s.patient:
		args = []string{"-sf", scenarioFile(t, "roaming.xml")}
	case s.office:
		args = []string{"-sf", scenarioFile(t, "office.xml"), "-max_non_invite_retrans", "4"}
	}
	args = append(args, "-inf", file, "-m", fmt.Sprint(s.phones), "-r", fmt.Sprint(s.rate), "-l", fmt.Sprint(cmp.Or(s.together, s.phones)),
		"-t", s.transport, "-nostdin", "-max_socket", "5000", "-timeout", "300")
	if s.transport == "ui" {
		args = append(args, "-ip_field", "2")
	}
	cmd := exec.CommandContext(t.Context(), "sipp", append(args, "-i", s.addresses[0], s.to)...)
	cmd.Dir = folder
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	labtest.Must(t, s.from.Start(cmd))
	cmd.Wait() // it is 1 where a call failed
	i := strings.LastIndex(out.String(), "Successful call")
	if i < 0 {
		t.Fatalf("sipp has counted no call:\n%s", out.String())
	}
	var here, all int
	if _, err := fmt.Sscanf(out.String()[i:], "Successful call        | %d | %d", &here, &all); err != nil {
		t.Fatalf("read the calls that sipp has counted: %v", err)
	}
	return all
}

// phone opens a phone behind the router of the moment, from its own address.
func (r *roads) phone(t *testing.T, transport, from, user string) *labtest.Phone {
	t.Helper()
	p, err := labtest.NewPhone(t.Context(), r.phones, transport, from, pbx4+":5060", user)
	labtest.Must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// unheard is how long a test waits for an answer that must not come.
const unheard = 300 * time.Millisecond

// isAccepted registers a phone, which the PBX has to accept.
func isAccepted(t *testing.T, p *labtest.Phone) {
	t.Helper()
	until(t, "phone "+p.User+" is accepted", func() bool {
		status, err := p.Register(300, time.Minute)
		if err != nil || status != 200 && status != busy {
			t.Fatalf("phone %s registers: %d, %v", p.User, status, err)
		}
		return status == 200
	})
}

// busy is what a PBX answers that has just been started: try again (RFC 3261 section 21.5.4).
const busy = 503

// getsThrough checks whether a phone's call gets through.
func getsThrough(t *testing.T, p *labtest.Phone, want bool) {
	t.Helper()
	wait, status := unheard, 0
	if want {
		wait, status = time.Minute, 200
	}
	if got, err := p.Call(wait); err != nil || got != status {
		t.Errorf("a call of %s is answered with %d, %v, want %d (0 is no answer)", p.User, got, err, status)
	}
}

// TestCallAfterRegistration: the PBX accepts a phone, and the phone calls the moment it
// knows. Nothing is sent twice.
func TestCallAfterRegistration(t *testing.T) { eachPBX(t, testCallAfterRegistration) }

func testCallAfterRegistration(t *testing.T, pbx string) {
	t.Helper()
	r := newRoadsTo(t, pbx, crowded)
	n := labtest.Count(20, 1000)
	h6, _, a6 := r.stranger(t, 9)
	for _, c := range []struct {
		name string
		sipp
	}{
		{"UDP", sipp{from: r.phones, addresses: []string{homeInside}, to: pbx4 + ":5060", transport: "un"}},
		{"TCP", sipp{from: r.phones, addresses: []string{homeInside}, to: pbx4 + ":5060", transport: "tn"}},
		{"UDP, IPv6", sipp{from: h6, addresses: []string{a6}, to: "[" + pbx6 + "]:5060", transport: "un"}},
		{"TCP, IPv6", sipp{from: h6, addresses: []string{a6}, to: "[" + pbx6 + "]:5060", transport: "tn"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.phones, c.rate = n, 100
			if c.transport == "tn" && r.kamailio == nil {
				// Asterisk listens with a queue for five connections. While it is full, the kernel
				// answers nobody who connects, with or without a fence.
				c.together = 4
			}
			got := c.run(t)
			t.Logf("%d of %d phones register and get their call through", got, n)
			if got != n {
				t.Errorf("of %d phones %d got through", n, got)
			}
		})
	}
	r.friends(t)
}

// friends checks that the phones let in are those that the PBX knows. Asterisk forgets a
// phone when its connection ends, which nothing that leaves the host shows.
func (r *roads) friends(t *testing.T) {
	t.Helper()
	var phones []reports.Registered
	labtest.Must(t, json.Unmarshal([]byte(r.must(t, 0, "phones", "-o", "json").stdout), &phones))
	var places []string
	for _, p := range phones {
		places = append(places, netip.AddrPortFrom(netip.MustParseAddr(p.Address), *p.Port).String())
	}
	var contacts []string
	for _, p := range r.server.Contacts(t) {
		contacts = append(contacts, p.String())
	}
	if r.kamailio == nil {
		places = slices.DeleteFunc(places, func(p string) bool { return !slices.Contains(contacts, p) })
	}
	if diff := gocmp.Diff(contacts, places, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-contacts of the PBX, +phones that are let in:\n%s", diff)
	}
}

// TestPhonesAtOnce: a morning after a power cut.
func TestPhonesAtOnce(t *testing.T) { eachPBX(t, testPhonesAtOnce) }

func testPhonesAtOnce(t *testing.T, pbx string) {
	t.Helper()
	r := newRoadsTo(t, pbx, toRegister)
	n := labtest.Count(50, 1000)
	far := labtest.Host(t, "far")
	addresses := make([]string, 0, n)
	for i := range n {
		addresses = append(addresses, fmt.Sprintf("100.64.%d.%d", i/200, 10+i%200))
	}
	r.attach(t, far, "far", "100.64.255.1/16", "2001:db8:64::1/64", addresses[0]+"/16", "2001:db8:64::2/64")
	for _, a := range addresses[1:] {
		labtest.Must(t, far.AddAddress("eth0", a+"/16"))
	}
	s := sipp{from: far, addresses: addresses, to: pbx4 + ":5060", transport: "ui", phones: n, rate: n, patient: true}
	got := s.run(t)
	t.Logf("%d of %d phones register and get their call through", got, n)
	if got != n {
		t.Errorf("of %d phones at once %d got through", n, got)
	}
	// A packet that the PBX has no room for may be lost, but not by the fence.
	for _, name := range []string{"dropped_method", "dropped_rate", "dropped_banned", "dropped_unknown"} {
		if packets := r.counter(t, name); packets != 0 {
			t.Errorf("%d packets are %s", packets, name)
		}
	}
	r.friends(t)
}

// TestOffice: many phones behind one address register at once. The rate lets in some of
// them at once and the others later, and their address is not taken for a guesser's.
func TestOffice(t *testing.T) {
	t.Parallel()
	r := newRoads(t, toRegister)
	n := labtest.Count(40, 100)
	got := sipp{from: r.phones, addresses: []string{homeInside}, to: pbx4 + ":5060", transport: "un", phones: n, rate: n, office: true}.run(t)
	t.Logf("%d of %d phones register at once", got, n)
	if got < 5 {
		t.Errorf("of %d phones behind one address %d register at once, want some", n, got)
	}
	if bans := r.must(t, 0, "bans").stdout; bans != "No address is banned.\n" {
		t.Errorf("phones of an office are taken for guessers:\n%s", bans)
	}
}

// TestPBXRestart: a PBX that starts again has forgotten its phones. The phones are in
// still, and register when their time comes without anything that looks like guessing.
func TestPBXRestart(t *testing.T) { eachPBX(t, testPBXRestart) }

func testPBXRestart(t *testing.T, pbx string) {
	t.Helper()
	r := newRoadsTo(t, pbx, "unknown: {action: register, rate: 1000/min}\n")
	for n, transport := range []string{"udp", "tcp"} {
		phones := make([]*labtest.Phone, 0, 5)
		for i := range 5 {
			p := r.phone(t, transport, homeInside+":0", fmt.Sprintf("p%d", 5*n+i))
			isAccepted(t, p)
			phones = append(phones, p)
		}
		r.server.Stop()
		r.server.Start(t)
		for _, p := range phones {
			if transport == "tcp" {
				// The connection has ended with the PBX: this is another port.
				again := r.phone(t, transport, homeInside+":0", p.User)
				isAccepted(t, again)
				p = again
			}
			getsThrough(t, p, true)
			isAccepted(t, p)
			getsThrough(t, p, true)
		}
	}
	want := 5
	if r.kamailio == nil {
		want = 10 // Asterisk keeps its contacts on disk
	}
	if got := len(r.server.Contacts(t)); got != want {
		t.Errorf("the PBX knows %d phones after its restart, want %d", got, want)
	}
}

// TestPhoneMoves: a phone leaves its network for another one in the middle of a call. From
// there it is a stranger until it has registered.
func TestPhoneMoves(t *testing.T) { eachPBX(t, testPhoneMoves) }

func testPhoneMoves(t *testing.T, pbx string) {
	t.Helper()
	r := newRoadsTo(t, pbx, toRegister)
	p := r.phone(t, "udp", "0.0.0.0:5070", "mover")
	isAccepted(t, p)
	getsThrough(t, p, true)
	r.move(t, mobileRouter)
	away := r.phone(t, "udp", mobileInside+":5070", "mover")
	getsThrough(t, away, false)
	labtest.Must(t, away.Send(away.Request("BYE", "echo@pbx.example")))
	isAccepted(t, away)
	getsThrough(t, away, true)
	if n := r.server.Requests(mobile4, "BYE"); n != 0 {
		t.Errorf("%d BYE from the new address before it has registered", n)
	}
	r.move(t, homeRouter)
	getsThrough(t, p, true) // it is in there still
}
