package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// drafted is what init -o json prints.
type drafted struct {
	Monitor, Forwards                    bool
	Outside, Interfaces, Trusted, Inside []string
	Servers                              []struct {
		Protocol, Program string
		Port              int
	}
}

// resolvable lets a host's own name server answer for acme.
func resolvable(t *testing.T, h *lab.Namespace) {
	t.Helper()
	labtest.Must(t, h.AddAddress("lo", labtest.NameServer+"/32"))
	zone, err := lab.NewZone("_sip._udp.sip.acme.example. 60 IN SRV 1 1 5060 edge.acme.example.\nedge.acme.example. 60 IN A " + edge1)
	labtest.Must(t, err)
	server, err := h.ServeNames(labtest.NameServer+":53", zone)
	labtest.Must(t, err)
	t.Cleanup(func() { server.Close() })
}

// TestInitExposed: where a SIP server listens on a public address and no network of phones
// is connected, the draft drops nothing although it has a provider, and says why.
func TestInitExposed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := listen(t, w.pbx, 5060, pbx4)
	s := newSite(t, w.pbx, "")
	draft := func(args ...string) (text string, o outcome) {
		t.Helper()
		labtest.Must(t, os.Remove(s.policyFile()))
		o = s.must(t, 0, append([]string{"init", "--provider", "sip.acme.example"}, args...)...)
		content, err := os.ReadFile(s.policyFile())
		labtest.Must(t, err)
		return string(content), o
	}
	text, o := draft()
	if !strings.Contains(text, "\nmode: monitor\n") || !strings.Contains(text, "# A SIP server listens on a public address of this host (TCP 5060, UDP 5060)") {
		t.Errorf("the draft is\n%s", text)
	}
	if !strings.Contains(text, "\nunknown:\n  action: register\n") {
		t.Errorf("the draft lets no phone on the road register:\n%s", text)
	}
	if !strings.Contains(o.stdout, "UDP 5060") || !strings.Contains(o.stdout, "can be reached from everywhere") {
		t.Errorf("init says\n%s", o.stdout)
	}
	if _, o = draft("-o", "json"); !strings.Contains(o.stdout, `"monitor": true`) {
		t.Errorf("init says\n%s", o.stdout)
	}
	labtest.Must(t, e.Close())
	if text, _ = draft(); !strings.Contains(text, "\nmode: enforce\n") || strings.Contains(text, "\nunknown:") {
		t.Errorf("nothing listens, and the draft is\n%s", text)
	}
}

// TestInit drafts a policy on real hosts; each passes check and is accepted by
// apply as it is, and the second init refuses to overwrite it.
func TestInit(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		host func(t *testing.T) *lab.Namespace
		want drafted
	}{
		{"PBX", func(t *testing.T) *lab.Namespace {
			w := newWorld(t)
			labtest.Must(t, w.pbx.AddAddress("eth0", "192.168.7.5/24"))
			return w.pbx
		}, drafted{Outside: []string{"eth0"}, Interfaces: []string{}, Trusted: []string{"192.168.7.0/24", "2001:db8:100::/64"}, Inside: []string{}}},
		{"router", func(t *testing.T) *lab.Namespace { return newOffice(t).pbx }, drafted{
			Forwards: true, Outside: []string{"eth0"}, Interfaces: []string{"eth0"}, Trusted: []string{}, Inside: []string{"192.168.1.0/24", "2001:db8:200::/64"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := test.host(t)
			resolvable(t, h)
			sipp := exec.CommandContext(t.Context(), "sipp", "-sn", "uas", "-i", "0.0.0.0", "-p", "5070", "-nostdin")
			sipp.Dir = t.TempDir()
			labtest.Must(t, h.Start(sipp))
			defer func() {
				sipp.Process.Kill()
				sipp.Wait()
			}()
			until(t, "sipp listens", func() bool { return listensAt(t, h, "udp", 5070) })
			s := newSite(t, h, "")
			labtest.Must(t, os.Remove(s.policyFile()))
			o := s.must(t, 0, "init", "--provider", "sip.acme.example", "-o", "json")
			var got drafted
			labtest.Must(t, json.Unmarshal([]byte(o.stdout), &got))
			want := test.want
			want.Servers = got.Servers
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(got.Servers) != 1 || got.Servers[0].Port != 5070 || got.Servers[0].Program != "sipp" {
				t.Errorf("the SIP server is %+v", got.Servers)
			}
			s.must(t, 0, "check")
			s.must(t, 0, "apply")
			for _, want := range []string{edge1, "5070"} {
				if !strings.Contains(s.ruleset(t), want) {
					t.Errorf("the fence does not hold %s", want)
				}
			}
			info, err := os.Stat(s.policyFile())
			labtest.Must(t, err)
			if info.Mode().Perm() != 0o644 {
				t.Errorf("the policy has mode %o, want 644", info.Mode().Perm())
			}
			content, err := os.ReadFile(s.policyFile())
			labtest.Must(t, err)
			reportsClearly(t, s.run(t, "init"), 1, []string{"exists already", "nothing was written", "to write a draft to another file"})
			if after, _ := os.ReadFile(s.policyFile()); string(after) != string(content) {
				t.Error("the second init has changed the policy")
			}
		})
	}
}
