package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
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
	kamailio             *labtest.Kamailio
}

const (
	home4, mobile4 = "192.0.2.2", "192.0.2.6" // as seen from outside
	homeInside     = "10.1.0.2"               // the phones' own
	mobileInside   = "10.2.0.2"
	roamingPolicy  = "version: 1\nproviders: [{name: acme, addresses: [" + edge1 + ", \"" + edge6 + "\"]}]\n" +
		"unknown: {action: register}\n"
)

func newRoads(t *testing.T) *roads {
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
	r.home = router(0, "home", "10.1.0.1", homeInside)
	r.mobile = router(1, "mobile", "10.2.0.1", mobileInside)
	r.move(t, "10.1.0.1")
	r.kamailio = labtest.StartKamailio(t, r.pbx, "udp:"+pbx4+":5060", "tcp:"+pbx4+":5060", "udp:["+pbx6+"]:5060", "tcp:["+pbx6+"]:5060")
	return r
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
	scenario  string
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
	if s.scenario == "" {
		s.scenario = "roaming.xml"
	}
	scenario, err := filepath.Abs(filepath.Join("testdata", s.scenario))
	labtest.Must(t, err)
	// What is lost fails the call at once: nothing is sent a second time.
	args := []string{"-sf", scenario, "-inf", file, "-m", fmt.Sprint(s.phones), "-r", fmt.Sprint(s.rate), "-l", fmt.Sprint(s.phones),
		"-t", s.transport, "-nostdin", "-nr", "-max_socket", "5000", "-recv_timeout", "20000", "-timeout", "100"}
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

// TestCallAfterRegistration: the PBX accepts a phone, and the phone calls the moment it
// knows.
func TestCallAfterRegistration(t *testing.T) {
	r := newRoads(t)
	labtest.Rules(t, r.pbx, rawRoaming)
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
			if got := c.run(t); got != n {
				t.Errorf("of %d phones %d got through", n, got)
			}
		})
	}
}

// rawRoaming lets in whom the PBX has accepted.
const rawRoaming = `table inet ringfence {
counter allowed_registered { }
counter allowed_unknown { }
counter dropped_method { }
counter dropped_rate { }
set asking4  { type ipv4_addr . inet_service; size 65535; flags dynamic,timeout; }
set phones4  { type ipv4_addr . inet_service; size 65535; flags dynamic,timeout; }
set failing4 { type ipv4_addr; size 65535; flags dynamic,timeout; }
set banned4 { type ipv4_addr; size 65535; flags dynamic,timeout; }
set rate4    { type ipv4_addr; size 65535; flags dynamic,timeout; }
set asking6  { type ipv6_addr . inet_service; size 65535; flags dynamic,timeout; }
set phones6  { type ipv6_addr . inet_service; size 65535; flags dynamic,timeout; }
chain register { @th,64,72 0x524547495354455220 update @asking4 { ip saddr . udp sport timeout 32s } 
 @th,64,72 0x524547495354455220 update @asking6 { ip6 saddr . udp sport timeout 32s }
 }
chain registertcp { @ih,0,72 0x524547495354455220 update @asking4 { ip saddr . tcp sport timeout 32s } 
 @ih,0,72 0x524547495354455220 update @asking6 { ip6 saddr . tcp sport timeout 32s }
 }
chain sip {
	ip saddr . udp sport @phones4 jump register
	ip6 saddr . udp sport @phones6 jump register
	ip saddr . udp sport @phones4 counter name allowed_registered accept
	ip6 saddr . udp sport @phones6 counter name allowed_registered accept
	jump register
	@th,64,72 0x524547495354455220 counter name allowed_unknown accept
	counter name dropped_method drop
}
chain siptcp {
	ip saddr . tcp sport @phones4 jump registertcp
	ip6 saddr . tcp sport @phones6 jump registertcp
	ip saddr . tcp sport @phones4 counter name allowed_registered accept
	ip6 saddr . tcp sport @phones6 counter name allowed_registered accept
	jump registertcp
	@ih,0,72 0x524547495354455220 counter name allowed_unknown accept
	tcp flags & (syn|fin|rst) != 0 accept
	@ih,0,8 0-255 counter name dropped_method drop
}
chain prerouting { type filter hook prerouting priority raw - 10; iifname "lo" accept; udp dport 5060 goto sip
 tcp dport 5060 goto siptcp
 }
chain answers {
	type filter hook postrouting priority 310
	udp sport 5060 @th,64,64 0x5349502f322e3020 goto answered
	tcp sport 5060 @ih,0,64 0x5349502f322e3020 goto answeredtcp
}
chain answered {
	@th,128,32 0x32303020 ip daddr . udp dport @asking4 update @phones4 { ip daddr . udp dport timeout 1h }
	@th,128,32 0x32303020 ip6 daddr . udp dport @asking6 update @phones6 { ip6 daddr . udp dport timeout 1h }
	@th,128,32 0x32303020 delete @failing4 { ip daddr }
	@th,128,32 { 0x34303120, 0x34303320, 0x34303420, 0x34303720 } ip daddr . udp dport != @phones4 update @failing4 { ip daddr timeout 2m limit rate over 10/minute burst 5 packets } update @banned4 { ip daddr timeout 1h }
}
chain answeredtcp {
	@ih,64,32 0x32303020 ip daddr . tcp dport @asking4 update @phones4 { ip daddr . tcp dport timeout 1h }
	@ih,64,32 0x32303020 ip6 daddr . tcp dport @asking6 update @phones6 { ip6 daddr . tcp dport timeout 1h }
}
}
`
