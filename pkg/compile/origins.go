package compile

import (
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// origins lists every prefix that names and published lists lead to or that the host
// needs, with its reason, by set.
func origins(p *policy.Policy, known Known, host ruleset.Host) ruleset.Origins {
	l := originList{ruleset.Origins{Sets: map[string][]ruleset.Origin{}}}
	l.providers(p, known)
	for _, h := range p.Trusted.Hosts {
		l.name("trusted", "trusted", h, known.Names[Name{h, false}])
	}
	l.protected(p, host)
	l.sort()
	return l.Origins
}

// sort sorts the origins of each set, and keeps each of them once.
func (l *originList) sort() {
	for set, list := range l.Sets {
		if !slices.IsSortedFunc(list, ruleset.Origin.Compare) {
			slices.SortStableFunc(list, ruleset.Origin.Compare)
		}
		l.Sets[set] = slices.Compact(list) // two registrars may have the same host
	}
}

// originList collects origins by set.
type originList struct{ ruleset.Origins }

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

// providers adds the addresses of the providers' names and published lists.
func (l *originList) providers(p *policy.Policy, known Known) {
	for _, provider := range p.Providers {
		l.Providers = append(l.Providers, provider.Name)
		if provider.List != nil {
			for _, a := range known.Lists[provider.List.URL] {
				l.add("providers", a.Prefix, ruleset.Origin{Owner: provider.Name, Via: a.From})
			}
		}
		for _, r := range provider.Registrars {
			if !r.Address.IsValid() {
				l.name("providers", provider.Name, r.Host, known.Names[Name{r.Host, true}])
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
