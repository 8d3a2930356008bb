package doctor_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/doctor"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// healthy is a host on which there is nothing to find.
func healthy(t *testing.T) doctor.Facts {
	t.Helper()
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\ninterfaces: [eth0, eth1]\n"), policy.Available{SignatureLists: []string{"scanners"}})
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Facts{
		Now: noon, Made: noon.Add(-time.Hour), Generation: 3, Refreshed: noon.Add(-time.Minute), Attached: []string{"eth0"},
		Site: &site.Site{Policy: p, Host: ruleset.Host{Interfaces: []ruleset.Interface{{Name: "eth0"}, {Name: "eth1"}}}},
		Condition: host.Condition{
			Runners: []string{"/etc/cron.d/ringfence"},
			State:   host.Folder{Path: "/var/lib/ringfence", Exists: true, Free: 1 << 30, FreeFiles: 1 << 20},
		},
		Others: ruleset.Others{Chains: []ruleset.OtherChain{{
			Table: "inet filter", Name: "input", Hook: "input", Drops: true,
			Rules: []ruleset.OtherRule{{Ports: [][2]uint16{{5060, 5060}}, Accepts: true}, {Ports: [][2]uint16{{22, 22}}, Drops: true}, {Marks: 0xf}},
		}}},
	}
}

func chain(table, hook string, priority int, rules ...ruleset.OtherRule) ruleset.OtherChain {
	return ruleset.OtherChain{Table: table, Name: "theirs", Hook: hook, Priority: priority, Rules: rules}
}

