package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
)

// generation is the kernel's, which every change of any rule raises.
func generation(t *testing.T, h *lab.Namespace) (g uint64) {
	t.Helper()
	labtest.In(t, h, func() error {
		s, err := new(nft.Kernel).Observe(t.Context())
		if err == nil {
			g = s.GenID
		}
		return err
	})
	return g
}

const otherTables = `table inet theirs {
	set friends {
		type ipv4_addr
		flags timeout
		elements = { 192.0.2.1 }
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr @friends counter accept
		udp dport 5060 limit rate 10/second accept
	}
}
`

// theirs is what other programs have in the kernel, with its handles but
// without the values of counters, which packets change.
func theirs(t *testing.T, h *lab.Namespace) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{"inet theirs", "ip filter", "ip6 filter"} {
		all.WriteString(labtest.Run(t, h, "nft", append([]string{"-a", "-s", "list", "table"}, strings.Fields(table)...)...))
	}
	return all.String()
}

// TestLifecycle goes through the life of a fence on a host with other people's
// rules: none of its steps touches them.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	h := w.pbx
	labtest.Rules(t, h, otherTables)
	for _, program := range []string{"iptables-nft", "ip6tables-nft"} {
		labtest.Run(t, h, program, "-A", "INPUT", "-p", "udp", "--dport", "5060", "-m", "string", "--string", "friendly-scanner", "--algo", "bm", "-j", "DROP")
		labtest.Run(t, h, program, "-N", "MINE")
		labtest.Run(t, h, program, "-A", "INPUT", "-j", "MINE")
	}
	before := theirs(t, h)
	untouched := func(after string) {
		t.Helper()
		if diff := cmp.Diff(before, theirs(t, h)); diff != "" {
			t.Errorf("%s touched other tables: %s", after, diff)
		}
	}
	s := newSite(t, h, pbxPolicy)

	// diff first: it says what apply will do, and does nothing.
	g := generation(t, h)
	planned := s.plan(t, 2, "diff")
	if now := generation(t, h); now != g {
		t.Errorf("diff changed the kernel's generation from %d to %d", g, now)
	}
	if _, err := os.Stat(s.state()); !os.IsNotExist(err) {
		t.Errorf("diff wrote state: %v", err)
	}
	done := s.plan(t, 0, "apply")
	if diff := cmp.Diff(planned.Changes, done.Changes); diff != "" {
		t.Errorf("apply did something else than diff said: %s", diff)
	}
	if !done.Changed || done.Generation != 1 {
		t.Errorf("the first apply: changed %t, generation %d", done.Changed, done.Generation)
	}
	untouched("apply")
	for value, reason := range map[string]string{
		edge1: "acme: sip.acme.example SRV _sip._udp -> edge.net.example A",
		edge2: "acme: sip.acme.example SRV _sip._tcp -> edge2.net.example A",
		edge6: "acme: sip.acme.example SRV _sip._udp -> edge.net.example AAAA",
	} {
		if !slices.ContainsFunc(done.Changes, func(c change) bool {
			return c.Action == "add" && c.Kind == "element" && c.Value == value && c.Reason == reason
		}) {
			t.Errorf("no change adds %s because of %q: %+v", value, reason, done.Changes)
		}
	}

	// The second time there is nothing to do, and no message goes to the kernel.
	g = generation(t, h)
	for _, command := range [][]string{{"apply"}, {"refresh"}, {"diff"}, {"diff", "--full"}, {"diff", "--offline"}, {"up"}} {
		if r := s.plan(t, 0, command...); r.Changed || len(r.Changes) != 0 || r.Generation != 1 {
			t.Errorf("%s with nothing to do: %+v", command, r)
		}
		if now := generation(t, h); now != g {
			t.Errorf("%s with nothing to do changed the kernel's generation from %d to %d", command, g, now)
		}
	}

	// Another program flushes everything. refresh puts the fence back without the
	// policy file, whose absence is an alarm, and up without name servers too.
	labtest.Must(t, os.Rename(s.policyFile(), s.policyFile()+".away"))
	fence := labtest.Run(t, h, "nft", "list", "table", "inet", "ringfence")
	labtest.Run(t, h, "nft", "delete", "table", "inet", "ringfence")
	if r := s.plan(t, 4, "refresh"); !r.Changed || r.Generation != 1 {
		t.Errorf("refresh after a flush: %+v", r)
	}
	if diff := cmp.Diff(fence, labtest.Run(t, h, "nft", "list", "table", "inet", "ringfence")); diff != "" {
		t.Errorf("refresh put something else back: %s", diff)
	}
	untouched("refresh")
	labtest.Run(t, h, "nft", "flush", "ruleset")
	labtest.Run(t, h, "ip", "link", "set", "eth0", "down") // no way to a name server
	if r := s.plan(t, 0, "up"); !r.Changed || r.Generation != 1 {
		t.Errorf("up after a flush: %+v", r)
	}
	if diff := cmp.Diff(fence, s.ruleset(t)); diff != "" {
		t.Errorf("up put something else back: %s", diff)
	}

	// No name server, and a table that is half gone: what is known stays.
	labtest.Run(t, h, "nft", "flush", "set", "inet", "ringfence", "providers4")
	r := s.must(t, 4, "refresh")
	if !strings.Contains(r.stderr, "sip.acme.example") {
		t.Errorf("refresh does not name what failed:\n%s", r.stderr)
	}
	if out := labtest.Run(t, h, "nft", "list", "set", "inet", "ringfence", "providers4"); !strings.Contains(out, edge1) {
		t.Errorf("without a name server the addresses are gone:\n%s", out)
	}

	// Down stays down until somebody says up.
	if r := s.plan(t, 0, "down"); !r.Changed {
		t.Errorf("down: %+v", r)
	}
	if rules := s.ruleset(t); rules != "" {
		t.Errorf("down left:\n%s", rules)
	}
	if o := s.must(t, 0, "refresh"); !strings.Contains(o.stdout, "taken down") {
		t.Errorf("refresh does not say that the fence is down: %s", o.stdout)
	}
	if rules := s.ruleset(t); rules != "" {
		t.Errorf("refresh put up what was taken down:\n%s", rules)
	}
	s.must(t, 0, "down")
	s.must(t, 0, "up")
	if !strings.Contains(s.ruleset(t), "table inet ringfence") {
		t.Error("up did not put the fence up")
	}
}

