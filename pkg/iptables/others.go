package iptables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ReadOthers reads what other programs have in tables of the legacy flavour that may work
// against a fence. (Those of the nft flavour are tables of nftables.) It runs no program,
// and tables that the kernel has not are not made.
func ReadOthers() ([]ruleset.OtherChain, error) {
	var chains []ruleset.OtherChain
	for _, v6 := range []bool{false, true} {
		if len(legacyTables(v6)) == 0 {
			continue
		}
		fd, err := tableSocket(v6)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		for _, table := range legacyPriorities {
			found, err := otherChains(fd, v6, table.name, table.priority)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return nil, fmt.Errorf("read table %s: %w", where{table.name, v6}, kernelError(err))
			}
			chains = append(chains, found...)
		}
	}
	return chains, nil
}

// legacyPriorities are the tables with the places of their chains among all
// (linux/netfilter_ipv4.h).
var legacyPriorities = []struct {
	name     string
	priority int
}{{"raw", -300}, {"mangle", manglePriority}, {"nat", -100}, {"filter", 0}, {"security", 50}}

const manglePriority = -150

// Where struct ipt_getinfo has the offsets of the chains of hooks and of their policies,
// by the number of the hook.
const (
	validHooks = 32
	hookStarts = 36
	hookEnds   = 56
)

// hookNames are those of chains by the numbers of hooks (linux/netfilter.h).
var hookNames = []struct{ chain, hook string }{
	{"PREROUTING", "prerouting"}, {"INPUT", "input"}, {"FORWARD", "forward"}, {"OUTPUT", "output"}, {"POSTROUTING", "postrouting"},
}

// otherChains are the chains of a table that are not ringfence's.
func otherChains(fd int, v6 bool, table string, priority int) ([]ruleset.OtherChain, error) {
	info, err := tableInfo(fd, v6, table)
	if err != nil {
		return nil, err
	}
	entries, err := rawTable(fd, v6, table)
	if err != nil {
		return nil, err
	}
	of := offsetsOf(v6)
	chain := func(name, hook string) ruleset.OtherChain {
		family, program := "ip", "iptables-legacy"
		if v6 {
			family, program = "ip6", "ip6tables-legacy"
		}
		return ruleset.OtherChain{Table: family + " " + table, Program: program + " -t " + table, Name: name, Hook: hook, Priority: priority}
	}
	var chains []ruleset.OtherChain
	starts := chainStarts(of, entries)
	at := 0
	for e := range of.entries(entries) {
		start := int(binary.NativeEndian.Uint16(e[of.target:]))
		if start+targetHead > len(e) {
			break
		}
		target := unix.ByteSliceToString(e[start+targetName : start+targetHead])
		if hook, ok := hookAt(info, hookStarts, at); ok {
			chains = append(chains, chain(hookNames[hook].chain, hookNames[hook].hook))
		}
		if target == chainStart {
			chains = append(chains, chain(unix.ByteSliceToString(e[start+targetHead:]), ""))
		} else if len(chains) > 0 {
			last := &chains[len(chains)-1]
			rule := ruleOf(e, of, start, target, starts)
			if _, ends := hookAt(info, hookEnds, at); ends {
				last.Drops = rule.Drops
			} else {
				last.Rules = append(last.Rules, rule)
			}
		}
		at += len(e)
	}
	others := chains[:0]
	for _, c := range chains {
		if !strings.HasPrefix(c.Name, chainPrefix) && c.Name != chainStart {
			others = append(others, c)
		}
	}
	return others, nil
}

// hookAt returns the hook whose chain begins, or whose policy is, at an offset.
func hookAt(info []byte, list, at int) (hook int, ok bool) {
	valid := binary.NativeEndian.Uint32(info[validHooks:])
	for hook := range hookNames {
		if valid&(1<<hook) != 0 && int(binary.NativeEndian.Uint32(info[list+4*hook:])) == at {
			return hook, true
		}
	}
	return 0, false
}

// chainStarts are the names of the chains that rules can lead to, by the places of their
// first rules.
func chainStarts(of offsets, entries []byte) map[int]string {
	starts := map[int]string{}
	at := 0
	for e := range of.entries(entries) {
		start := int(binary.NativeEndian.Uint16(e[of.target:]))
		if start+targetHead > len(e) {
			break
		}
		at += len(e)
		if unix.ByteSliceToString(e[start+targetName:start+targetHead]) == chainStart {
			starts[at] = unix.ByteSliceToString(e[start+targetHead:])
		}
	}
	return starts
}

// What a verdict is for the kernel: -NF_DROP-1, -NF_ACCEPT-1 and XT_RETURN. That which is
// no verdict is the place of the rule with which it goes on.
const (
	verdictDrop   = -1
	verdictAccept = -2
	verdictReturn = -5
)

