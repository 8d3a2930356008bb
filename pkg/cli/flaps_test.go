package cli_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// flapper changes the links of a host at random.
type flapper struct {
	host *lab.Namespace
	r    *rand.Rand
	lan  string // the name that the LAN's link has now
	on   map[string]bool
}

// toggle does one of two things in turn.
func (f *flapper) toggle(t *testing.T, do, undo string) string {
	t.Helper()
	f.on[do] = !f.on[do]
	if !f.on[do] {
		do = undo
	}
	labtest.Run(t, f.host, "sh", "-ec", do)
	return do
}

// flap makes one change at random, and returns what it was.
func (f *flapper) flap(t *testing.T) string {
	t.Helper()
	ip := func(words string) string {
		t.Helper()
		labtest.Run(t, f.host, "ip", strings.Fields(words)...)
		return words
	}
	switch f.r.IntN(10) {
	case 0:
		ip("link set eth0 down")
		ip("link set eth0 up")
		return ip("route replace default via 203.0.113.5 dev eth0")
	case 1:
		ip("link set " + f.lan + " down")
		name := map[string]string{"lan0": "lan1", "lan1": "lan0"}[f.lan]
		words := ip("link set " + f.lan + " name " + name)
		f.lan = name
		ip("link set " + name + " up")
		return words
	case 2:
		return ip(fmt.Sprintf("address replace 192.168.%d.1/24 dev %s", 10+f.r.IntN(3), f.lan))
	case 3:
		return ip("address flush dev " + f.lan)
	case 4:
		return f.toggle(t, "ip link add ppp0 type bridge", "ip link del ppp0")
	case 5:
		return f.toggle(t, "ip link add link eth0 name mv0 type macvlan; ip link set mv0 up", "ip link del mv0")
	case 6:
		return f.toggle(t, "ip route add default via 203.0.113.9 dev eth0 onlink table 100; ip rule add from 192.0.2.0/24 table 100", "ip rule del table 100; ip route flush table 100")
	case 7:
		return f.toggle(t, "nft 'table ip theirs { chain c { type nat hook prerouting priority -100; }; }'", "nft delete table ip theirs")
	case 8:
		labtest.TryInput(t, f.host, "", "tc", "qdisc", "del", "dev", "eth0", "clsact") // it may be gone already
		return "qdisc del dev eth0 clsact"
	}
	return ip(fmt.Sprintf("route replace default via 203.0.113.%d dev eth0", 5+f.r.IntN(3)))
}

// TestFlaps changes links, names, addresses, routes and rules for a long time while the
// service runs. After each burst the kernel is as it should be, in the end there is no alarm, and
// the service has not grown. What it costs is logged.
func TestFlaps(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	labtest.Link(t, lab.End{Host: pbx, Interface: "lan0", Addresses: []string{"192.168.10.1/24"}}, lab.End{Host: outside, Interface: "lan0"})
	labtest.Run(t, pbx, "ip", "route", "add", "default", "via", "203.0.113.5")
	s := newSite(t, pbx, linksPolicy+"trusted: {addresses: [192.168.0.0/16]}\nunknown: {action: accept}\n")
	s.must(t, 0, "apply")
	s.mustBeTold()
	r := serve(t, s)
	f := &flapper{host: pbx, r: rand.New(rand.NewPCG(4, 4+uint64(labtest.Part()))), lan: "lan0", on: map[string]bool{}}
	agrees := func() bool { return s.run(t, "diff", "--offline", "--full").status == 0 }
	const burst = 10
	bursts := labtest.Count(3, 100)
	var first int
	begin, used := time.Now(), cpu(t, r.cmd.Process.Pid)
	for i := range bursts {
		var did []string
		for range burst {
			did = append(did, f.flap(t))
		}
		r.until(t, "the kernel is as it should be behind "+strings.Join(did, "; "), agrees)
		if i == bursts/10 {
			first = resident(t, r.cmd.Process.Pid)
		}
	}
	took, used := time.Since(begin), cpu(t, r.cmd.Process.Pid)-used
	last := resident(t, r.cmd.Process.Pid)
	labtest.Report(t, "P16", "links, names, addresses, routes and rules that change, while run runs", bursts*burst,
		"each time as it should be; %.1f s of processor time in %.0f s; %d KiB in memory behind the first tenth, %d at the end",
		used.Seconds(), took.Seconds(), first, last)
	if v := s.status(t); len(v.Alarms) > 0 {
		t.Errorf("in the end there are alarms: %+v", v.Alarms)
	}
	if n := s.run(t, "diff", "--offline"); n.status != 0 {
		t.Errorf("in the end the kernel is not as it should be:\n%s", n.stdout)
	}
	if os.Getenv("RINGFENCE_LONG") != "" && last > first+first/4 {
		t.Errorf("the service has grown from %d to %d KiB", first, last)
	}
	r.end(t)
}

// cpu is how much processor time a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	labtest.Must(t, err)
	f := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	var user, system int
	_, err = fmt.Sscan(f[11]+" "+f[12], &user, &system)
	labtest.Must(t, err)
	const tick = 10 * time.Millisecond // USER_HZ
	return time.Duration(user+system) * tick
}
