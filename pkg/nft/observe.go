package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// observation gathers the table from dumps.
type observation struct {
	reader    *reader
	state     *ruleset.State
	anonymous map[string]observedSet
}

// genID reads the kernel's ruleset generation.
func (r *reader) genID(ctx context.Context) (uint64, error) {
	b, err := r.get(ctx, unix.NFT_MSG_GETGEN)
	if errors.Is(err, unix.EINVAL) {
		// nfnetlink is there, but nf_tables is not.
		return 0, ErrUnsupported
	}
	if err != nil {
		return 0, err
	}
	id := attribute(b, unix.NFTA_GEN_ID)
	return number(id), nil
}

// table reads the whole table. The dumps are not one transaction: the caller
// compares the generation before and after.
func (r *reader) table(ctx context.Context) (*ruleset.State, error) {
	o := observation{reader: r, anonymous: map[string]observedSet{}}
	o.state = &ruleset.State{Sets: map[string]ruleset.Set{}, Chains: map[string]ruleset.Chain{}}
	b, err := r.get(ctx, unix.NFT_MSG_GETTABLE, ofTable())
	if errors.Is(err, unix.ENOENT) {
		return &ruleset.State{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read table: %w", err)
	}
	o.state.Exists = true
	o.state.Flags = tableFlags(b)
	for _, part := range []struct {
		name string
		read func(context.Context) error
	}{
		{"sets", o.sets},
		{"objects", o.objects},
		{"flowtables", o.flowtables},
		{"chains", o.chains},
		{"rules", o.rules},
	} {
		if err := part.read(ctx); err != nil {
			return nil, fmt.Errorf("read %s: %w", part.name, err)
		}
	}
	return o.state, nil
}

// The attributes that golang.org/x/sys/unix lacks, from
// linux/netfilter/nf_tables.h.
const (
	nftaTableUserdata  = 6
	nftaChainFlags     = 10
	nftaChainUserdata  = 12
	chainIsBase        = 1
	chainIsBound       = 4
	nftaFlowtableTable = 1
	nftaFlowtableName  = 2
)

func tableFlags(b []byte) string {
	var flags []string
	value := attribute(b, unix.NFTA_TABLE_FLAGS)
	bits := number(value)
	for _, f := range []struct {
		bit  uint64
		name string
	}{{1, "dormant"}, {2, "owner"}, {4, "persist"}} {
		if bits&f.bit != 0 {
			flags = append(flags, f.name)
			bits &^= f.bit
		}
	}
	if bits != 0 {
		flags = append(flags, fmt.Sprintf("0x%x", bits))
	}
	return strings.Join(append(flags, comment(b, nftaTableUserdata, commentOf)...), ", ")
}

// comment reads the comment that nft keeps in an object's user data: none or
// one text. The rest of user data is how nft remembers what to print.
func comment(b []byte, attributeKind uint16, commentKind userdata.Type) []string {
	data := attribute(b, attributeKind)
	if c, ok := userdata.GetString(data, commentKind); ok {
		return []string{"comment " + strconv.Quote(c)}
	}
	return nil
}

// commentOf is the type of a comment in the user data of tables, chains, rules
// and elements, libnftnl/udata.h. That of sets differs.
const commentOf userdata.Type = 0

// ofTable asks for our table only. In every message that names one, it is
// attribute 1.
func ofTable() netlink.Attribute { return textAttribute(unix.NFTA_TABLE_NAME, ruleset.Table) }

func (o *observation) objects(ctx context.Context) error {
	return o.reader.dump(ctx, unix.NFT_MSG_GETOBJ, func(b []byte) {
		name := attribute(b, unix.NFTA_OBJ_NAME)
		value := attribute(b, unix.NFTA_OBJ_TYPE)
		kind := uint32(number(value))
		if kind == unix.NFT_OBJECT_COUNTER {
			o.state.Counters = append(o.state.Counters, text(name))
			slices.Sort(o.state.Counters)
			return
		}
		o.state.ForeignObjects = append(o.state.ForeignObjects, ruleset.ForeignObject{Kind: objectKind(kind), Type: kind, Name: text(name)})
	}, ofTable())
}

func objectKind(kind uint32) string {
	names := map[uint32]string{
		unix.NFT_OBJECT_QUOTA: "quota", unix.NFT_OBJECT_CT_HELPER: "ct helper", unix.NFT_OBJECT_LIMIT: "limit",
		unix.NFT_OBJECT_CONNLIMIT: "ct count", unix.NFT_OBJECT_TUNNEL: "tunnel", unix.NFT_OBJECT_CT_TIMEOUT: "ct timeout",
		unix.NFT_OBJECT_SECMARK: "secmark", unix.NFT_OBJECT_CT_EXPECT: "ct expectation", unix.NFT_OBJECT_SYNPROXY: "synproxy",
	}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("object of type %d", kind)
}

func (o *observation) flowtables(ctx context.Context) error {
	return o.reader.dump(ctx, unix.NFT_MSG_GETFLOWTABLE, func(b []byte) {
		name := attribute(b, nftaFlowtableName)
		o.state.ForeignObjects = append(o.state.ForeignObjects, ruleset.ForeignObject{Kind: flowtable, Name: text(name)})
	}, ofTable())
}

const flowtable = "flowtable"

// chains reads the chains of all inet tables, because this dump knows no
// filter, and keeps ours.
func (o *observation) chains(ctx context.Context) error {
	return o.reader.dump(ctx, unix.NFT_MSG_GETCHAIN, func(b []byte) {
		if table := attribute(b, unix.NFTA_CHAIN_TABLE); text(table) != ruleset.Table {
			return
		}
		name := attribute(b, unix.NFTA_CHAIN_NAME)
		o.state.Chains[text(name)] = chain(b)
	})
}

// hooks of family inet, linux/netfilter.h.
var hooks = []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}

