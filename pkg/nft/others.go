package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// families are those that packets to a SIP port can pass.
var families = []struct {
	number byte
	name   string
	hooks  []string
}{
	{unix.NFPROTO_INET, "inet", hooks},
	{unix.NFPROTO_IPV4, "ip", hooks},
	{unix.NFPROTO_IPV6, "ip6", hooks},
	{unix.NFPROTO_BRIDGE, "bridge", hooks},
	{unix.NFPROTO_NETDEV, "netdev", []string{"ingress", "egress"}},
}

// ReadOthers reads what other programs have in nftables that may work against a fence.
// What it does not understand of a rule it passes over.
func ReadOthers(ctx context.Context) (ruleset.Others, error) {
	var all ruleset.Others
	for _, f := range families {
		for range maxDumps {
			found, err := readOthers(ctx, f.number, f.name, f.hooks)
			if errors.Is(err, errInterrupted) {
				continue
			}
			if err != nil {
				return all, fmt.Errorf("read tables of others: %w", err)
			}
			all.Chains = append(all.Chains, found.Chains...)
			all.Flowtables = append(all.Flowtables, found.Flowtables...)
			all.Compatible = append(all.Compatible, found.Compatible...)
			all.SIPHelpers = append(all.SIPHelpers, found.SIPHelpers...)
			break
		}
	}
	return all, nil
}

// others gathers what other programs have in one family.
type others struct {
	ruleset.Others
	reader *reader
	family string
	hooks  []string
	index  map[[2]string]int // of chains, by table and name
	// uses is how often each chain is used, by its rules and by what leads to it.
	uses []int
}

func readOthers(ctx context.Context, family byte, name string, hooks []string) (ruleset.Others, error) {
	r, err := newReader()
	if err != nil {
		return ruleset.Others{}, err
	}
	defer r.close()
	r.family = family
	o := others{reader: r, family: name, hooks: hooks, index: map[[2]string]int{}}
	for _, read := range []func(context.Context) error{o.chains, o.rules, o.flowtables, o.objects} {
		if err := read(ctx); err != nil {
			return ruleset.Others{}, err
		}
	}
	return o.Others, nil
}

func (o *others) ours(table string) bool { return o.family == "inet" && table == ruleset.Table }

func (o *others) chains(ctx context.Context) error {
	return o.reader.dump(ctx, unix.NFT_MSG_GETCHAIN, func(b []byte) {
		table, name, policy, hook := attribute(b, unix.NFTA_CHAIN_TABLE), attribute(b, unix.NFTA_CHAIN_NAME), attribute(b, unix.NFTA_CHAIN_POLICY), attribute(b, unix.NFTA_CHAIN_HOOK)
		if o.ours(text(table)) {
			return
		}
		c := ruleset.OtherChain{Table: o.family + " " + text(table), Name: text(name)}
		if len(hook) > 0 {
			number32, priority := attribute(hook, unix.NFTA_HOOK_HOOKNUM), attribute(hook, unix.NFTA_HOOK_PRIORITY)
			if n := number(number32); n < uint64(len(o.hooks)) {
				c.Hook = o.hooks[n]
			}
			c.Priority = int(int32(number(priority)))
			c.Drops = len(policy) > 0 && number(policy) == 0
		}
		o.index[[2]string{text(table), text(name)}] = len(o.Chains)
		o.Chains = append(o.Chains, c)
		uses := attribute(b, unix.NFTA_CHAIN_USE)
		o.uses = append(o.uses, int(number(uses)))
	})
}

// usedBy is a rule that uses a set.
type usedBy struct {
	lookup
	table       string
	chain, rule int
}

func (o *others) rules(ctx context.Context) error {
	var lookups []usedBy
	compatible := map[string]bool{}
	err := o.reader.dump(ctx, unix.NFT_MSG_GETRULE, func(b []byte) {
		table, chain := attribute(b, unix.NFTA_RULE_TABLE), attribute(b, unix.NFTA_RULE_CHAIN)
		i, ok := o.index[[2]string{text(table), text(chain)}]
		if !ok {
			return
		}
		data := attribute(b, unix.NFTA_RULE_EXPRESSIONS)
		list := expressions(data)
		rule, sets := understood(list)
		for _, l := range sets {
			lookups = append(lookups, usedBy{l, text(table), i, len(o.Chains[i].Rules)})
		}
		if slices.ContainsFunc(list, func(e expression) bool { return e.name == "match" || e.name == "target" }) {
			compatible[o.Chains[i].Table] = true
		}
		if strings.HasPrefix(rule.Helper, "sip") {
			o.SIPHelpers = append(o.SIPHelpers, fmt.Sprintf("%s of chain %s of table %s", rule.Helper, o.Chains[i].Name, o.Chains[i].Table))
		}
		o.uses[i]--
		if leads, ok := o.index[[2]string{text(table), rule.Leads}]; ok {
			o.uses[leads]--
		}
		o.Chains[i].Rules = append(o.Chains[i].Rules, rule)
	})
	if err != nil {
		return err
	}
	for i, left := range o.uses {
		o.Chains[i].Mapped = left > 0
	}
	for _, l := range lookups {
		if err := o.lookUp(ctx, l); err != nil {
			return err
		}
	}
	for table := range compatible {
		o.Compatible = append(o.Compatible, table)
	}
	slices.Sort(o.Compatible)
	return nil
}

