package classifier_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// host is a host with interfaces eth0, eth1 and so on.
func host(t testing.TB, interfaces ...string) *lab.Namespace {
	t.Helper()
	h := labtest.Host(t, "pbx")
	for _, name := range interfaces {
		addLink(t, h, name)
	}
	return h
}

func addLink(t testing.TB, h *lab.Namespace, name string) {
	t.Helper()
	labtest.Run(t, h, "ip", "link", "add", name, "type", "veth", "peer", "name", "far-"+name)
	labtest.Run(t, h, "ip", "link", "set", name, "up")
}

func observe(t testing.TB, h *lab.Namespace) (observed ruleset.Classifier) {
	t.Helper()
	labtest.In(t, h, func() (err error) {
		observed, err = classifier.Observe()
		return err
	})
	return observed
}

// wantObserved compares what is attached to the interfaces.
func wantObserved(t testing.TB, h *lab.Namespace, want ruleset.Classifier) {
	t.Helper()
	if diff := cmp.Diff(want, observe(t, h)); diff != "" {
		t.Errorf("observed: %s", diff)
	}
}

// tc is what an administrator sees of an interface's qdiscs and filters.
func tc(t testing.TB, h *lab.Namespace, link string) string {
	t.Helper()
	return labtest.Run(t, h, "tc", "qdisc", "show", "dev", link) +
		labtest.Run(t, h, "tc", "filter", "show", "dev", link, "ingress") + labtest.Run(t, h, "tc", "filter", "show", "dev", link, "egress")
}

// foreign puts a program of somebody else's onto an interface.
func foreign(t testing.TB, h *lab.Namespace, link, name, side, pref, handle string) {
	t.Helper()
	labtest.Run(t, h, "tc", "filter", "add", "dev", link, side, "pref", pref, "handle", handle, "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	if got := tc(t, h, link); !strings.Contains(got, handle) {
		t.Fatalf("%s is not there: %s", name, got)
	}
}

func TestChange(t *testing.T) {
	first, second := loaded(t, signaturetest.Few()), loaded(t, signaturetest.Few()[1:])
	if first.Name() == second.Name() || !strings.HasPrefix(first.Name(), "ringfence:") || len(first.Name()) != len("ringfence:")+16 {
		t.Errorf("names are %s and %s", first.Name(), second.Name())
	}
	h := host(t, "eth0", "eth1", "eth2")
	clean := tc(t, h, "eth0")
	wantObserved(t, h, ruleset.Classifier{})

	change(t, h, first, "eth0", "eth1")
	wantObserved(t, h, first.On([]string{"eth0", "eth1"}))
	if got := tc(t, h, "eth0"); !strings.Contains(got, "pref 5 bpf") || !strings.Contains(got, "handle 0x5060 flowid 5246:1 "+first.Name()+" direct-action") || strings.Contains(got, "pref 6 ") {
		t.Errorf("tc shows\n%s", got)
	}
	// Again the same: nothing happens.
	shown := tc(t, h, "eth0")
	change(t, h, first, "eth0", "eth1")
	if got := tc(t, h, "eth0"); got != shown {
		t.Errorf("the second time changes something:\n%s%s", shown, got)
	}

	// Another program, on other interfaces.
	change(t, h, second, "eth1", "eth2")
	wantObserved(t, h, second.On([]string{"eth1", "eth2"}))
	if got := tc(t, h, "eth0"); got != clean {
		t.Errorf("on eth0 is left\n%s", got)
	}
	// None.
	change(t, h, nil)
	wantObserved(t, h, ruleset.Classifier{})
	for _, link := range []string{"eth0", "eth1", "eth2"} {
		if got := tc(t, h, link); got != clean {
			t.Errorf("on %s is left\n%s", link, got)
		}
	}
}

