package site_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/site"
)

func link(name string, addresses ...string) ruleset.Interface {
	i := ruleset.Interface{Name: name}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	return i
}

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// remembered is a memory of sip.acme.example that was asked for, and answered, so long
// before noon.
func remembered(asked, answered time.Duration) resolve.Memory {
	m := resolve.NewMemory()
	looked := resolve.Moment{Time: noon.Add(-asked)}
	question := resolve.Question{Name: "sip.acme.example", Type: "A"}
	m.Names = []resolve.Known{{
		Name: "sip.acme.example", Registrar: true, Looked: looked,
		Addresses: []resolve.KnownAddress{{
			Address: netip.MustParseAddr("203.0.113.5"),
			Sources: []resolve.Source{{Question: question, UnheardFor: resolve.Span(answered - asked)}},
		}},
	}}
	return m
}

const withName = "providers: [{name: acme, registrars: [sip.acme.example]}]\ntrusted: {addresses: [192.168.1.0/24]}\n"

// TestAlarms: what makes the fence less than the policy says is an alarm, and what
// somebody has chosen is none.
func TestAlarms(t *testing.T) {
	const hour = time.Hour
	for _, test := range []struct {
		name   string
		policy string
		asked  time.Duration // since the names were asked for, and answered
		heard  time.Duration
		change func(s *site.Site, l *site.Look)
		want   []string
	}{
		{name: "all well", asked: hour, heard: hour},
		{name: "yesterday's cron run", asked: 24*hour + time.Minute, heard: 25*hour - time.Minute},
		{name: "nobody asks", asked: 4 * 24 * hour, heard: 4 * 24 * hour, want: []string{
			"unasked: dns: nobody has asked for the policy's names for 4 days: addresses that are new since are not allowed (since 2026-11-24 12:00:00)",
		}},
		{name: "nobody answers", asked: hour, heard: 30 * hour, want: []string{
			"unanswered: dns: no name server has given a good answer for 30 hours: addresses that are new since are not allowed (since 2026-11-27 06:00:00)",
		}},
		{name: "for a week", asked: 170 * hour, heard: 170 * hour, want: []string{
			"stale: sip.acme.example: it was not asked for during 170 h; its addresses are kept (since 2026-11-21 10:00:00)",
		}},
		{name: "the policy file is newer", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			l.File = &site.File{Path: "/etc/ringfence/policy.yaml", Text: s.Text + "# more\n", Changed: noon.Add(-hour)}
		}, want: []string{
			"policy-changed: /etc/ringfence/policy.yaml: it was changed after generation 3 was made, and what it says now is not in force (since 2026-11-28 11:00:00)",
		}},
		{name: "the policy file is the same", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			l.File = &site.File{Text: s.Text, Changed: noon}
		}},
		{name: "rolled back", asked: hour, heard: hour, change: func(_ *site.Site, l *site.Look) {
			l.File = &site.File{Text: "version: 1\n", Changed: noon.Add(-3 * hour)}
		}},
		{name: "no table", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			want, _ := s.Compile()
			l.Drift = plan.Diff(&ruleset.State{}, want)
		}, want: []string{"no-table: table inet ringfence: it is not in the kernel: nothing is fenced (since 2026-11-28 12:00:00)"}},
		{name: "drift, seen before", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			want, _ := s.Compile()
			have, _ := s.Compile()
			delete(have.Chains, "sip")
			l.Drift = plan.Diff(have, want)
			found := []notice.Notice{{Severity: notice.Alarm, Code: notice.Standing, About: "drift: table inet ringfence"}}
			l.Earlier, _ = notice.Record(nil).Next(found, noon.Add(-2*hour), false)
		}, want: []string{"drift: table inet ringfence: 1 difference from what generation 3 asks for (since 2026-11-28 10:00:00)"}},
		{name: "a new address of this host", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			have, _ := s.Compile()
			s.Host.Gateways = append(s.Host.Gateways, netip.MustParseAddr("192.0.2.77"))
			want, _ := s.Compile()
			l.Drift = plan.Diff(have, want)
		}},
		{name: "docker came", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			then := *s
			l.Accepted = &then
			s.Host.Interfaces = append(s.Host.Interfaces, ruleset.Interface{Name: "docker0", Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")}})
		}, want: []string{"cut-inside: 172.17.0.0/16 on docker0: phones there cannot reach their provider since this host forwards (since 2026-11-28 12:00:00)"}},
		{name: "the policy file has gone", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			s.Source = "/etc/ringfence/policy.yaml"
			l.File = &site.File{Path: s.Source, Unread: errors.New("no such file or directory")}
		}, want: []string{
			"policy-changed: /etc/ringfence/policy.yaml: generation 3 was made from it, and it cannot be read any more: no such file or directory (since 2026-11-28 12:00:00)",
		}},
		{name: "it was made from another file", asked: hour, heard: hour, change: func(s *site.Site, l *site.Look) {
			s.Source = "/root/new.yaml"
			l.File = &site.File{Path: "/etc/ringfence/policy.yaml", Unread: errors.New("no such file or directory")}
		}},
		{name: "a full state folder", asked: hour, heard: hour, change: func(_ *site.Site, l *site.Look) {
			l.Folder, l.Unwritable = "/var/lib/ringfence", "it is full: 0 KiB are free"
		}, want: []string{
			"state-folder: /var/lib/ringfence: it is full: 0 KiB are free: what is learned from now on is forgotten at the next start (since 2026-11-28 12:00:00)",
		}},
		{name: "a public address where nothing is fenced", policy: "interfaces: [wan]\n", change: func(s *site.Site, l *site.Look) {
			then := *s
			l.Accepted = &then
			s.Host.Interfaces = slices.Clone(s.Host.Interfaces)
			s.Host.Interfaces = append(s.Host.Interfaces, link("dmz", "198.51.100.1/24"), link("lan2", "192.168.2.1/24", "2001:db8:2::1/64"), link("v6", "2001:db8:3::1/64"))
		}, want: []string{
			"public-unfenced: dmz: it has a public address since the policy was applied, and what comes in there is not fenced (since 2026-11-28 12:00:00)",
			"public-unfenced: v6: it has a public address since the policy was applied, and what comes in there is not fenced (since 2026-11-28 12:00:00)",
		}},
		{name: "a public address that was there", policy: "interfaces: [wan]\n", change: func(s *site.Site, l *site.Look) {
			s.Host.Interfaces = append(s.Host.Interfaces, link("dmz", "198.51.100.1/24"))
			l.Accepted = s
		}},
		{name: "a trusted interface leads outside", policy: "interfaces: [wan]\ntrusted: {interfaces: [lan]}\n", change: func(s *site.Site, l *site.Look) {
			then := *s
			l.Accepted = &then
			s.Host.Outside = append(slices.Clone(s.Host.Outside), "lan")
		}, want: []string{
			"outside-trusted: lan: a default route goes by it since the policy was applied, and everybody who comes in there is let in: trusted.interfaces names it (since 2026-11-28 12:00:00)",
		}},
		{name: "a trusted interface that led outside", policy: "interfaces: [wan]\ntrusted: {interfaces: [lan]}\n", change: func(s *site.Site, l *site.Look) {
			s.Host.Outside = append(slices.Clone(s.Host.Outside), "lan")
			l.Accepted = s
		}},
		{name: "unclassified", policy: "unknown: {action: accept}\n", change: func(s *site.Site, l *site.Look) {
			then := *s
			l.Accepted = &then
			then.Host.Classified = []string{"ppp0", "wan"}
			s.Classifier.Unavailable = map[string]error{"wan": errors.New("another program's filter is attached there"), "lan": errors.New("the same")}
		}, want: []string{
			"unclassified: wan: scanners are not recognised there any more: another program's filter is attached there (since 2026-11-28 12:00:00)",
		}},
		{name: "unclassified, and nobody passes for that", policy: "trusted: {addresses: [192.168.1.0/24]}\n", change: func(s *site.Site, l *site.Look) {
			then := *s
			l.Accepted = &then
			then.Host.Classified = []string{"wan"}
			s.Classifier.Unavailable = map[string]error{"wan": errors.New("another program's filter is attached there")}
		}},
		{name: "renumbered", policy: "trusted: {addresses: [192.168.1.0/24]}\n", change: func(s *site.Site, l *site.Look) {
			s.Host.Forwards = false
			then := *s
			l.Accepted = &then
			s.Host.Interfaces = []ruleset.Interface{link("lan", "192.168.9.1/24"), s.Host.Interfaces[1]}
		}, want: []string{
			"cut-inside: 192.168.9.0/24 on lan: phones there cannot reach this host since the interface has other addresses (since 2026-11-28 12:00:00)",
		}},
		{name: "a network with nobody in it has come", policy: "trusted: {addresses: [192.168.1.0/24]}\n", change: func(s *site.Site, l *site.Look) {
			s.Host.Forwards = false
			then := *s
			l.Accepted = &then
			s.Host.Interfaces = append(slices.Clone(s.Host.Interfaces), link("wg0", "10.8.0.1/24"))
		}},
		{name: "a network with phones has come", policy: "trusted: {addresses: [192.168.1.0/24]}\n", change: func(s *site.Site, l *site.Look) {
			s.Host.Forwards = false
			then := *s
			l.Accepted = &then
			s.Host.Interfaces = append(slices.Clone(s.Host.Interfaces), link("lan2", "10.8.0.1/24"))
			s.Contacts.Neighbours = []ruleset.Neighbour{{Interface: "lan2", Address: netip.MustParseAddr("10.8.0.20")}}
		}, want: []string{
			"cut-inside: 10.8.0.0/24 on lan2: phones there cannot reach this host: the network has come since the policy was applied (since 2026-11-28 12:00:00)",
		}},
		{name: "cut when it was applied", policy: "interfaces: [lan]\n", change: func(s *site.Site, l *site.Look) { l.Accepted = s }, want: []string{
			"outside-unfenced: wan: a default route goes by it, and what comes in there is not fenced (since 2026-11-28 12:00:00)",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.policy == "" {
				test.policy = withName
			}
			s := newSite(t, test.policy, router())
			if test.asked > 0 {
				s.Memory = remembered(test.asked, test.heard)
			}
			l := site.Look{
				Now: resolve.Moment{Time: noon}, Generation: 3, Made: noon.Add(-2 * hour), Place: "table inet ringfence",
				Words: func(resolve.WayOut) string { return "a way out" },
			}
			if test.change != nil {
				test.change(s, &l)
			}
			var got []string
			for _, a := range s.Alarms(l) {
				got = append(got, string(a.Kind)+": "+strings.ReplaceAll(a.Notice().Text, a.Since.Local().Format(time.DateTime), a.Since.UTC().Format(time.DateTime)))
				if a.WayOut == "" || a.Name == "" {
					t.Errorf("%+v has no way out, or is about nothing", a)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
