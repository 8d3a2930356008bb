package activity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Known is what is known of a site, to find who should be let in.
type Known struct {
	// Allowed are the addresses that are allowed now, by provider.
	Allowed map[string][]netip.Prefix
	// Phones are what the User-Agents of phones begin with.
	Phones []string
	// Live are those that exchange SIP with this host or its network now.
	Live []netip.Addr
	// Passes says that an address is let in by now.
	Passes func(netip.Addr) bool
}

// Suggestion is a source that may be one to let in.
type Suggestion struct {
	Address netip.Addr
	Text    string
	WayOut  string
}

// mostSuggestions is how many are worth reading.
const mostSuggestions = 20

// Suggest finds sources that do not look like scanners: they get answers, are beside a
// provider's servers, or are phones that keep trying for the same users.
func Suggest(a *Activity, k Known) []Suggestion {
	list := []Suggestion{}
	for _, s := range a.Sources {
		if len(list) == mostSuggestions {
			break
		}
		if s.Signature != "" || k.Passes != nil && k.Passes(s.Address) || !slices.Contains([]string{"unknown", "user_agent", "method", "rate"}, s.Reason) {
			continue
		}
		provider, beside := k.beside(s.Address)
		now := fmt.Sprintf("ringfence allow %s --for 2h lets it in for now; ", s.Address)
		trusted := now + "for good, list it in the policy under trusted.addresses"
		switch {
		case provider != "" && s.Method == "REGISTER" && k.hasPhone(s): // a provider's server does not register
			list = append(list, Suggestion{s.Address, s.What() + ": is it a remote phone?", trusted})
		case provider != "":
			list = append(list, Suggestion{
				s.Address, fmt.Sprintf("%s: is it another server of %s? It is in one network with %s.", s.What(), provider, beside),
				now + fmt.Sprintf("for good, list it in the policy under addresses of %s", provider),
			})
		case slices.Contains(k.Live, s.Address):
			list = append(list, Suggestion{s.Address, s.What() + ": it gets answers from here now. Is it a provider's server, or a phone?", trusted})
		case k.isPhone(s):
			list = append(list, Suggestion{s.Address, s.What() + ": is it a remote phone?", trusted})
		}
	}
	return list
}

// beside returns the provider that has an address in the network of this one.
func (k Known) beside(a netip.Addr) (provider, address string) {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	network := netip.PrefixFrom(a, bits).Masked()
	for name, prefixes := range k.Allowed {
		for _, p := range prefixes {
			if network.Contains(p.Addr()) && (provider == "" || name < provider) {
				provider, address = name, strings.TrimSuffix(p.String(), fmt.Sprintf("/%d", p.Addr().BitLen()))
			}
		}
	}
	return provider, address
}

// isPhone reports whether a source behaves as a phone: it keeps trying, for few users.
func (k Known) isPhone(s Source) bool {
	return s.Users != 0 && s.Users != Several && s.Packets >= 3 && k.hasPhone(s)
}

// hasPhone reports whether the User-Agent is a phone's.
func (k Known) hasPhone(s Source) bool {
	agent := strings.ToLower(s.UserAgent)
	return slices.ContainsFunc(k.Phones, func(p string) bool { return strings.HasPrefix(agent, strings.ToLower(p)) })
}

// What says what a source has sent, as far as that is known.
func (s Source) What() string {
	var text strings.Builder
	text.WriteString(s.Method)
	switch {
	case s.Method == "" && s.Packets == 1:
		text.WriteString("1 packet")
	case s.Method == "":
		fmt.Fprintf(&text, "%d packets", s.Packets)
	case s.Users == Several:
		text.WriteString(" of several users")
	case s.Called != "":
		text.WriteString(" of " + s.Called)
	}
	switch {
	case s.Signature != "":
		text.WriteString(" by a scanner (" + s.Signature + ")")
	case s.UserAgent != "":
		text.WriteString(" by " + s.UserAgent)
	}
	return text.String()
}