// TestUndo: until Finish the old program is still there, and Undo leaves it.
func TestUndo(t *testing.T) {
	first, second := loaded(t, signaturetest.Few()), loaded(t, signaturetest.Few()[1:])
	h := host(t, "eth0", "eth1")
	clean := tc(t, h, "eth1")
	change(t, h, first, "eth0")
	shown := tc(t, h, "eth0")
	var c *classifier.Change
	labtest.In(t, h, func() (err error) {
		c, err = classifier.Begin(second, []string{"eth0", "eth1"})
		return err
	})
	// The next look, after a crash for example, shows that something is left.
	wantObserved(t, h, ruleset.Classifier{"eth0": first.Name() + " " + second.Name(), "eth1": second.Name()})
	labtest.In(t, h, c.Undo)
	if got := tc(t, h, "eth0"); got != shown {
		t.Errorf("Undo leaves\n%swant\n%s", got, shown)
	}
	if got := tc(t, h, "eth1"); got != clean {
		t.Errorf("Undo leaves on eth1\n%s", got)
	}

	// What a change that was broken off has left goes with the next one.
	for _, next := range []*classifier.Loaded{first, second, nil} {
		labtest.In(t, h, func() error {
			_, err := classifier.Begin(second, []string{"eth0", "eth1"})
			return err
		})
		want := ruleset.Classifier{}
		var interfaces []string
		if next != nil {
			interfaces = []string{"eth0"}
			want = next.On(interfaces)
		}
		change(t, h, next, interfaces...)
		wantObserved(t, h, want)
		if got := tc(t, h, "eth1"); got != clean {
			t.Errorf("left on eth1\n%s", got)
		}
	}
	if got := tc(t, h, "eth0"); got != clean {
		t.Errorf("left on eth0\n%s", got)
	}
}

// TestHitsOfTwoInterfaces: what one program has counted counts once, however many
// interfaces it is attached to.
func TestHitsOfTwoInterfaces(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0", "eth1")
	change(t, h, l, "eth0", "eth1")
	for range 3 {
		judge(t, l, plain([]byte("OPTIONS sip:a SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n")), signature.Scanner, "a scanner")
	}
	if diff := cmp.Diff(map[string]uint64{"scanner": 3}, hits(t, h)); diff != "" {
		t.Error(diff)
	}
}

// TestForeignFilter: filters of other programs stay, and one in ringfence's place is an
// error before anything has changed.
func TestForeignFilter(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	for _, place := range []string{"5", "6"} {
		h := host(t, "eth0", "eth1")
		labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth1", "clsact")
		foreign(t, h, "eth1", "filter in our place", "ingress", place, "0x5060")
		shown := []string{tc(t, h, "eth0"), tc(t, h, "eth1")}
		err := h.Do(func() error {
			_, err := classifier.Begin(l, []string{"eth0", "eth1"})
			return err
		})
		if !errors.Is(err, classifier.ErrForeign) || !strings.Contains(err.Error(), "on interface eth1 at ingress pref "+place+" handle 0x5060") {
			t.Errorf("error: %v", err)
		}
		change(t, h, nil) // nothing of ours, so nothing to take away
		if diff := cmp.Diff(shown, []string{tc(t, h, "eth0"), tc(t, h, "eth1")}); diff != "" {
			t.Errorf("changed all the same: %s", diff)
		}
	}
}

// TestSharedBlock: an interface whose filters are a shared block cannot have ringfence's,
// and the error says so; without the block it can.
func TestSharedBlock(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0")
	for _, kind := range []string{"clsact", "ingress"} {
		labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "ingress_block", "7", kind)
		err := h.Do(func() error { return classifier.Foreign([]string{"eth0"})["eth0"] })
		if !errors.Is(err, classifier.ErrForeign) || !strings.Contains(err.Error(), "the shared block 7") {
			t.Errorf("%s: the error is %v", kind, err)
		}
		err = h.Do(func() error {
			_, err := classifier.Begin(l, []string{"eth0"})
			return err
		})
		if !errors.Is(err, classifier.ErrForeign) {
			t.Errorf("%s: attaching ends with %v", kind, err)
		}
		labtest.Run(t, h, "tc", "qdisc", "del", "dev", "eth0", kind)
	}
	change(t, h, l, "eth0")
	wantObserved(t, h, l.On([]string{"eth0"}))
}

