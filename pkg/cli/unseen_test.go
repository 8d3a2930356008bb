package cli_test

import (
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestUnseen: a filter before the classifier that takes packets away from it is an
// alarm that names it; one that lets them go on is none.
func TestUnseen(t *testing.T) {
	t.Parallel()
	t.Run("listed", func(t *testing.T) { unseen(t, "interfaces: [eth0]\n") })
	t.Run("not listed", func(t *testing.T) { unseen(t, "") })
}

func unseen(t *testing.T, interfaces string) {
	t.Helper()
	pbx, outside := newPair(t)
	s := newSite(t, pbx, linksPolicy+interfaces+"unknown: {action: accept}\n")
	s.must(t, 0, "apply")
	send := func(agent string) {
		t.Helper()
		e := listen(t, pbx, 5060, "203.0.113.1")
		defer e.Close()
		ask(t, outside, "203.0.113.66", "203.0.113.1", "OPTIONS", agent)
		ask(t, outside, "203.0.113.5", "203.0.113.1", "OPTIONS", "phone")
		until(t, "the provider's packet", func() bool { return e.From("203.0.113.5") == 1 })
	}
	send("phone")
	filter := func(verdict string) {
		t.Helper()
		labtest.Run(t, pbx, "tc", "filter", "replace", "dev", "eth0", "ingress", "pref", "1", "handle", "1", "bpf", "da", "bytecode", "1,6 0 0 "+verdict)
	}
	filter("4294967295") // TC_ACT_UNSPEC
	send("phone")
	if v := s.status(t); len(v.Alarms) > 0 || v.Counters["unseen"] > 0 {
		t.Errorf("nothing is in the way, and there is an alarm: %+v", v)
	}
	filter("0") // TC_ACT_OK
	send("phone")
	v := s.status(t)
	if len(v.Alarms) != 1 || v.Alarms[0].Name != "eth0" || !strings.Contains(v.Alarms[0].Text, "tc filter pref 1 (bpf) on eth0 sees packets first") {
		t.Errorf("alarms: %+v", v.Alarms)
	}
	if o := s.run(t, "refresh"); o.status != 4 || !strings.Contains(o.stdout+o.stderr, "were not seen by the classifier") {
		t.Errorf("refresh: %+v", o)
	}
	labtest.Report(t, "P16", "a tc filter takes packets from the classifier", 1, "alarm, and exit status 4 of refresh")
}

// TestAllowedScanner: an allowed address that sends what scanners send gets in, and is an
// alarm.
func TestAllowedScanner(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	s := newSite(t, pbx, linksPolicy+"interfaces: [eth0]\n")
	s.must(t, 0, "apply")
	e := listen(t, pbx, 5060, "203.0.113.1")
	defer e.Close()
	ask(t, outside, "203.0.113.5", "203.0.113.1", "OPTIONS", "phone")
	if v := s.status(t); len(v.Alarms) > 0 {
		t.Errorf("alarms: %+v", v.Alarms)
	}
	ask(t, outside, "203.0.113.5", "203.0.113.1", "INVITE", "friendly-scanner")
	until(t, "the provider's packets", func() bool { return e.From("203.0.113.5") == 2 })
	if v := s.status(t); len(v.Alarms) != 1 || !strings.Contains(v.Alarms[0].Text, "1 packet from allowed addresses were sent by scanners") {
		t.Errorf("alarms: %+v", v.Alarms)
	}
	s.must(t, 4, "status", "--check")
}
