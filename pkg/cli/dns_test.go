package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// wholeZone is a registrar with everything: NAPTR, SRV to targets in another
// domain, and a pool of 18 addresses of its own.
func wholeZone() (zone string, addresses []string) {
	var b strings.Builder
	b.WriteString(`sip.acme.example. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.sip.acme.example.
sip.acme.example. 60 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.sip.acme.example.
_sip._udp.sip.acme.example. 60 IN SRV 10 50 5060 edge.net.example.
_sip._tcp.sip.acme.example. 60 IN SRV 10 50 5060 edge2.net.example.
edge.net.example. 60 IN A 203.0.113.5
edge.net.example. 60 IN AAAA 2001:db8:113::5
edge2.net.example. 60 IN A 203.0.113.8
`)
	addresses = []string{"203.0.113.5", "203.0.113.8", "2001:db8:113::5"}
	for i := range 18 {
		a := fmt.Sprintf("203.0.113.%d", 100+2*i) // none beside another, so that none is merged
		fmt.Fprintf(&b, "sip.acme.example. 60 IN A %s\n", a)
		addresses = append(addresses, a)
	}
	slices.Sort(addresses)
	return b.String(), addresses
}

// patient is a site whose name server can be made to fail.
type patient struct {
	*site
	names  *labtest.Switch
	honest *lab.Zone
	good   []string
}

const patientPolicy = `version: 1
providers:
  - name: acme
    registrars: [sip.acme.example]
dns:
  servers: [SERVERS]
`

// newPatient applies a policy while all is well, with name servers at the given
// addresses.
func newPatient(t *testing.T, servers ...string) *patient {
	t.Helper()
	zone, good := wholeZone()
	honest, err := lab.NewZone(zone)
	labtest.Must(t, err)
	p := &patient{names: labtest.NewSwitch(honest), honest: honest, good: good}
	h := labtest.Host(t, "pbx")
	p.site = newSite(t, h, strings.Replace(patientPolicy, "SERVERS", strings.Join(servers, ", "), 1))
	p.serve(t, servers[0], p.names)
	return p
}

func (p *patient) serve(t *testing.T, address string, handler dns.Handler) *lab.NameServer {
	t.Helper()
	names, err := p.host.ServeNames(address+":53", handler)
	labtest.Must(t, err)
	t.Cleanup(func() { names.Close() })
	return names
}

// allowed are the providers' addresses in the kernel.
func (s *site) allowed(t *testing.T) []string {
	t.Helper()
	var ruleset struct {
		NFTables []struct {
			Set *struct {
				Name string
				Elem []any
			}
		}
	}
	labtest.Must(t, json.Unmarshal([]byte(labtest.Run(t, s.host, "nft", "-j", "list", "table", "inet", "ringfence")), &ruleset))
	var list []string
	for _, object := range ruleset.NFTables {
		if object.Set != nil && strings.HasPrefix(object.Set.Name, "providers") {
			for _, e := range object.Set.Elem {
				list = append(list, fmt.Sprint(e))
			}
		}
	}
	slices.Sort(list)
	return list
}

// alarms are the kinds of alarms that status shows, each with its subject.
func (s *site) alarms(t *testing.T) []string {
	t.Helper()
	var report struct {
		Alarms []struct {
			Kind, Name, Type, Text, Since string
			WayOut                        string `json:"way_out"`
		}
	}
	labtest.Must(t, json.Unmarshal([]byte(s.must(t, 0, "status", "-o", "json").stdout), &report))
	list := []string{}
	for _, a := range report.Alarms {
		list = append(list, strings.TrimSpace(a.Kind+" "+a.Name+" "+a.Type))
		if a.Text == "" || a.WayOut == "" || a.Since == "" {
			t.Errorf("an alarm without text, time or way out: %+v", a)
		}
	}
	return list
}

// earlier makes the last look at all names so much older than it is, as if the
// host had been off meanwhile.
func (s *site) earlier(t *testing.T, d time.Duration) {
	t.Helper()
	path := filepath.Join(s.state(), "addresses.json")
	content, err := os.ReadFile(path)
	labtest.Must(t, err)
	var memory map[string]any
	labtest.Must(t, json.Unmarshal(content, &memory))
	for _, name := range memory["names"].([]any) {
		looked := name.(map[string]any)["looked"].(map[string]any)
		then, err := time.Parse(time.RFC3339Nano, looked["time"].(string))
		labtest.Must(t, err)
		looked["boot"], looked["time"] = "another", then.Add(-d)
	}
	content, err = json.Marshal(memory)
	labtest.Must(t, err)
	labtest.Must(t, os.WriteFile(path, content, 0o640))
}

// intact fails if any good address is gone or any other is there.
func (p *patient) intact(t *testing.T, after string) {
	t.Helper()
	if diff := cmp.Diff(p.good, p.allowed(t)); diff != "" {
		t.Fatalf("after %s: %s", after, diff)
	}
}

