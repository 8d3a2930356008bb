package iptables

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// viewOf is what is read of a fence that is as it is wanted.
func viewOf(t *testing.T, s *ruleset.State) *view {
	t.Helper()
	l, err := layoutOf(s)
	if err != nil {
		t.Fatal(err)
	}
	v := &view{tables: map[where]savedTable{}, headers: map[string]setHeader{}, elements: map[string][]entry{}}
	for name, set := range withLatest(s).Sets {
		if h, err := headerOf(name, set); err == nil {
			v.headers[h.name] = h
			v.elements[h.name] = plain(prefixesOf(set.Elements))
		}
	}
	c := change{layout: l, want: s}
	for w, chains := range l {
		v.tables[w] = savedTable{}
		for name, lines := range chains {
			c := &savedChain{lines: slices.Clone(lines)}
			for i, line := range c.lines {
				c.lines[i] = lettered(line, letters[0])
			}
			v.tables[w][chainPrefix+letters[:1]+"-"+name] = c
		}
		for name, rule := range c.counterChains(w) {
			v.tables[w][name] = &savedChain{lines: []string{rule}}
		}
		for _, hook := range hooksOf(w.table) {
			v.tables[w][hook] = &savedChain{}
			if chain, ok := stageChain(s, w.table, hook); ok {
				v.tables[w][hook].lines = []string{"-j " + chainPrefix + letters[:1] + "-" + chain}
			}
		}
	}
	return v
}

// TestEachLineIsMissed: a fence is read as it was written, and each of its lines that is
// gone, or there twice, is a difference.
func TestEachLineIsMissed(t *testing.T) {
	// To read a fence takes a while: the short form changes each fiftieth line.
	lines, step := 0, 50
	if os.Getenv("RINGFENCE_LONG") != "" {
		step = 1
	}
	for _, text := range []string{
		"unknown: {action: register}\n",
		"unknown: {action: register}\nroaming: {match: address}\n",
		"unknown: {action: accept, allow_replies: true}\n",
		"unknown: {action: register}\nmode: monitor\n",
	} {
		p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{})
		if err != nil {
			t.Fatal(err)
		}
		want, _ := compile.State(p, nil, ruleset.Host{Forwards: true, Engine: "bpf", Classified: []string{"eth0"}})
		v := viewOf(t, want)
		if d := plan.Diff(v.state(), want); !d.Empty() {
			t.Fatalf("%q: a fence is read as another one: %+v\n%s", text, d.Changes, cmp.Diff(want.String(), v.state().String()))
		}
		for w, table := range v.tables {
			for _, name := range slices.Sorted(maps.Keys(table)) {
				whole := table[name].lines
				for i, line := range whole {
					if lines++; lines%step != 0 {
						continue
					}
					for _, changed := range [][]string{slices.Delete(slices.Clone(whole), i, i+1), slices.Insert(slices.Clone(whole), i, line)} {
						table[name].lines = changed
						if plan.Diff(v.state(), want).Empty() {
							t.Errorf("%q: nobody sees that chain %s (%s) is changed at line %q", text, name, w, line)
						}
					}
				}
				table[name].lines = whole
			}
		}
	}
	t.Logf("%d lines, each %dth was changed", lines, step)
}

// TestNoJumpLetsPass: what lets a packet pass returns, so that it must not be in a chain
// that another one than that of a stage jumps to: the packet would be judged again there.
func TestNoJumpLetsPass(t *testing.T) {
	jumps := 0
	for _, text := range []string{
		"unknown: {action: register}\n", "unknown: {action: accept}\n", "unknown: {action: register, allow_replies: true}\nroaming: {match: address}\n",
		"interfaces: [eth0, ppp0]\ntrusted: {addresses: [192.168.0.0/16], asymmetric: [10.0.0.0/8]}\nunknown: {action: register, require_user_agent: [Yealink]}\n",
	} {
		p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\n"+text), policy.Available{Engines: []policy.Engine{policy.EngineBPF}})
		if err != nil {
			t.Fatal(err)
		}
		state, _ := compile.State(p, nil, ruleset.Host{Forwards: true, Engine: "bpf", Classified: []string{"eth0"}})
		l, err := layoutOf(state)
		if err != nil {
			t.Fatal(err)
		}
		for w, chains := range l {
			var passes func(chain string) bool
			passes = func(chain string) bool {
				return slices.ContainsFunc(chains[chain], func(line string) bool {
					next, ok := leadsTo(line)
					return strings.Contains(line, "-g "+chainPrefix+"allowed_") || ok && passes(next)
				})
			}
			for name, lines := range chains {
				for _, line := range lines {
					next, ok := leadsTo(line)
					if !ok || state.Chains[name].Stage != "" || !strings.Contains(line, "-j "+letterMark) {
						continue
					}
					if jumps++; passes(next) {
						t.Errorf("%q: in chain %s (%s), what passes in %s comes back: %s", text, name, w, next, line)
					}
				}
			}
		}
	}
	if jumps == 0 {
		t.Error("no chain jumps to another one")
	}
}
