package iptables

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ringfence/ringfence/pkg/backend"
)

// needs are the modules that rules need, with a line that needs each. The other flavour
// writes some with expressions of nf_tables, which have modules of their own, and counts with
// one in each line.
var needs = []struct {
	module, line string
	v6           bool
	native       string
}{
	{"", "-j RETURN", false, "nft_counter"}, // newer kernels have it in nf_tables itself
	{"xt_multiport", "-p 17 -m multiport --dports 1", false, ""},
	{"xt_set", "-m set --match-set " + needSet + " src", false, ""},
	{"xt_set (target SET)", "-j SET --add-set " + needSet + " src --exist --timeout 1", false, ""},
	{"xt_mark", "-m mark --mark 0x1/0x1", false, ""},
	{"xt_mark (target MARK)", "-j MARK --set-xmark 0x0/0x1", false, ""},
	{"xt_addrtype", "-m addrtype --src-type UNICAST", false, ""},
	{"xt_conntrack", "-m conntrack --ctdir REPLY", false, ""},
	{"ipt_rpfilter", "-m rpfilter --invert", false, ""},
	{"ip6t_rpfilter", "-m rpfilter --invert", true, ""},
	{"ip6t_frag", "-m frag --fragfirst", true, ""},
	{"xt_u32", u32Match + `"0x0=0x0"`, false, ""},                              // only with unknown.action: register, or with guessing
	{"xt_tcpudp", "-p 6 " + openingMatch, false, ""},                           // as xt_u32
	{"xt_string", payloadMatch + `"x"` + payloadHow, false, ""},                // only with signatures.engine: string
	{"xt_NFLOG and nfnetlink_log", logTarget + "x" + logHow, false, "nft_log"}, // only with events.keep
}

// needSet and needChain are only there while it is looked for what is missing.
const (
	needSet   = setPrefix + "needed" + freshSuffix
	needChain = chainPrefix + "needed"
)

// explain finds out which module a change lacks that was refused.
func (c *change) explain(ctx context.Context, failure error) error {
	if errors.Is(failure, backend.ErrPermission) || errors.Is(failure, backend.ErrUnsupported) {
		return failure
	}
	// Without its table, no rule would be accepted there.
	for _, w := range allPlaces() {
		if _, wanted := c.layout[w]; !wanted {
			continue
		}
		if err := c.try(ctx, w); err != nil {
			return fmt.Errorf("%w: %w", missing(fmt.Sprintf("iptables here lacks a table (%s): load the module %s", w, c.tableModule(w))), failure)
		}
	}
	set := setHeader{name: needSet, typeName: addressType, revision: addressRevision, family: 2, maxElem: 1, timeout: true}
	if err := c.sets.create(ctx, set); err != nil && !errors.Is(err, errSetExist) {
		return failure
	}
	defer func() { _ = c.sets.destroy(ctx, needSet) }()
	for _, n := range needs {
		if begins := beginning(n.line); begins != "" && !c.writes(begins) {
			continue
		}
		w := where{"raw", n.v6}
		if err := c.try(ctx, w, "[0:0] -A "+needChain+" "+n.line); err != nil {
			module, load := n.module, "load that module"
			if c.tool.flavour == NFT {
				module = strings.TrimPrefix(module+", "+cmp.Or(n.native, "nft_compat"), ", ")
				load = "load what is missing of these modules"
			}
			return fmt.Errorf("%w: %w", missing("iptables here lacks "+module+": "+load+", or install the package of the kernel's extra modules"), failure)
		}
	}
	return failure
}

// try makes a chain with lines in a table, and removes it.
func (c *change) try(ctx context.Context, w where, lines ...string) error {
	err := c.tool.restore(ctx, w, append([]string{":" + needChain + " - [0:0]"}, lines...))
	_ = c.tool.restore(ctx, w, []string{"-F " + needChain, "-X " + needChain})
	return err
}

// tableModule is the module that has a table.
func (c *change) tableModule(w where) string {
	switch {
	case c.tool.flavour == NFT:
		return "nf_tables"
	case w.v6:
		return "ip6table_" + w.table
	}
	return "iptable_" + w.table
}

// beginning are words that only the lines of some policies have, "" if all do.
func beginning(line string) string {
	for _, begins := range []string{payloadMatch, logTarget, u32Match, openingMatch} {
		if strings.Contains(line, begins) {
			return begins
		}
	}
	return ""
}

// writes reports whether a rule that is wanted holds some words.
func (c *change) writes(words string) bool {
	for _, chains := range c.layout {
		for _, lines := range chains {
			for _, line := range lines {
				if strings.Contains(line, words) {
					return true
				}
			}
		}
	}
	return false
}