// TestForeignTablesThroughDown: taking down leaves other tables alone too.
func TestForeignTablesThroughDown(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Rules(t, h, otherTables)
	labtest.Run(t, h, "iptables-nft", "-A", "INPUT", "-j", "ACCEPT")
	labtest.Run(t, h, "ip6tables-nft", "-A", "INPUT", "-j", "ACCEPT")
	before := theirs(t, h)
	s := newSite(t, h, staticPolicy)
	s.must(t, 0, "apply")
	s.must(t, 0, "down")
	if diff := cmp.Diff(before, theirs(t, h)); diff != "" {
		t.Errorf("down touched other tables: %s", diff)
	}
}

// TestAddressesMove: a registrar that moves comes in at the next refresh, and
// its old address stays for the time of hold.
func TestAddressesMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	hold := newSite(t, w.pbx, pbxPolicy)
	hold.must(t, 0, "apply")
	kill(t, server)
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": strings.ReplaceAll(zoneNet, edge1, "203.0.113.7")})
	r := hold.plan(t, 0, "refresh")
	want := []change{{"add", "element", "providers4", "203.0.113.7", "acme: sip.acme.example SRV _sip._udp -> edge.net.example A"}}
	if diff := cmp.Diff(want, r.Changes); diff != "" {
		t.Error(diff)
	}
	// The same without hold: the old one goes, with its reason.
	hold.write(t, pbxPolicy+"  hold: 0s\n")
	r = hold.plan(t, 0, "apply")
	want = []change{{"delete", "element", "providers4", edge1, "was acme: sip.acme.example SRV _sip._udp -> edge.net.example A"}}
	if diff := cmp.Diff(want, r.Changes); diff != "" {
		t.Error(diff)
	}
	if r.Generation != 2 {
		t.Errorf("another policy is generation %d, want 2", r.Generation)
	}
}