// TestForeignPreference: another filter may have the preference without being in
// ringfence's place.
func TestForeignPreference(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	labtest.Run(t, h, "tc", "filter", "add", "dev", "eth0", "ingress", "protocol", "ip", "pref", "6", "handle", "0x1", "bpf", "da", "bytecode", "1,6 0 0 4294967295")
	shown := tc(t, h, "eth0")
	err := h.Do(func() error {
		_, err := classifier.Begin(l, []string{"eth0"})
		return err
	})
	if !errors.Is(err, classifier.ErrForeign) || !strings.Contains(err.Error(), "ingress pref 6 of interface eth0 is for another protocol or kind of filter") {
		t.Errorf("error: %v", err)
	}
	if got := tc(t, h, "eth0"); got != shown {
		t.Errorf("changed all the same:\n%s", got)
	}
}

// TestWhoIsNoObstacle: a filter that others put beside one that is attached, or where no
// packet comes by itself, is not in ringfence's place.
func TestWhoIsNoObstacle(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0", "eth1", "eth2")
	change(t, h, l, "eth0")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth1", "clsact")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth2", "clsact")
	other := func(link string, where ...string) {
		labtest.Run(t, h, "tc", slices.Concat([]string{"filter", "add", "dev", link, "ingress"}, where, []string{"protocol", "ip", "bpf", "bytecode", "1,6 0 0 4294967295"})...)
	}
	other("eth0", "pref", "6")
	other("eth1", "chain", "7", "pref", "5")
	other("eth2", "pref", "6")
	var taken map[string]error
	labtest.In(t, h, func() error {
		taken = classifier.Foreign([]string{"eth0", "eth1", "eth2", "none"})
		return nil
	})
	if len(taken) != 1 || !errors.Is(taken["eth2"], classifier.ErrForeign) {
		t.Errorf("taken are %v, want eth2", taken)
	}
	change(t, h, l, "eth0", "eth1")
	wantObserved(t, h, l.On([]string{"eth0", "eth1"}))
}

