package site

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/resolve"
)

// Lists are the published lists of the policy's providers, each once.
func Lists(p *policy.Policy) []resolve.List {
	var lists []resolve.List
	for _, provider := range p.Providers {
		if provider.List == nil {
			continue
		}
		i := slices.IndexFunc(lists, func(l resolve.List) bool { return l.URL == provider.List.URL })
		if i < 0 {
			i = len(lists)
			lists = append(lists, resolve.List{URL: provider.List.URL, Format: provider.List.Format})
		}
		lists[i].Owners = append(lists[i].Owners, provider.Name)
		for _, a := range provider.Addresses {
			lists[i].Known = append(lists[i].Known, a.Masked())
		}
	}
	return lists
}

// published are the addresses that the lists of the policy's providers have, by the lists.
func published(p *policy.Policy, memory resolve.Memory) map[string][]policy.Address {
	lists := map[string][]policy.Address{}
	for _, provider := range p.Providers {
		if provider.List == nil || lists[provider.List.URL] != nil {
			continue
		}
		known := memory.Lists.Of(provider.List.URL)
		for _, listed := range known.Prefixes {
			lists[provider.List.URL] = append(lists[provider.List.URL], policy.Address{Prefix: listed.Prefix, From: known.Origin()})
		}
	}
	return lists
}

// bannedLists are warnings about bans that a list makes ineffective.
func bannedLists(s *Site) []notice.Notice {
	var warnings []notice.Notice
	for _, known := range s.Memory.Lists {
		for _, listed := range known.Prefixes {
			if i := slices.IndexFunc(s.Policy.Bans.Addresses, func(p netip.Prefix) bool { return p.Overlaps(listed.Prefix) }); i >= 0 {
				banned := s.Policy.Bans.Addresses[i]
				w := notice.Warningf(notice.BanHasNoEffect, "bans.addresses has %s, and what of it is in %s is allowed all the same: %s has it",
					banned, listed.Prefix, known.Origin())
				w.About = banned.String()
				warnings = append(warnings, w)
			}
		}
	}
	return warnings
}

// listsText says how many lists there are, and what they hold.
func listsText(m resolve.Memory) string {
	if len(m.Lists) == 0 {
		return ""
	}
	prefixes := 0
	for _, k := range m.Lists {
		prefixes += len(k.Prefixes)
	}
	return fmt.Sprintf(", %s with %s", notice.Count(len(m.Lists), "list"), notice.Count(prefixes, "prefix"))
}
