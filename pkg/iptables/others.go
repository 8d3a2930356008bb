package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"
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
}{{"raw", -300}, {"mangle", -150}, {"nat", -100}, {"filter", 0}, {"security", 50}}

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
			rule := ruleOf(e, of, start, target)
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

// What a verdict is for the kernel: -NF_DROP-1 and -NF_ACCEPT-1.
const (
	verdictDrop   = -1
	verdictAccept = -2
)

// ruleOf reads what a rule looks for and does.
func ruleOf(e []byte, of offsets, start int, target string) ruleset.OtherRule {
	var r ruleset.OtherRule
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
	}
	r.ReadTarget(target, data)
	return r
}