// lookUp reads a set, and adds to the rule that uses it what that says.
func (o *others) lookUp(ctx context.Context, l usedBy) error {
	points, err := o.reader.elementsOf(ctx, l.table, l.set)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	chain := &o.Chains[l.chain]
	if l.proxied {
		chain.Rules = append(chain.Rules, proxiedBy(chain.Rules[l.rule], l.what, points)...)
		return nil
	}
	rule := &chain.Rules[l.rule]
	c := ruleset.Condition{Not: l.not}
	switch l.what {
	case destinationPort:
		c.Ports = portsOf(points)
		if !l.not && len(c.Ports) == 0 {
			// It meets no packet as long as the set is empty.
			rule.Proxied, rule.Leads, rule.Partly = 0, "", true
			return nil
		}
		if !l.not {
			rule.Ports = append(rule.Ports, c.Ports...)
			return nil
		}
	case incomingName:
		for _, p := range points {
			c.Interfaces = append(c.Interfaces, unix.ByteSliceToString(p.key))
		}
	case transportProtocol:
		for _, p := range points {
			if len(p.key) == 1 {
				c.Protocols = append(c.Protocols, protocolsOf(p.key[0])...)
			}
		}
	case sourceAddress4, sourceAddress6:
		c.Sources = prefixesOf(points)
	}
	rule.AddCondition(c)
	return nil
}

// proxiedBy are rules like one that takes the port of the server from a map: one for each
// port in it.
func proxiedBy(rule ruleset.OtherRule, key content, points []point) []ruleset.OtherRule {
	var rules []ruleset.OtherRule
	for _, p := range points {
		if len(p.data) != 2 {
			continue
		}
		r := rule
		r.Proxied = binary.BigEndian.Uint16(p.data)
		ranges := slices.ContainsFunc(points, func(p point) bool { return p.end })
		if key == destinationPort && len(p.key) == 2 && !ranges {
			r.Ports = [][2]uint16{{binary.BigEndian.Uint16(p.key), binary.BigEndian.Uint16(p.key)}}
		}
		rules = append(rules, r)
	}
	return rules
}

// prefixesOf are the addresses of a set, which may be one of ranges; none if they are not
// understood.
func prefixesOf(points []point) []netip.Prefix {
	var all netipx.IPSetBuilder
	ranges := slices.ContainsFunc(points, func(p point) bool { return p.end })
	slices.SortFunc(points, func(a, b point) int { return slices.Compare(a.key, b.key) })
	for i, p := range points {
		a, ok := netip.AddrFromSlice(p.key)
		last := a
		switch {
		case !ok:
			return nil
		case p.end:
			continue
		case ranges && i+1 < len(points):
			next, _ := netip.AddrFromSlice(points[i+1].key)
			last = next.Prev()
		case ranges:
			last = netipx.PrefixLastIP(netip.PrefixFrom(a, 0))
		}
		all.AddRange(netipx.IPRangeFrom(a, last))
	}
	set, err := all.IPSet()
	if err != nil {
		return nil
	}
	return set.Prefixes()
}

// portsOf are the ports of a set, which may be one of ranges.
func portsOf(points []point) [][2]uint16 {
	points = slices.DeleteFunc(points, func(p point) bool { return len(p.key) != 2 })
	slices.SortFunc(points, func(a, b point) int { return slices.Compare(a.key, b.key) })
	ranges := slices.ContainsFunc(points, func(p point) bool { return p.end })
	var ports [][2]uint16
	for i, p := range points {
		first := binary.BigEndian.Uint16(p.key)
		switch {
		case p.end:
		case ranges && i+1 < len(points):
			ports = append(ports, [2]uint16{first, binary.BigEndian.Uint16(points[i+1].key) - 1})
		case ranges:
			ports = append(ports, [2]uint16{first, 65535})
		default:
			ports = append(ports, [2]uint16{first, first})
		}
	}
	return ports
}

func (o *others) flowtables(ctx context.Context) error {
	if o.family == "bridge" || o.family == "netdev" {
		return nil
	}
	return o.reader.dump(ctx, unix.NFT_MSG_GETFLOWTABLE, func(b []byte) {
		table, name := attribute(b, nftaFlowtableTable), attribute(b, nftaFlowtableName)
		if !o.ours(text(table)) {
			o.Flowtables = append(o.Flowtables, fmt.Sprintf("%s of table %s %s", text(name), o.family, text(table)))
		}
	})
}

// nftaHelperName is NFTA_CT_HELPER_NAME of linux/netfilter/nf_tables.h.
const nftaHelperName = 1

func (o *others) objects(ctx context.Context) error {
	return o.reader.dump(ctx, unix.NFT_MSG_GETOBJ, func(b []byte) {
		table, name, kind, data := attribute(b, unix.NFTA_OBJ_TABLE), attribute(b, unix.NFTA_OBJ_NAME), attribute(b, unix.NFTA_OBJ_TYPE), attribute(b, unix.NFTA_OBJ_DATA)
		helper := attribute(data, nftaHelperName)
		if number(kind) == unix.NFT_OBJECT_CT_HELPER && strings.HasPrefix(text(helper), "sip") {
			o.SIPHelpers = append(o.SIPHelpers, fmt.Sprintf("%s of table %s %s", text(name), o.family, text(table)))
		}
	})
}