func TestSharedQdisc(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	for _, test := range []struct {
		name string
		make func(h *lab.Namespace)
		// later is what somebody does while ringfence is there.
		later func(h *lab.Namespace)
	}{
		{"clsact of another's", func(h *lab.Namespace) { labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact") }, nil},
		{"ingress qdisc of another's", func(h *lab.Namespace) { labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "ingress") }, nil},
		{"clsact with filters of another's", func(h *lab.Namespace) {
			labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
			foreign(t, h, "eth0", "before", "ingress", "4", "0x1")
			foreign(t, h, "eth0", "beside", "ingress", "5", "0x1")
			foreign(t, h, "eth0", "behind", "ingress", "7", "0x1")
		}, nil},
		{"filter on our clsact", nil, func(h *lab.Namespace) { foreign(t, h, "eth0", "behind", "ingress", "9", "0x1") }},
		{"egress filter on our clsact", nil, func(h *lab.Namespace) { foreign(t, h, "eth0", "out", "egress", "9", "0x1") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := host(t, "eth0")
			if test.make != nil {
				test.make(h)
			}
			want := tc(t, h, "eth0")
			change(t, h, l, "eth0")
			wantObserved(t, h, l.On([]string{"eth0"}))
			if test.later != nil {
				test.later(h)
			}
			change(t, h, nil)
			got := tc(t, h, "eth0")
			if test.later == nil && got != want {
				t.Errorf("left\n%swant\n%s", got, want)
			}
			if test.later != nil && (!strings.Contains(got, "qdisc clsact") || !strings.Contains(got, "pref 9 bpf") || strings.Contains(got, "ringfence")) {
				t.Errorf("left\n%s", got)
			}
		})
	}
	t.Run("one after the other on our own", func(t *testing.T) {
		// The qdisc is still known to be ringfence's after its filter was replaced.
		other := loaded(t, signaturetest.Few()[1:])
		h := host(t, "eth0")
		clean := tc(t, h, "eth0")
		for range 3 {
			change(t, h, l, "eth0")
			change(t, h, other, "eth0")
		}
		change(t, h, nil)
		if got := tc(t, h, "eth0"); got != clean {
			t.Errorf("left\n%s", got)
		}
	})
}

func TestInterfacesComeAndGo(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0", "eth1")
	err := h.Do(func() error {
		_, err := classifier.Begin(l, []string{"eth0", "eth7"})
		return err
	})
	if !errors.Is(err, classifier.ErrNoInterface) || !strings.Contains(err.Error(), "eth7") {
		t.Errorf("error: %v", err)
	}
	wantObserved(t, h, ruleset.Classifier{})
	change(t, h, l, "eth0", "eth1")
	labtest.Run(t, h, "ip", "link", "delete", "eth1")
	wantObserved(t, h, l.On([]string{"eth0"}))
	addLink(t, h, "eth1")
	wantObserved(t, h, l.On([]string{"eth0"}))
	change(t, h, l, "eth0", "eth1")
	wantObserved(t, h, l.On([]string{"eth0", "eth1"}))

	// It goes between Begin and Finish.
	other := loaded(t, signaturetest.Few()[1:])
	labtest.In(t, h, func() error {
		c, err := classifier.Begin(other, []string{"eth0", "eth1"})
		labtest.Run(t, h, "ip", "link", "delete", "eth1")
		return errors.Join(err, c.Finish())
	})
	wantObserved(t, h, other.On([]string{"eth0"}))
}

// TestTwoHosts: what is done in one network namespace is not seen in another.
func TestTwoHosts(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	a, b := host(t, "eth0"), host(t, "eth0")
	change(t, a, l, "eth0")
	wantObserved(t, a, l.On([]string{"eth0"}))
	wantObserved(t, b, ruleset.Classifier{})
	change(t, b, l, "eth0")
	change(t, a, nil)
	wantObserved(t, a, ruleset.Classifier{})
	wantObserved(t, b, l.On([]string{"eth0"}))
}

// TestName: a program's name says what it does, and nothing else.
func TestName(t *testing.T) {
	name := func(list []signature.Signature, ports ruleset.Reading, required ...string) string {
		a, err := signature.Compile(list, required)
		labtest.Must(t, err)
		return classifier.New(a, ports).Name()
	}
	few := signaturetest.Few()
	same := name(few, sipPorts)
	if again := name(slices.Clone(few), sipPorts); again != same {
		t.Errorf("the same program is %s and %s", same, again)
	}
	renamed := slices.Clone(few)
	renamed[0].Name = "other"
	ban := slices.Clone(few)
	ban[2].Class = signature.Ban
	for what, other := range map[string]string{
		"without a signature": name(few[1:], sipPorts),
		"another name":        name(renamed, sipPorts),
		"another class":       name(ban, sipPorts),
		"a User-Agent":        name(few, sipPorts, "Yealink"),
		"another port":        name(few, ruleset.Reading{UDP: []uint16{5060}, TCP: sipPorts.TCP}),
		"other bits":          name(few, ruleset.Reading{UDP: sipPorts.UDP, TCP: sipPorts.TCP, Mark: 0xf0}),
		"a bound":             name(few, ruleset.Reading{UDP: sipPorts.UDP, TCP: sipPorts.TCP, Bounded: true}),
		"the other protocol":  name(few, ruleset.Reading{UDP: sipPorts.TCP, TCP: sipPorts.UDP}),
	} {
		if other == same {
			t.Errorf("%s makes no other program", what)
		}
	}
	if ports := (ruleset.Reading{UDP: []uint16{5061, 5060}, TCP: []uint16{5062, 5060}}); name(few, ports) != same {
		t.Error("the order of the ports makes another program")
	}
}
