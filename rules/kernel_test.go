package rules_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"

	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/control"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/nft"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/rules"
)

func shipped(t *testing.T) map[string]rules.Provider {
	t.Helper()
	providers, err := rules.Providers()
	labtest.Must(t, err)
	if len(providers) < 30 {
		t.Fatalf("only %d providers", len(providers))
	}
	return providers
}

// TestProviders looks for what a single file cannot know of itself.
func TestProviders(t *testing.T) {
	titles := map[string]string{}
	for name, p := range shipped(t) {
		if other, ok := titles[p.Title]; ok {
			t.Errorf("%s and %s have one title, %q", name, other, p.Title)
		}
		titles[p.Title] = name
		checked, err := time.Parse(time.DateOnly, p.Checked)
		labtest.Must(t, err)
		if checked.After(time.Now()) {
			t.Errorf("%s was checked on %s, which is still to come", name, p.Checked)
		}
	}
}

// available offers all shipped providers to a policy.
func available(t *testing.T) policy.Available {
	t.Helper()
	presets := policy.PresetMap{}
	for name, p := range shipped(t) {
		prefixes, err := p.Prefixes()
		labtest.Must(t, err)
		preset := policy.Preset{Registrars: p.Registrars, Addresses: prefixes, Parameters: p.Parameters}
		presets[name] = preset
	}
	return policy.Available{Presets: presets, SignatureLists: []string{"scanners"}}
}

// TestProvidersInKernel takes every preset from the lines that a policy has for
// it into the kernel, each alone and then all at once, with networks that
// overlap theirs and lie beside them. What was listed is in the kernel's set,
// and nothing beside it.
func TestProvidersInKernel(t *testing.T) {
	providers, offered := shipped(t), available(t)
	names := slices.Sorted(maps.Keys(providers))
	h := labtest.Host(t, "pbx")
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			p := providers[name]
			want := load(t, h, offered, p.PolicyLines(p.Examples()))
			if want.Prefixes() == nil {
				t.Error("the preset allows nobody")
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		var lines, around []string
		for _, name := range names {
			lines = append(lines, providers[name].PolicyLines(providers[name].Examples())...)
			preset, err := offered.Presets.Preset(name)
			labtest.Must(t, err)
			for i, prefix := range preset.Addresses {
				around = append(around, neighbour(prefix, i).String())
			}
		}
		load(t, h, offered, lines)
		slices.Sort(around)
		load(t, h, offered, append(lines, "- name: neighbours", "  addresses: ["+strings.Join(quoted(slices.Compact(around)), ", ")+"]"))
		load(t, h, offered, lines)
	})
}

// neighbour is the network beside a prefix, or the one around it.
func neighbour(p netip.Prefix, i int) netip.Prefix {
	if i%2 == 0 {
		return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
	}
	return netip.PrefixFrom(netipx.PrefixLastIP(p).Next(), p.Bits())
}

func quoted(texts []string) []string {
	var list []string
	for _, text := range texts {
		list = append(list, fmt.Sprintf("%q", text))
	}
	return list
}

// load puts a policy with the given providers into force on the host, where each
// name has two addresses, and compares the kernel's sets with what is allowed.
func load(t *testing.T, h *lab.Namespace, offered policy.Available, lines []string) *netipx.IPSet {
	t.Helper()
	p, err := policy.Parse("policy.yaml", strings.NewReader("version: 1\nproviders:\n"+strings.Join(lines, "\n")+"\n"), offered)
	labtest.Must(t, err)
	answers := map[compile.Name][]compile.Address{}
	allowed := p.Allowed()
	for i, n := range compile.Names(p) {
		for _, text := range []string{fmt.Sprintf("198.18.%d.%d", i/256, i%256), fmt.Sprintf("2001:2::%x", i)} {
			a := netip.MustParseAddr(text)
			answers[n] = append(answers[n], compile.Address{Addr: a, Via: "A"})
			allowed = append(allowed, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	state, origins := compile.State(p, answers, ruleset.Host{})
	desired := control.Desired{State: state, Will: origins}
	controller := control.Controller{Kernel: &nft.Kernel{}}
	sync := func() (done *plan.Plan) {
		labtest.In(t, h, func() (err error) {
			done, err = controller.Sync(t.Context(), desired, func(*plan.Plan) error { return nil })
			return err
		})
		return done
	}
	sync()
	if again := sync(); !again.Empty() {
		t.Errorf("a second time, there is something to do: %+v", again.Changes)
	}
	want := ruleset.Union(allowed)
	got := listed(t, h)
	if !want.Equal(got) {
		t.Errorf("the kernel allows %v\nthe policy %v", got.Prefixes(), want.Prefixes())
	}
	return want
}

// listed are the addresses of the kernel's sets, as nft lists them.
func listed(t *testing.T, h *lab.Namespace) *netipx.IPSet {
	t.Helper()
	var b netipx.IPSetBuilder
	for _, set := range []string{"providers4", "providers6"} {
		_, elements, ok := strings.Cut(labtest.Run(t, h, "nft", "list", "set", "inet", "ringfence", set), "elements = {")
		if !ok {
			continue
		}
		elements, _, _ = strings.Cut(elements, "}")
		for text := range strings.SplitSeq(elements, ",") {
			text = strings.TrimSpace(text)
			if r, err := netipx.ParseIPRange(text); err == nil {
				b.AddRange(r)
			} else if p, err := netip.ParsePrefix(text); err == nil {
				b.AddPrefix(p)
			} else {
				a, err := netip.ParseAddr(text)
				labtest.Must(t, err)
				b.Add(a)
			}
		}
	}
	set, err := b.IPSet()
	labtest.Must(t, err)
	return set
}