// TestGenerations: a generation is a policy; what brings the kernel back to it
// makes none.
func TestGenerations(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	apply := func(want int) {
		t.Helper()
		if r := s.plan(t, 0, "apply"); r.Generation != want {
			t.Errorf("generation %d, want %d", r.Generation, want)
		}
	}
	apply(1)
	labtest.Run(t, s.host, "nft", "flush", "chain", "inet", "ringfence", "sip")
	apply(1)
	s.write(t, staticPolicy+"# the rules are the same, the policy is not\n")
	apply(2)
	s.write(t, strings.Replace(staticPolicy, "203", "198", 1))
	apply(3)
	s.must(t, 0, "down")
	apply(3)
	files, err := os.ReadDir(filepath.Join(s.state(), "journal"))
	labtest.Must(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		info, err := f.Info()
		labtest.Must(t, err)
		if info.Mode().Perm() != 0o640 {
			t.Errorf("%s has mode %o, want 640", f.Name(), info.Mode().Perm())
		}
	}
	if diff := cmp.Diff([]string{"00000001.json", "00000002.json", "00000003.json", "host.json", "kernel.json", "newest.form"}, names); diff != "" {
		t.Error(diff)
	}
	for _, folder := range []string{s.state(), filepath.Join(s.state(), "journal"), filepath.Join(s.folder, "run")} {
		info, err := os.Stat(folder)
		labtest.Must(t, err)
		if info.Mode().Perm() != 0o750 {
			t.Errorf("%s has mode %o, want 750", folder, info.Mode().Perm())
		}
	}
}

