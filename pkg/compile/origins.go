package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// origins lists every prefix of every address set with its reason.
func origins(p *policy.Policy, addresses map[Name][]Address, host ruleset.Host) ruleset.Origins {
	l := originList{ruleset.Origins{Sets: map[string][]ruleset.Origin{}}}
	l.room(p)
	l.providers(p, addresses)
	for _, a := range p.Trusted.Addresses {
		l.add("trusted", a, ruleset.Origin{Owner: "trusted", Via: "addresses"})
	}
	for _, a := range p.Trusted.Asymmetric {
		l.add("asymmetric", a, ruleset.Origin{Owner: "trusted", Via: "asymmetric"})
	}
	for _, h := range p.Trusted.Hosts {
		l.name("trusted", "trusted", h, addresses[Name{h, false}])
	}
	for _, a := range p.Bans.Addresses {
		l.add("blocked", a, ruleset.Origin{Owner: "bans", Via: "addresses"})
	}
	l.protected(p, host)
	for set, list := range l.Sets {
		slices.SortStableFunc(list, compareOrigins)
		l.Sets[set] = slices.Compact(list) // two registrars may have the same host
	}
	return l.Origins
}

// originList collects origins by set.
type originList struct{ ruleset.Origins }

// room makes room for the addresses of the providers, which may be many.
func (l *originList) room(p *policy.Policy) {
	var need [2]int
	for _, provider := range p.Providers {
		for _, a := range provider.Addresses {
			if a.Addr().Is4() {
				need[0]++
			} else {
				need[1]++
			}
		}
	}
	for i, n := range need {
		if n > 0 {
			l.Sets[setsOf["providers"][i]] = make([]ruleset.Origin, 0, n+n/64)
		}
	}
}

// add adds a prefix to the set of its family.
func (l *originList) add(set string, prefix netip.Prefix, o ruleset.Origin) {
	o.Prefix = ruleset.Canonical(prefix)
	set = setOf(set, o.Prefix.Addr())
	l.Sets[set] = append(l.Sets[set], o)
}

// name adds the addresses of a name.
func (l *originList) name(set, owner, host string, addresses []Address) {
	for _, a := range addresses {
		l.add(set, single(a.Addr), ruleset.Origin{Owner: owner, Name: host, Via: a.Via})
	}
}

// providers adds the addresses of the providers.
func (l *originList) providers(p *policy.Policy, addresses map[Name][]Address) {
	for _, provider := range p.Providers {
		l.Providers = append(l.Providers, provider.Name)
		for _, a := range provider.Addresses {
			l.add("providers", a.Prefix, ruleset.Origin{Owner: provider.Name, Via: a.From})
		}
		for _, r := range provider.Registrars {
			if r.Address.IsValid() {
				l.add("providers", single(r.Address), ruleset.Origin{Owner: provider.Name, Via: "registrars"})
			} else {
				l.name("providers", provider.Name, r.Host, addresses[Name{r.Host, true}])
			}
		}
	}
}

// protected adds the addresses that this host needs and that are therefore never
// banned.
func (l *originList) protected(p *policy.Policy, host ruleset.Host) {
	protect := func(a netip.Addr, owner, name string) {
		if !a.IsLoopback() { // which never comes in by a fenced interface
			l.add("protected", single(a), ruleset.Origin{Owner: owner, Name: name})
		}
	}
	for _, link := range host.Interfaces {
		for _, a := range link.Addresses {
			protect(a.Addr(), "own address", link.Name)
		}
	}
	for _, a := range host.NameServers {
		protect(a, "name server", "")
	}
	for _, s := range p.DNS.Servers {
		protect(s.Addr(), "name server", "")
	}
	for _, provider := range p.Providers {
		for _, s := range provider.DNS {
			protect(s.Addr(), "name server", "")
		}
	}
	for _, a := range host.Gateways {
		protect(a, "gateway", "")
	}
}

func compareOrigins(a, b ruleset.Origin) int {
	if c := a.Prefix.Compare(b.Prefix); c != 0 {
		return c
	}
	return strings.Compare(a.String(), b.String())
}

func single(a netip.Addr) netip.Prefix {
	a = a.WithZone("").Unmap()
	return netip.PrefixFrom(a, a.BitLen())
}

// setsOf are the names of the sets of a kind for IPv4 and IPv6. There may be very many
// addresses to find them for.
var setsOf = map[string][2]string{
	"providers": {"providers4", "providers6"}, "trusted": {"trusted4", "trusted6"}, "asymmetric": {"asymmetric4", "asymmetric6"},
	"blocked": {"blocked4", "blocked6"}, "protected": {"protected4", "protected6"},
}

// setOf returns the name of the set of a kind that an address belongs into.
func setOf(kind string, a netip.Addr) string {
	if a.Unmap().Is4() {
		return setsOf[kind][0]
	}
	return setsOf[kind][1]
}
