package examples_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/cli"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, map[string]func() int{
		"ringfence": func() int { return cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr) },
	}))
}

var update = flag.Bool("update", false, "rewrite the golden listings")

// hosts are the machines that the examples are for.
var hosts = map[string]ruleset.Host{
	"pbx": {
		Engine:      "bpf",
		Interfaces:  []ruleset.Interface{{Name: "eth0", Addresses: prefixes("192.168.1.5/24", "fe80::5/64")}},
		Gateways:    addresses("192.168.1.1"),
		NameServers: addresses("192.168.1.1"),
	},
	"router": {
		Forwards: true,
		Interfaces: []ruleset.Interface{
			{Name: "lan0", Addresses: prefixes("192.168.1.1/24", "2001:db8:1::1/64")},
			{Name: "ppp0", Addresses: prefixes("198.51.100.77/32")},
		},
		Gateways: addresses("198.51.100.1"),
	},
	"docker": {
		Forwards: true,
		Interfaces: []ruleset.Interface{
			{Name: "docker0", Addresses: prefixes("172.17.0.1/16")},
			{Name: "eth0", Addresses: prefixes("192.168.1.5/24")},
		},
		Gateways: addresses("192.168.1.1"),
	},
	"unknown-phones": {Engine: "bpf", Interfaces: []ruleset.Interface{{Name: "eth0", Addresses: prefixes("198.51.100.5/24")}}},
	"cloud-pbx":      {Engine: "bpf", Classified: []string{"eth0"}, Interfaces: []ruleset.Interface{{Name: "eth0", Addresses: prefixes("198.51.100.5/24", "2001:db8:5::5/64")}}},
	"reference":      {Interfaces: []ruleset.Interface{{Name: "eth0", Addresses: prefixes("192.168.1.5/24")}}},
	"monitor":        {Interfaces: []ruleset.Interface{{Name: "eth0", Addresses: prefixes("192.168.1.5/24")}}},
}

// answers are what DNS says.
var answers = map[compile.Name][]compile.Address{
	{Host: "sip.provider.example", Registrar: true}: {
		{Addr: netip.MustParseAddr("203.0.113.20"), Via: "SRV _sip._udp -> edge.provider.example A"},
		{Addr: netip.MustParseAddr("203.0.113.21"), Via: "SRV _sip._udp -> edge.provider.example A"},
		{Addr: netip.MustParseAddr("2001:db8:113::20"), Via: "SRV _sip._udp -> edge.provider.example AAAA"},
	},
	{Host: "edge.provider.example", Registrar: true}:     {{Addr: netip.MustParseAddr("203.0.113.20"), Via: "A"}},
	{Host: "office.provider.example"}:                    {{Addr: netip.MustParseAddr("203.0.113.200"), Via: "A"}},
	{Host: "mycompany.pstn.twilio.com", Registrar: true}: {{Addr: netip.MustParseAddr("54.172.60.1"), Via: "A"}},
	{Host: "home-office.dyndns.example"}:                 {{Addr: netip.MustParseAddr("203.0.113.201"), Via: "A"}},
}

// TestExamples takes every example from its text into the kernel: it is
// accepted by every guard, lists as its golden, needs no second apply, and what
// nft saves of it loads again.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	labtest.Must(t, err)
	if len(files) != len(hosts) {
		t.Errorf("%d examples, but %d hosts to try them on", len(files), len(hosts))
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		t.Run(name, func(t *testing.T) {
			want := compiled(t, file, hosts[name])
			h := labtest.Host(t, name)
			sync := func() (p *plan.Plan) {
				t.Helper()
				labtest.In(t, h, func() (err error) {
					p, err = control.Controller{Kernel: &nft.Kernel{}}.Sync(t.Context(), want, func(*plan.Plan) error { return nil })
					return err
				})
				return p
			}
			if sync().Empty() {
				t.Fatal("the first apply did nothing")
			}
			listing := labtest.Run(t, h, "nft", "list", "table", "inet", "ringfence")
			compareGolden(t, filepath.Join("testdata", name+".nft"), older.Replace(listing))
			if p := sync(); !p.Empty() {
				t.Errorf("a second apply has something to do: %+v", p.Changes)
			}
			saved := labtest.Run(t, h, "nft", "list", "ruleset")
			labtest.Run(t, h, "nft", "flush", "ruleset")
			labtest.Rules(t, h, saved)
			loaded := labtest.Run(t, h, "nft", "list", "ruleset")
			if diff := cmp.Diff(older.Replace(saved), older.Replace(loaded)); diff != "" {
				t.Errorf("what nft saved is something else after loading: %s", diff)
			}
			p := sync()
			if saved != older.Replace(saved) {
				// ringfence takes the other form for a change, and puts its own back.
				p.Changes = slices.DeleteFunc(p.Changes, func(c plan.Change) bool { return slices.Equal(c.Rules, otherForm) })
			}
			if len(p.Changes) > 0 {
				t.Errorf("after loading what nft saved, apply has something to do: %+v", p.Changes)
			}
		})
	}
}

// older turns a listing of nft 1.1 into one of nft 1.0.6, as which the goldens are. nft 1.1
// writes the comparison with both ports as one of 15 bits, and loads that as one of two bytes.
var older = strings.NewReplacer(
	"@th,16,15 != 0x9e2 return", "@th,0,32 & 0xfffe != 0x13c4 return",
	"th dport & 65534 != 5060 return", "@th,0,32 & 0xfffe != 0x13c4 return",
	"tcp flags & (syn | ack) == syn", "tcp flags syn / syn,ack",
	"frag-off & 0x3fff != 0x0", "frag-off & 16383 != 0",
)

// otherForm is that change of a rule.
var otherForm = []string{"- th dport & 65534 != 5060 return", "+ @th,0,32 & 0xfffe != 0x13c4 return"}

func compiled(t *testing.T, file string, host ruleset.Host) control.Desired {
	t.Helper()
	text, err := os.Open(file)
	labtest.Must(t, err)
	defer text.Close()
	p, err := policy.Parse(file, text, policy.Available{
		SignatureLists: []string{"scanners"},
		Backends:       []policy.Backend{policy.BackendNFTables},
		Presets: policy.PresetMap{
			"telnyx": {Addresses: prefixes("192.76.120.10/32")},
			"twilio": {
				Registrars: []string{"{trunk}.pstn.twilio.com"}, Addresses: prefixes("54.172.60.0/30"),
				Parameters: []policy.Parameter{{Name: "trunk", Means: "the trunk's name", Example: "mycompany"}},
			},
		},
	})
	labtest.Must(t, err)
	for _, n := range compile.Names(p) {
		if len(answers[n]) == 0 {
			t.Errorf("no answer for %+v", n)
		}
	}
	state, origins := compile.State(p, answers, host)
	d := control.Desired{State: state, Will: origins, Guards: []plan.Guard{plan.EmptyProvider(nil, nil)}}
	if !p.Unknown.Admits() && !p.Monitor && host.Forwards {
		d.Guards = append(d.Guards, plan.CutInside(plan.Inside{Networks: plan.FindInside(host, p.Fences, p.Allowed()), Forwards: host.Forwards}, nil))
	}
	return d
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		labtest.Must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	labtest.Must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func addresses(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}