// TestNoWayToTCP: the answer does not fit into UDP, and the server does not listen on TCP.
func TestNoWayToTCP(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1", "127.0.0.2")
	names, err := p.host.ServeNamesByUDP("127.0.0.2:53", labtest.Truncated(nil))
	labtest.Must(t, err)
	t.Cleanup(func() { names.Close() })
	p.must(t, 0, "apply")
	p.write(t, strings.Replace(patientPolicy, "SERVERS", "127.0.0.2", 1))
	o := p.must(t, 4, "apply", "--yes")
	if !strings.Contains(o.stderr, "TCP failed (unreachable: no name server listens on 127.0.0.2:53)") {
		t.Errorf("apply says %s", o.stderr)
	}
	p.intact(t, "apply")
	labtest.Report(t, "P6", "a truncated answer, and nobody listens by TCP", 1, "0 good addresses removed")
}

// TestNoResolverAtBoot: the name server comes up after the host.
func TestNoResolverAtBoot(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.2")
	p.must(t, 0, "apply")
	rounds := labtest.Count(2, 200)
	for range rounds {
		labtest.Run(t, p.host, "nft", "flush", "ruleset")
		p.write(t, strings.Replace(patientPolicy, "SERVERS", "127.0.0.1", 1)) // where nobody is
		p.must(t, 0, "up")
		p.intact(t, "up")
		p.earlier(t, 24*time.Hour)
		p.must(t, 4, "apply")
		p.intact(t, "apply without a name server")
		names := p.serve(t, "127.0.0.1", p.honest)
		p.must(t, 0, "refresh")
		p.intact(t, "refresh")
		labtest.Must(t, names.Close())
	}
	labtest.Report(t, "P6", "no name server at boot", rounds, "0 good addresses removed")
}

// TestOneOfTwoServersLies, and is asked first: the other one is asked at once.
func TestOneOfTwoServersLies(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1", "127.0.0.2")
	p.serve(t, "127.0.0.2", p.honest)
	p.must(t, 0, "apply")
	known, err := os.ReadFile(filepath.Join(p.state(), "addresses.json"))
	labtest.Must(t, err)
	lie := labtest.Lie("198.18.6.6", "10.0.0.1", "127.0.0.1", "2001:db8:ffff::6", "::1")(p.honest)
	rounds := labtest.Count(3, 200)
	for range rounds {
		p.names.To(lie)
		o := p.must(t, 4, "refresh")
		p.intact(t, "a lie")
		if diff := cmp.Diff([]string{"contradicted sip.acme.example"}, p.alarms(t)); diff != "" {
			t.Fatal(diff)
		}
		for _, words := range []string{"alarm: sip.acme.example: one answer has 198.18.6.6, 2001:db8:ffff::6", "hint: find out which name server is wrong", "left out 10.0.0.1"} {
			if !strings.Contains(o.stderr, words) {
				t.Fatalf("refresh does not say %q:\n%s", words, o.stderr)
			}
		}
		// The next lie is the first one again.
		labtest.Must(t, os.WriteFile(filepath.Join(p.state(), "addresses.json"), known, 0o640))
		p.names.To(p.honest)
		p.must(t, 0, "refresh")
		p.intact(t, "the truth")
	}
	labtest.Report(t, "P6", "one of two name servers lies", rounds, "0 good addresses removed, 0 bad ones added")
}

// TestMoreAddressesThanAnybodyNeeds are taken when somebody says so, once, and
// from then on.
func TestMoreAddressesThanAnybodyNeeds(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1")
	p.must(t, 0, "apply")
	p.names.To(labtest.Only(dns.TypeA, labtest.Many(100))(p.honest))
	o := p.must(t, 4, "refresh")
	p.intact(t, "refresh")
	if !strings.Contains(o.stderr, "hint: if this number is right: ringfence refresh --accept-large sip.acme.example") {
		t.Errorf("refresh does not say the way out:\n%s", o.stderr)
	}
	reportsClearly(t, p.run(t, "refresh", "--accept-large", "other.example"), 1, []string{`the policy has no name "other.example", and none leads to it`})
	p.must(t, 0, "refresh", "--accept-large", "SIP.acme.example.")
	if n := len(p.allowed(t)); n <= len(p.good) {
		t.Errorf("after --accept-large there are %d addresses", n)
	}
	p.must(t, 0, "refresh")
	if alarms := p.alarms(t); len(alarms) > 0 {
		t.Errorf("after --accept-large: %v", alarms)
	}
	p.names.To(labtest.Only(dns.TypeA, labtest.Many(101))(p.honest))
	p.must(t, 4, "refresh")
}