// TestDamagedState: what cannot be read is named and kept, and nothing that
// worked stops working.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	s := newSite(t, w.pbx, pbxPolicy)
	s.must(t, 0, "apply")
	fence := s.ruleset(t)
	journal := filepath.Join(s.state(), "journal")
	damage := func(path string) { labtest.Must(t, os.Truncate(path, 20)) }

	t.Run("addresses", func(t *testing.T) {
		damage(filepath.Join(s.state(), "addresses.json"))
		for _, command := range []string{"status", "diff"} {
			if o := s.must(t, 0, command); !strings.Contains(o.stderr, "addresses.json is damaged") {
				t.Errorf("%s does not say what is damaged:\n%s", command, o.stderr)
			}
		}
		o := s.must(t, 0, "refresh")
		if !strings.Contains(o.stderr, "set aside as addresses.json.damaged-") {
			t.Errorf("refresh does not say where the damaged file is:\n%s", o.stderr)
		}
		aside, _ := filepath.Glob(filepath.Join(s.state(), "addresses.json.damaged-*"))
		if len(aside) != 1 {
			t.Errorf("the damaged file was not kept: %q", aside)
		}
	})
	t.Run("addresses, without name server", func(t *testing.T) {
		labtest.Run(t, s.host, "ip", "route", "del", "default")
		damage(filepath.Join(s.state(), "addresses.json"))
		labtest.Run(t, s.host, "nft", "flush", "ruleset")
		s.must(t, 0, "up")
		if diff := cmp.Diff(fence, s.ruleset(t)); diff != "" {
			t.Errorf("the addresses of the generation were not used: %s", diff)
		}
		labtest.Must(t, s.host.Route("default", "198.51.100.1"))
	})
	t.Run("what the kernel was given", func(t *testing.T) {
		damage(filepath.Join(journal, "kernel.json"))
		s.must(t, 0, "refresh")
		s.must(t, 0, "diff")
	})
	t.Run("the newest generation", func(t *testing.T) {
		damage(filepath.Join(journal, "00000001.json"))
		for _, command := range []string{"refresh", "status"} {
			reportsClearly(t, s.run(t, command), 1, []string{"00000001.json is damaged", "run ringfence apply"})
		}
		if diff := cmp.Diff(fence, s.ruleset(t)); diff != "" {
			t.Errorf("the kernel was changed: %s", diff)
		}
		if r := s.plan(t, 0, "apply"); r.Generation != 2 {
			t.Errorf("apply made generation %d, want 2", r.Generation)
		}
		s.must(t, 0, "refresh")
	})
	t.Run("the newest generation, at boot", func(t *testing.T) {
		s.write(t, pbxPolicy+"mode: monitor\n")
		s.must(t, 0, "apply")
		damage(filepath.Join(journal, "00000003.json"))
		labtest.Run(t, s.host, "nft", "flush", "ruleset")
		o := s.must(t, 0, "up")
		if !strings.Contains(o.stderr, "00000003.json is damaged") || !strings.Contains(o.stderr, "using an older generation") {
			t.Errorf("up does not say which generation it passed over:\n%s", o.stderr)
		}
		if diff := cmp.Diff(fence, s.ruleset(t)); diff != "" {
			t.Errorf("the older generation was not put up: %s", diff)
		}
	})
	t.Run("one flipped bit", func(t *testing.T) {
		path := filepath.Join(journal, "00000002.json")
		content, err := os.ReadFile(path)
		labtest.Must(t, err)
		flipped := strings.Replace(string(content), "enforce", "enforcf", 1)
		if flipped == string(content) {
			flipped = strings.Replace(string(content), "acme", "acmf", 1)
		}
		labtest.Must(t, os.WriteFile(path, []byte(flipped), 0o640))
		o := s.run(t, "up")
		if !strings.Contains(o.stderr, "does not match its checksum") {
			t.Errorf("a flipped bit was not noticed (status %d):\n%s", o.status, o.stderr)
		}
	})
}

func TestStatusAsJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named(t, w.provider, nameServer, map[string]string{"acme.example": zoneAcme, "net.example": zoneNet})
	s := newSite(t, w.pbx, pbxPolicy)
	read := func() map[string]any {
		t.Helper()
		var v map[string]any
		labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &v))
		return v
	}
	if v := read(); v["generation"] != 0.0 {
		t.Errorf("without a generation: %v", v)
	}
	s.must(t, 0, "apply")
	v := read()
	for key, want := range map[string]any{
		"mode": "enforce", "backend": "nftables", "engine": "bpf", "generation": 1.0, "pending": nil, "drift": false,
	} {
		if got, ok := v[key]; !ok || got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	provider := v["providers"].([]any)[0].(map[string]any)
	first := provider["addresses"].([]any)[0].(map[string]any)
	if provider["name"] != "acme" || first["address"] != edge1 || first["from"] != "sip.acme.example" || first["family"] != "ipv4" || first["last_seen"] == nil {
		t.Errorf("the first address is %v", first)
	}
	if refresh := v["refresh"].(map[string]any); refresh["ok"] != true || refresh["time"] == nil {
		t.Errorf("refresh is %v", refresh)
	}
	if counters := v["counters"].(map[string]any); len(counters) != len(compile.Counters()) {
		t.Errorf("there are %d counters: %v", len(counters), counters)
	}
	labtest.Run(t, s.host, "nft", "add", "element", "inet", "ringfence", "providers4", "{ 9.9.9.9 }")
	if v := read(); v["drift"] != true {
		t.Error("an address of another program is no drift")
	}
	s.must(t, 0, "refresh")
	s.write(t, pbxPolicy+"mode: monitor\n")
	if v := read(); v["drift"] != false {
		t.Error("a policy file that was not applied is drift")
	}
}