// ruleOf reads what a rule looks for and does. starts are the chains that it may lead to.
func ruleOf(e []byte, of offsets, start int, target string, starts map[int]string) ruleset.OtherRule {
	var r ruleset.OtherRule
	leaves := readHead(&r, e, of)
	const matchHead = 32 // struct xt_entry_match
	for at := of.counters + 16; at+matchHead <= start; {
		size := int(binary.NativeEndian.Uint16(e[at:]))
		if size < matchHead || at+size > start {
			break
		}
		r.ReadMatch(unix.ByteSliceToString(e[at+2:at+matchHead]), e[at+matchHead:at+size])
		at += size
	}
	data := e[start+targetHead:]
	if target == "" && len(data) >= 4 {
		verdict := int32(binary.NativeEndian.Uint32(data))
		r.Drops, r.Accepts = verdict == verdictDrop, verdict == verdictAccept
		r.Leads = starts[int(verdict)]
		r.Leaves = r.Drops || r.Accepts || verdict == verdictReturn || leaves && r.Leads != ""
	}
	r.ReadTarget(target, data)
	return r
}

// heads are where struct ipt_ip and struct ip6t_ip6 have what a rule looks for besides its
// matches, and what of it is inverted.
var heads = map[bool]struct{ address, in, out, protocol, flags, inverted, goes int }{
	false: {4, 16, 32, 80, 82, 83, 2},
	true:  {16, 64, 80, 128, 131, 132, 4},
}

// The bits of what is inverted, which are the same for both families, and of the flags
// that says that only fragments are meant.
const (
	invertedIn       = 0x01
	invertedSource   = 0x08
	invertedProtocol = 0x40
	onlyFragments    = 0x01
)

// readHead reads what a rule looks for besides its matches. It reports whether packets do
// not come back from the chain that the rule leads to.
func readHead(r *ruleset.OtherRule, e []byte, of offsets) (leaves bool) {
	v6 := of == offsetsOf(true)
	h := heads[v6]
	inverted, flags := e[h.inverted], e[h.flags]
	const nameSize = 16
	name := unix.ByteSliceToString(e[h.in : h.in+nameSize])
	// A mask that is shorter than the name with its end is for a name that goes on.
	mask := e[h.in+2*nameSize : h.in+3*nameSize]
	if name != "" {
		if len(name) < nameSize && mask[len(name)] == 0 {
			name += "*"
		}
		r.AddCondition(ruleset.Condition{Not: inverted&invertedIn != 0, Interfaces: []string{name}})
	}
	if source := maskedPrefix(e[:h.address], e[2*h.address:3*h.address]); source.Bits() != 0 {
		c := ruleset.Condition{Not: inverted&invertedSource != 0}
		if source.IsValid() {
			c.Sources = []netip.Prefix{source}
		}
		r.AddCondition(c)
	}
	if p := binary.NativeEndian.Uint16(e[h.protocol:]); p != 0 {
		r.AddCondition(ruleset.Condition{Not: inverted&invertedProtocol != 0, Protocols: []ruleset.Protocol{protocolOf(p)}})
	}
	to := maskedPrefix(e[h.address:2*h.address], e[3*h.address:4*h.address])
	r.Partly = r.Partly || to.Bits() != 0 || e[h.out] != 0 || !v6 && flags&onlyFragments != 0
	return flags&byte(h.goes) != 0
}

// maskedPrefix is the prefix of an address and its mask; an invalid one for a mask that no
// prefix has.
func maskedPrefix(address, mask []byte) netip.Prefix {
	ones, bits := net.IPMask(mask).Size()
	a, ok := netip.AddrFromSlice(address)
	if !ok || bits == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, ones)
}

func protocolOf(number uint16) ruleset.Protocol {
	known := map[uint16]ruleset.Protocol{
		unix.IPPROTO_UDP: ruleset.UDP, unix.IPPROTO_TCP: ruleset.TCP,
		unix.IPPROTO_SCTP: ruleset.SCTP, unix.IPPROTO_DCCP: ruleset.DCCP, unix.IPPROTO_UDPLITE: ruleset.UDPLite,
	}
	if p, ok := known[number]; ok {
		return p
	}
	return ruleset.OtherProtocol
}

// ReadProxies reads the ways by which rules of the legacy flavour hand packets to servers
// on other ports: TPROXY, which only the table mangle has. It costs little where there is
// none.
func ReadProxies() ([]ruleset.Proxy, error) {
	var ways []ruleset.Proxy
	for _, v6 := range []bool{false, true} {
		if !slices.Contains(legacyTables(v6), proxyTable) {
			continue
		}
		found, err := readProxies(v6)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("read table %s: %w", where{proxyTable, v6}, kernelError(err))
		}
		ways = append(ways, found...)
	}
	return ways, nil
}

const proxyTable = "mangle"

func readProxies(v6 bool) ([]ruleset.Proxy, error) {
	fd, err := tableSocket(v6)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	entries, err := rawTable(fd, v6, proxyTable)
	if err != nil || !bytes.Contains(entries, []byte("TPROXY\x00")) {
		return nil, err
	}
	chains, err := otherChains(fd, v6, proxyTable, manglePriority)
	return ruleset.Proxies(chains), err
}