// TestExamine: each finding is named where it is, and only there.
func TestExamine(t *testing.T) {
	sip := [][2]uint16{{5060, 5061}}
	add := func(c ruleset.OtherChain) func(*doctor.Facts) {
		return func(f *doctor.Facts) { f.Others.Chains = append(f.Others.Chains, c) }
	}
	for name, test := range map[string]struct {
		change func(f *doctor.Facts)
		want   string // "" for nothing
		says   string
	}{
		"healthy":       {func(*doctor.Facts) {}, "", ""},
		"no nf_tables":  {func(f *doctor.Facts) { f.Obstacle = errors.New("this kernel has no nftables (nf_tables)") }, "no-nftables", "modprobe nf_tables"},
		"no generation": {func(f *doctor.Facts) { f.Site = nil }, "no-generation", "ringfence apply"},
		"down":          {func(f *doctor.Facts) { f.Down = true }, "down", "ringfence up"},
		"no interface":  {func(f *doctor.Facts) { f.Site.Host.Interfaces = nil }, "no-interface", "eth0, eth1"},
		"no interface but lo": {func(f *doctor.Facts) {
			f.Site.Policy.Interfaces, f.Site.Host.Interfaces = nil, []ruleset.Interface{{Name: "lo"}}
		}, "no-interface", "there is no interface but lo"},
		"no iptables": {func(f *doctor.Facts) {
			f.Backend, f.Obstacle = "iptables-legacy", errors.New("there is no program ipset")
		}, "no-iptables", "install iptables"},
		"an alarm": {func(f *doctor.Facts) {
			f.Alarms = []site.Alarm{{Kind: "drift", Name: "table", Text: "1 difference", WayOut: "refresh"}}
		}, "drift", "table: 1 difference"},
		"the verifier":    {func(f *doctor.Facts) { f.NotAttached = []string{"load classifier: permission denied"} }, "classifier-refused", "verifier"},
		"no eBPF":         {func(f *doctor.Facts) { f.Site.Classifier.Obstacle = errors.New("no eBPF") }, "no-classifier", "CAP_BPF"},
		"drops before":    {add(chain("ip raw", "prerouting", -400, ruleset.OtherRule{Ports: sip, Drops: true})), "judged-before", "drops packets to SIP ports before"},
		"accepts before":  {add(chain("netdev edge", "ingress", 0, ruleset.OtherRule{Ports: sip, Accepts: true})), "judged-before", "accepts"},
		"untracks before": {add(chain("ip raw", "prerouting", -400, ruleset.OtherRule{Ports: sip, Untracked: true})), "judged-before", "connection tracking"},
		"other ports":     {add(chain("ip raw", "prerouting", -400, ruleset.OtherRule{Ports: [][2]uint16{{80, 80}}, Drops: true})), "", ""},
		"drops after":     {add(chain("ip filter", "input", 0, ruleset.OtherRule{Ports: sip, Drops: true})), "dropped-after", "nft list table ip filter"},
		"drops after, in iptables": {add(ruleset.OtherChain{
			Table: "ip filter", Program: "iptables-legacy -t filter", Name: "INPUT", Hook: "input", Rules: []ruleset.OtherRule{{Ports: sip, Drops: true}},
		}), "dropped-after", "iptables-legacy -t filter -S"},
		"drops by policy": {add(ruleset.OtherChain{Table: "ip filter", Name: "INPUT", Hook: "input", Drops: true}), "dropped-after", "no rule of it names a SIP port"},
		"outgoing only":   {add(chain("ip filter", "output", 0, ruleset.OtherRule{Ports: sip, Drops: true})), "", ""},
		"a flowtable":     {func(f *doctor.Facts) { f.Others.Flowtables = []string{"fast of table inet filter"} }, "flowtable", "fast of table inet filter"},
		"XDP":             {func(f *doctor.Facts) { f.Condition.XDP = []string{"eth1"} }, "xdp", "eth1"},
		"XDP below a VLAN": {func(f *doctor.Facts) {
			f.Site.Host.Interfaces[0].Parent, f.Condition.XDP = "card", []string{"card"}
		}, "xdp", "card"},
		"XDP on a port": {func(f *doctor.Facts) {
			f.Site.Host.Interfaces = append(f.Site.Host.Interfaces, ruleset.Interface{Name: "port", Master: "eth0"})
			f.Condition.XDP = []string{"port"}
		}, "xdp", "port"},
		"XDP elsewhere":  {func(f *doctor.Facts) { f.Condition.XDP = []string{"lan"} }, "", ""},
		"a SIP helper":   {func(f *doctor.Facts) { f.Others.SIPHelpers = []string{"sip5060 of table ip raw"} }, "sip-helper", "sip5060"},
		"the SIP module": {func(f *doctor.Facts) { f.Condition.SIPTracking = true }, "sip-helper", "modprobe -r"},
		"an automatic helper": {
			func(f *doctor.Facts) { f.Condition.SIPTracking, f.Condition.Automatic = true, true },
			"sip-helper", "nf_conntrack_helper=0",
		},
		"a shaper":             {func(f *doctor.Facts) { f.Condition.Shapers = map[string]string{"eth0": "htb"} }, "ingress", "Exclusivity flag on"},
		"a shaper's settings":  {func(f *doctor.Facts) { f.Condition.ShaperFiles = []string{"/etc/wondershaper"} }, "ingress", "/etc/wondershaper"},
		"a shaper elsewhere":   {func(f *doctor.Facts) { f.Condition.Shapers = map[string]string{"eth1": "htb"} }, "", ""},
		"a mark":               {add(chain("inet qos", "forward", 0, ruleset.OtherRule{Marks: 0x01000000})), "mark", "0x0f000000"},
		"a mark of ip rule":    {func(f *doctor.Facts) { f.Condition.RuleMarks = 0x0c000000 }, "mark", "ip rule"},
		"a mark, unclassified": {func(f *doctor.Facts) { f.Condition.RuleMarks, f.Attached = 0x0c000000, nil }, "", ""},
		"equal cost": {func(f *doctor.Facts) {
			f.Network.Links = []host.Link{{Index: 1, Name: "eth0"}, {Index: 2, Name: "eth1"}}
			f.Network.Routes = []host.Route{{To: netip.MustParsePrefix("fd00::/8"), Hops: []host.Hop{{Link: 1}, {Link: 2}}}}
		}, "equal-cost", "trusted.asymmetric"},
		"equal cost, and listed": {func(f *doctor.Facts) {
			f.Network.Links = []host.Link{{Index: 1, Name: "eth0"}, {Index: 2, Name: "eth1"}}
			f.Network.Routes = []host.Route{{To: netip.MustParsePrefix("fd77::/64"), Hops: []host.Hop{{Link: 1}, {Link: 2}}}}
			f.Site.Policy.Trusted.Asymmetric = []netip.Prefix{netip.MustParsePrefix("fd00::/8")}
		}, "", ""},
		"equal cost, and another is listed": {func(f *doctor.Facts) {
			f.Network.Links = []host.Link{{Index: 1, Name: "eth0"}, {Index: 2, Name: "eth1"}}
			f.Network.Routes = []host.Route{{To: netip.MustParsePrefix("fd77::/64"), Hops: []host.Hop{{Link: 1}, {Link: 2}}}}
			f.Site.Policy.Trusted.Asymmetric = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, "equal-cost", "fd77::/64"},
		"both iptables": {func(f *doctor.Facts) {
			f.Condition.Legacy, f.Others.Compatible = []string{"filter"}, []string{"ip filter"}
		}, "both-iptables", "update-alternatives"},
		"one iptables":      {func(f *doctor.Facts) { f.Condition.Legacy = []string{"filter"} }, "", ""},
		"saved rules":       {func(f *doctor.Facts) { f.Condition.SavedRules = []string{"/etc/iptables/rules.v4"} }, "saved-rules", "/etc/iptables/rules.v4"},
		"a name server":     {func(f *doctor.Facts) { f.Silent = map[string]string{"192.0.2.53:53": "no answer"} }, "name-server", "192.0.2.53:53"},
		"a reader of NFLOG": {func(f *doctor.Facts) { f.LogReader = &host.Program{Name: "ulogd", PID: 7} }, "log-taken", "ulogd (pid 7) receives NFLOG group 5060"},
		"a wrong clock":     {func(f *doctor.Facts) { f.Now = noon.Add(-48 * time.Hour); f.Refreshed = f.Now }, "clock-wrong", "generation 3"},
		"a free clock":      {func(f *doctor.Facts) { f.Condition.Unsynchronised = true }, "clock-unsynchronised", "chrony"},
		"nobody refreshes":  {func(f *doctor.Facts) { f.Condition.Runners = nil; f.Refreshed = noon.Add(-96 * time.Hour) }, "no-runner", "4 days ago"},
		"never refreshed":   {func(f *doctor.Facts) { f.Condition.Runners = nil; f.Refreshed = time.Time{} }, "no-runner", "never"},
		"a full disk":       {func(f *doctor.Facts) { f.Condition.State.Free = 4096 }, "state-folder", "4 KiB are free"},
		"no inodes":         {func(f *doctor.Facts) { f.Condition.State.FreeFiles = 0 }, "state-folder", "nearly full"},
		"a read-only disk":  {func(f *doctor.Facts) { f.Condition.State.ReadOnly = true }, "state-folder", "read-only"},
		"another owner":     {func(f *doctor.Facts) { f.Condition.State.Owner = 1000 }, "state-folder", "user 1000"},
		"writable for many": {func(f *doctor.Facts) { f.Condition.State.Writable = true }, "state-folder", "chmod"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy(t)
			test.change(&f)
			var names []string
			text := ""
			for _, found := range doctor.Examine(f) {
				names = append(names, found.Name)
				text += found.Finding + found.Why + found.WayOut
				if found.Finding == "" || found.Why == "" || found.WayOut == "" || found.Severity == "" {
					t.Errorf("not a whole finding: %+v", found)
				}
			}
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if diff := cmp.Diff(want, names); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(text, test.says) {
				t.Errorf("it does not say %q: %s", test.says, text)
			}
		})
	}
}
