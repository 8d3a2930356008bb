package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Changes says what differs between two policies, one line for each key, named and
// written as in the file: "mode: monitor -> enforce". It is empty if they say the same,
// whatever their texts are.
func Changes(then, now *Policy) []string {
	var lines []string
	for _, key := range keys {
		if was, is := key.value(then), key.value(now); !slices.Equal(was, is) {
			lines = append(lines, key.name+": "+key.change(was, is))
		}
	}
	return append(lines, providerChanges(then.Providers, now.Providers)...)
}

// key is a key of the file with its value, a list of one where the key has no list.
type key struct {
	name  string
	list  bool
	value func(*Policy) []string
}

// keys are those of the whole file but providers.
var keys = []key{
	one("mode", func(p *Policy) string { return choose(p.Monitor, "monitor", "enforce") }),
	one("backend", func(p *Policy) string { return string(p.Backend) }),
	many("interfaces", func(p *Policy) []string { return p.Interfaces }),
	many("ports.udp", func(p *Policy) []string { return portTexts(p.Ports.UDP) }),
	many("ports.tcp", func(p *Policy) []string { return portTexts(p.Ports.TCP) }),
	many("trusted.hosts", func(p *Policy) []string { return p.Trusted.Hosts }),
	many("trusted.addresses", func(p *Policy) []string { return prefixTexts(p.Trusted.Addresses) }),
	many("trusted.interfaces", func(p *Policy) []string { return p.Trusted.Interfaces }),
	many("trusted.asymmetric", func(p *Policy) []string { return prefixTexts(p.Trusted.Asymmetric) }),
	one("unknown.action", func(p *Policy) string { return string(p.Unknown.Action) }),
	one("unknown.rate", func(p *Policy) string { return p.Unknown.Rate.String() }),
	one("unknown.allow_replies", func(p *Policy) string { return strconv.FormatBool(p.Unknown.AllowReplies) }),
	many("unknown.require_user_agent", func(p *Policy) []string { return quotedAll(p.Unknown.RequireUserAgent) }),
	one("signatures.engine", func(p *Policy) string { return string(p.Signatures.Engine) }),
	many("signatures.presets", func(p *Policy) []string { return p.Signatures.Presets }),
	many("signatures.deny", func(p *Policy) []string { return denied(p.Signatures.Deny) }),
	many("signatures.except", func(p *Policy) []string { return p.Signatures.Except }),
	one("signatures.mark", func(p *Policy) string { return fmt.Sprintf("%#08x", p.Signatures.Mark) }),
	one("bans.duration", func(p *Policy) string { return DurationText(p.Bans.Duration) }),
	one("bans.size", func(p *Policy) string { return fmt.Sprint(p.Bans.Size) }),
	many("bans.addresses", func(p *Policy) []string { return prefixTexts(p.Bans.Addresses) }),
	one("guessing.failures", func(p *Policy) string { return fmt.Sprint(p.Guessing.Failures) }),
	one("guessing.within", func(p *Policy) string { return DurationText(p.Guessing.Within) }),
	one("roaming.life", func(p *Policy) string { return DurationText(p.Roaming.Life) }),
	one("roaming.match", func(p *Policy) string { return string(p.Roaming.Match) }),
	one("events.keep", func(p *Policy) string { return DurationText(p.Events.Keep) }),
	many("dns.servers", func(p *Policy) []string { return texts(p.DNS.Servers) }),
	one("dns.refresh.min", func(p *Policy) string { return DurationText(p.DNS.Min) }),
	one("dns.refresh.max", func(p *Policy) string { return DurationText(p.DNS.Max) }),
	one("dns.hold", func(p *Policy) string { return DurationText(p.DNS.Hold) }),
	one("dns.stale_alarm", func(p *Policy) string { return DurationText(p.DNS.StaleAlarm) }),
}

func one(name string, value func(*Policy) string) key {
	return key{name, false, func(p *Policy) []string { return []string{value(p)} }}
}

func many(name string, value func(*Policy) []string) key { return key{name, true, value} }

// mostShown is how many entries of a list are written out.
const mostShown = 8

// change writes what was and what is. Of long lists it writes what has come and gone.
func (k key) change(was, is []string) string {
	if !k.list {
		return was[0] + " -> " + is[0]
	}
	if len(was)+len(is) <= mostShown {
		return fmt.Sprintf("[%s] -> [%s]", strings.Join(was, ", "), strings.Join(is, ", "))
	}
	var parts []string
	for _, side := range []struct {
		word       string
		all, other []string
	}{{"added", is, was}, {"removed", was, is}} {
		known := map[string]bool{}
		for _, text := range side.other {
			known[text] = true
		}
		var changed []string
		for _, text := range side.all {
			if !known[text] {
				changed = append(changed, text)
			}
		}
		if more := len(changed) - mostShown; more > 0 {
			changed = append(changed[:mostShown], fmt.Sprintf("and %d more", more))
		}
		if len(changed) > 0 {
			parts = append(parts, side.word+" "+strings.Join(changed, ", "))
		}
	}
	if len(parts) == 0 {
		return "in another order"
	}
	return strings.Join(parts, "; ")
}

// providerKeys are the keys of one provider.
var providerKeys = []struct {
	name  string
	value func(Provider) []string
}{
	{"preset", func(p Provider) []string { return []string{p.Preset} }},
	{"registrars", func(p Provider) []string {
		var list []string
		for _, r := range p.Registrars {
			list = append(list, r.Text)
		}
		return list
	}},
	{"addresses", func(p Provider) []string {
		var list []string
		for _, a := range p.Addresses {
			list = append(list, prefixText(a.Prefix))
		}
		return list
	}},
	{"dns", func(p Provider) []string { return texts(p.DNS) }},
}

// providerChanges compares the providers by their names.
func providerChanges(then, now []Provider) []string {
	byName := func(list []Provider) map[string]Provider {
		known := map[string]Provider{}
		for _, p := range list {
			known[p.Name] = p
		}
		return known
	}
	before, after := byName(then), byName(now)
	var lines []string
	for _, p := range then {
		if _, ok := after[p.Name]; !ok {
			lines = append(lines, "providers: "+p.Name+" removed")
		}
	}
	for _, p := range now {
		was, ok := before[p.Name]
		if !ok {
			lines = append(lines, "providers: "+p.Name+" added")
			continue
		}
		for _, k := range providerKeys {
			if a, b := k.value(was), k.value(p); !slices.Equal(a, b) {
				lines = append(lines, "providers: "+p.Name+" "+k.name+": "+key{list: true}.change(a, b))
			}
		}
	}
	return lines
}

func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

func portTexts(ports []uint16) []string {
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Itoa(int(p)))
	}
	return list
}

func prefixTexts(prefixes []netip.Prefix) []string {
	var list []string
	for _, p := range prefixes {
		list = append(list, prefixText(p))
	}
	return list
}

// prefixText writes a single address without its length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func texts[T fmt.Stringer](values []T) []string {
	var list []string
	for _, v := range values {
		list = append(list, v.String())
	}
	return list
}

func quotedAll(values []string) []string {
	var list []string
	for _, v := range values {
		list = append(list, strconv.Quote(v))
	}
	return list
}

func denied(list []Signature) []string {
	var lines []string
	for _, s := range list {
		var conditions []string
		for _, c := range s.Conditions {
			conditions = append(conditions, fmt.Sprintf("%s %s %q", c.Header, c.Match, c.Value))
		}
		lines = append(lines, s.Name+" ("+strings.Join(conditions, " and ")+")")
	}
	return lines
}