// stageHook is where the kernel calls a chain.
type stageHook struct {
	name     string
	number   *nftables.ChainHook
	priority int32
}

// stageHooks are those of the stages. All packets that are delivered or forwarded later
// pass prerouting. Linux 5.10 allows the lookup of the reverse path (fib) nowhere else
// (nft_fib_validate). Chains named raw are usually at -300, connection tracking at -200,
// the translation of destinations at -100, that of sources at 100, and helpers of
// connection tracking at 300 (linux/netfilter_ipv4.h).
var stageHooks = map[ruleset.Stage]stageHook{
	ruleset.BeforeTracking: {"prerouting", nftables.ChainHookPrerouting, -310},
	ruleset.AfterTracking:  {"prerouting", nftables.ChainHookPrerouting, -190},
	ruleset.BeforeFilter:   {"prerouting", nftables.ChainHookPrerouting, -10},
	ruleset.Leaving:        {"postrouting", nftables.ChainHookPostrouting, 310},
}

// baseChain is what makes a chain one that the kernel calls at a hook.
type baseChain struct {
	kind, hook, policy string
	priority           int32
}

// stage is that of the chain; for a chain of another program it is the name that nft has
// for its priority.
func (c baseChain) stage() ruleset.Stage {
	if c.hook == "" {
		return ""
	}
	for stage, hook := range stageHooks {
		if c == (baseChain{"filter", hook.name, "accept", hook.priority}) {
			return stage
		}
	}
	return ruleset.Stage(fmt.Sprintf("type %s hook %s priority %d policy %s", c.kind, c.hook, c.priority, c.policy))
}

func chain(b []byte) ruleset.Chain {
	var c ruleset.Chain
	var base baseChain
	var foreign []string
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_CHAIN_HOOK:
			for k, v := range attributes(value) {
				switch {
				case k == unix.NFTA_HOOK_HOOKNUM && number(v) < uint64(len(hooks)):
					base.hook = hooks[number(v)]
				case k == unix.NFTA_HOOK_PRIORITY:
					base.priority = int32(number(v))
				default:
					foreign = append(foreign, fmt.Sprintf("hook attribute %d = 0x%x", k, v))
				}
			}
		case unix.NFTA_CHAIN_TYPE:
			base.kind = text(value)
		case unix.NFTA_CHAIN_POLICY:
			base.policy = map[uint64]string{0: "drop", 1: "accept"}[number(value)]
		case unix.NFTA_CHAIN_COUNTERS:
			foreign = append(foreign, "counter")
		case nftaChainFlags:
			c.Bound = number(value)&chainIsBound != 0
			if flags := number(value) &^ (chainIsBase | chainIsBound); flags != 0 {
				foreign = append(foreign, fmt.Sprintf("flags 0x%x", flags))
			}
		}
	}
	c.Stage = base.stage()
	c.Foreign = strings.Join(append(foreign, comment(b, nftaChainUserdata, commentOf)...), ", ")
	return c
}

// rules reads the rules of all our chains, in order. It needs the sets and the
// chains read before.
func (o *observation) rules(ctx context.Context) error {
	return o.reader.dump(ctx, unix.NFT_MSG_GETRULE, func(b []byte) {
		name := attribute(b, unix.NFTA_RULE_CHAIN)
		data := attribute(b, unix.NFTA_RULE_EXPRESSIONS)
		rule := decode(expressions(data), o.anonymous)
		if c := comment(b, unix.NFTA_RULE_USERDATA, commentOf); len(c) > 0 {
			rule = ruleset.ForeignRule(rule.String() + " " + c[0]).ShownAs(rule.Shown() + " " + c[0])
		}
		c := o.state.Chains[text(name)]
		c.Rules = append(c.Rules, rule)
		o.state.Chains[text(name)] = c
	}, ofTable())
}