// TestAlarmsComeFirst in what status prints.
func TestAlarmsComeFirst(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1")
	p.must(t, 0, "apply")
	p.names.To(labtest.Only(dns.TypeAAAA, labtest.Bogons)(p.honest))
	p.must(t, 4, "refresh")
	want := []string{
		"alarm  edge.net.example AAAA: it has only rejected addresses now (since ",
		`       if they are right, write "addresses: [fd00::1]" under provider acme in the policy`,
		"",
		"fence       up",
	}
	lines := strings.Split(p.must(t, 0, "status").stdout, "\n")
	for i, prefix := range want {
		if i >= len(lines) || !strings.HasPrefix(lines[i], prefix) {
			t.Fatalf("line %d is not %q:\n%s", i+1, prefix, strings.Join(lines, "\n"))
		}
	}
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "left out\n") || !strings.Contains(text, "fd00::1  sip.acme.example  is a private address") {
		t.Errorf("status does not show what is left out:\n%s", text)
	}
	// The line that it says is the way out.
	p.write(t, strings.Replace(strings.Replace(patientPolicy, "SERVERS", "127.0.0.1", 1), "    registrars:", `    addresses: ["fd00::1"]`+"\n    registrars:", 1))
	p.must(t, 0, "apply")
	if alarms := p.alarms(t); len(alarms) > 0 {
		t.Errorf("the way out led to %v", alarms)
	}
}

// TestStaleAddresses: nobody has heard anything for longer than the policy
// allows, and all is still there.
func TestStaleAddresses(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1")
	p.must(t, 0, "apply")
	p.earlier(t, 169*time.Hour)
	if diff := cmp.Diff([]string{"stale sip.acme.example"}, p.alarms(t)); diff != "" {
		t.Error(diff)
	}
	p.names.To(labtest.ServFail(nil))
	o := p.must(t, 4, "refresh")
	if !strings.Contains(o.stderr, "alarm: sip.acme.example A: no good answer for 169 h; its addresses are kept") {
		t.Errorf("refresh says %s", o.stderr)
	}
	p.intact(t, "a week without answers")
	p.names.To(p.honest)
	p.must(t, 0, "refresh")
	if alarms := p.alarms(t); len(alarms) > 0 {
		t.Errorf("after an answer: %v", alarms)
	}
}

// TestAMoveWithoutASecondWayToAsk: the provider has moved, and the only name
// server answers by UDP only. The next refresh is the second answer.
func TestAMoveWithoutASecondWayToAsk(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	zone, err := lab.NewZone("sip.acme.example. 60 IN A 203.0.113.1")
	labtest.Must(t, err)
	names, err := h.ServeNamesByUDP("127.0.0.1:53", zone)
	labtest.Must(t, err)
	t.Cleanup(func() { names.Close() })
	s := newSite(t, h, strings.Replace(patientPolicy, "SERVERS", "127.0.0.1", 1))
	s.must(t, 0, "apply")
	labtest.Must(t, zone.Set("sip.acme.example. 60 IN A 198.51.100.1"))
	o := s.must(t, 0, "refresh")
	if want := "a second answer is needed to accept 198.51.100.1"; !strings.Contains(o.stderr, want) {
		t.Errorf("refresh does not say %q:\n%s", want, o.stderr)
	}
	if diff := cmp.Diff([]string{"203.0.113.1"}, s.allowed(t)); diff != "" {
		t.Error(diff)
	}
	if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "198.51.100.1  sip.acme.example  waits for a second answer that has it") {
		t.Errorf("status says:\n%s", o.stdout)
	}
	if o := s.must(t, 0, "refresh"); o.stderr != "" {
		t.Errorf("the second refresh says %s", o.stderr)
	}
	if diff := cmp.Diff([]string{"198.51.100.1", "203.0.113.1"}, s.allowed(t)); diff != "" {
		t.Error(diff)
	}
}

// TestBanOfARegistrar: an address that a name stands for and that bans.addresses lists is
// allowed, and apply and bans say so.
func TestBanOfARegistrar(t *testing.T) {
	t.Parallel()
	p := newPatient(t, "127.0.0.1")
	p.must(t, 0, "apply")
	policy := strings.Replace(patientPolicy, "SERVERS", "127.0.0.1", 1)
	p.write(t, policy+"bans: {addresses: [203.0.113.5, 192.0.2.0/24]}\n")
	const said = "bans.addresses has 203.0.113.5, which is allowed all the same: sip.acme.example stands for it"
	if o := p.must(t, 0, "apply"); !strings.Contains(o.stderr, said) || strings.Contains(o.stderr, "192.0.2") {
		t.Errorf("apply says %q", o.stderr)
	}
	for line := range strings.Lines(p.must(t, 0, "bans").stdout) {
		if strings.Contains(line, "203.0.113.5") != strings.Contains(line, "; allowed all the same, by acme") {
			t.Errorf("bans says %q", line)
		}
	}
	p.write(t, policy+"bans: {addresses: [203.0.113.4/30]}\n")
	p.must(t, 0, "apply")
	if bans := p.must(t, 0, "bans").stdout; !strings.Contains(bans, "; a part of it is allowed all the same, by acme\n") {
		t.Errorf("bans says %q", bans)
	}
}
