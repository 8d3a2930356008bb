package fence_test

import (
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// The rules beside which the fence is measured: one that drops, behind all others, and
// the least that one would write by hand.
const (
	dropsAll = "table inet end {\n\tchain prerouting {\n\t\ttype filter hook prerouting priority 0;\n\t\tdrop\n\t}\n}\n"
	byHand   = `table inet hand {
	set allowed { type ipv4_addr; elements = { 192.0.2.100 } }
	chain prerouting {
		type filter hook prerouting priority raw - 10;
		meta l4proto { tcp, udp } th dport { 5060, 5061 } ip saddr != @allowed drop
	}
}
`
)

// costPlaces are what packets meet.
var costPlaces = map[string]func(b *testing.B, u underFlood){
	"none": func(*testing.B, underFlood) {},
	"hand": func(b *testing.B, u underFlood) { labtest.Rules(b, u.PBX, byHand) },
	// A rule that reads half of svmap's packet before it matches.
	"string": func(b *testing.B, u underFlood) {
		labtest.Run(b, u.PBX, "iptables-nft", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "5060",
			"-m", "string", "--algo", "bm", "--string", signaturetest.Shipped()[0].Value)
	},
	"plain": fenced("signatures: {engine: 'off'}"),
	"unkept": func(b *testing.B, u underFlood) {
		fenced("signatures: {engine: 'off'}")(b, u)
		withoutRules(b, u, func(rule string) bool { return strings.Contains(rule, "@dropped") || strings.Contains(rule, "@log_") })
	},
	// What a classifier would cost that reads nothing.
	"empty": func(b *testing.B, u underFlood) {
		fenced("signatures: {engine: 'off'}")(b, u)
		labtest.Run(b, u.PBX, "tc", "qdisc", "add", "dev", "eth0", "clsact")
		labtest.Run(b, u.PBX, "tc", "filter", "add", "dev", "eth0", "ingress", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	},
	"fence": fenced(""),
	"unmarked": func(b *testing.B, u underFlood) {
		fenced("")(b, u)
		withoutRules(b, u, func(rule string) bool {
			return strings.Contains(rule, "meta mark") && !strings.Contains(rule, "goto drop_signature")
		})
	},
	"accept":   fenced("unknown: {action: accept}"),
	"register": fenced("unknown: {action: register}"),
}

func fenced(more string) func(b *testing.B, u underFlood) {
	return func(b *testing.B, u underFlood) { u.apply(b, policy.BackendNFTables, labtest.FloodProvider[0], more) }
}

// withoutRules takes some rules out of a fence's table.
func withoutRules(b *testing.B, u underFlood, leave func(rule string) bool) {
	b.Helper()
	lines := strings.Split(labtest.Run(b, u.PBX, "nft", "list", "table", "inet", "ringfence"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "\t\t") && leave(line) })
	labtest.Rules(b, u.PBX, "delete table inet ringfence\n"+strings.Join(lines, "\n"))
}

// costPacket is a kind of packet.
type costPacket struct {
	from, to string
	payload  []byte
	out      bool // it leaves the PBX
	// read says that the classifier should read each: so there are not more of them than it
	// has a budget for.
	read bool
}

func costPackets() map[string]costPacket {
	pbx, provider, stranger := labtest.FloodPBX[0], labtest.FloodProvider[0], labtest.FloodStranger[0]
	sip := net.JoinHostPort(pbx, "5060")
	request := func(method string) []byte {
		return lab.Message(method, stranger, pbx, "Yealink SIP-T46U 108.86.0.20")
	}
	return map[string]costPacket{
		"scan":     {stranger + ":0", sip, []byte(signaturetest.Svmap), false, true},
		"invite":   {provider + ":0", sip, []byte(signaturetest.Invite), false, true},
		"other":    {provider + ":0", pbx + ":10000", make([]byte, 172), false, false},
		"flood":    {stranger + ":0", sip, []byte(signaturetest.Svmap), false, false},
		"call":     {stranger + ":0", sip, request("INVITE"), false, true},
		"register": {stranger + ":0", sip, request("REGISTER"), false, true},
		"answer":   {sip, stranger + ":5060", []byte("SIP/2.0 200 OK\r\n" + signaturetest.Invite[64:]), true, false},
		"media":    {pbx + ":10000", stranger + ":10000", make([]byte, 172), true, false},
	}
}

// costCell is a kind of packet at a place.
type costCell struct {
	name   string // place-packet
	packet costPacket
	source *labtest.Source
	times  []float64 // ns a packet
}

func newCostCell(b *testing.B, place, name string, packet costPacket) *costCell {
	f := labtest.NewFlood(b)
	u := underFloodOn(b, f)
	labtest.Rules(b, f.PBX, dropsAll)
	costPlaces[place](b, u)
	from := f.Outside
	if packet.out {
		from = f.PBX
		labtest.Rules(b, f.Outside, dropsAll)
		labtest.AddNeighbour(b, f.PBX, "eth0", f.Outside, "eth0", labtest.FloodStranger[0])
	}
	source, err := labtest.NewSource(from, packet.from, packet.to, packet.payload)
	labtest.Must(b, err)
	b.Cleanup(func() { source.Close() })
	labtest.Must(b, source.Burst(1))
	return &costCell{name: place + "-" + name, packet: packet, source: source}
}

// round sends a burst, behind one whose time is not measured: what ran before is not to be
// paid for.
func (c *costCell) round(b *testing.B) {
	burst := 256
	if c.packet.read {
		burst /= 2
	}
	labtest.Must(b, c.source.Burst(burst/2))
	start := time.Now()
	labtest.Must(b, c.source.Burst(burst))
	c.times = append(c.times, float64(time.Since(start).Nanoseconds())/float64(burst))
}

// costGroups is how many times a cost is worked out, each time from medians of so many of
// all rounds.
const costGroups = 11

// of returns the medians of groups of rounds.
func (c *costCell) of(group int) float64 {
	n := len(c.times)
	part := slices.Sorted(slices.Values(c.times[group*n/costGroups : (group+1)*n/costGroups]))
	return part[len(part)/2]
}

// BenchmarkCost measures what the fence costs a packet beside rules written by hand, and
// says which goals are met. All places take turns, so that a change of the machine's speed
// affects all of them alike; each kind of packet has hosts of its own at each place, over
// veth, with the sender on the same processor. A cost is what a packet takes longer than at
// a host whose only rule drops it.
func BenchmarkCost(b *testing.B) {
	packets := costPackets()
	cells := map[string]*costCell{}
	var order []*costCell
	for _, wanted := range []string{
		"scan: none hand string plain unkept empty fence unmarked accept register", "invite: none hand plain fence accept register",
		"other: none hand plain empty fence", "flood: none hand plain empty fence", "call: none fence register", "register: none fence register",
		"answer: none fence accept register", "media: none fence accept register",
	} {
		packet, places, _ := strings.Cut(wanted, ": ")
		for place := range strings.FieldsSeq(places) {
			c := newCostCell(b, place, packet, packets[packet])
			cells[c.name], order = c, append(order, c)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	labtest.Must(b, unix.SchedGetaffinity(0, &all))
	one.Set(runtime.NumCPU() - 1)
	labtest.Must(b, unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &all)
	const rest = 16 // rounds, in which the classifier's budget grows by more than it reads
	for n := 0; b.Loop(); n++ {
		for _, c := range order {
			if n%rest == 0 || !c.packet.read {
				c.round(b)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	if len(cells["none-scan"].times) < costGroups {
		return // b.Loop has only tried
	}
	costs := costs{cells}
	for _, c := range order {
		place, packet, _ := strings.Cut(c.name, "-")
		b.ReportMetric(costs.median(func(group int) float64 { return costs.over(place, packet, group) }), "+ns/"+c.name)
	}
	costs.write(b)
}
