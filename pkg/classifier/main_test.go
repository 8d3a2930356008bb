package classifier_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
)

func TestMain(m *testing.M) {
	os.Exit(labtest.Main(m, map[string]func() int{
		"probe": func() int { fmt.Println(classifier.Probe()); return 0 },
	}))
}

var sipPorts = ruleset.Reading{UDP: []uint16{5060, 5061}, TCP: []uint16{5060, 5062}}

// needBPF skips a test where eBPF cannot be had.
func needBPF(t testing.TB) {
	t.Helper()
	err := classifier.Probe()
	if err == nil {
		return
	}
	if os.Getenv("CI") != "" && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	t.Skip(err)
}

func program(t testing.TB, list []signature.Signature, required ...string) *classifier.Program {
	t.Helper()
	a, err := signature.Compile(list, required)
	labtest.Must(t, err)
	return classifier.New(a, sipPorts)
}

// loaded loads a program that is gone with the test.
func loaded(t testing.TB, list []signature.Signature, required ...string) *classifier.Loaded {
	t.Helper()
	needBPF(t)
	l, err := program(t, list, required...).Load()
	labtest.Must(t, err)
	t.Cleanup(l.Close)
	return l
}

// change puts a program onto interfaces of a host.
func change(t testing.TB, h *lab.Namespace, l *classifier.Loaded, interfaces ...string) {
	t.Helper()
	labtest.In(t, h, func() error {
		c, err := classifier.Begin(l, interfaces)
		if err != nil {
			return err
		}
		return c.Finish()
	})
}

// hits are the counts of those signatures that have matched.
func hits(t testing.TB, h *lab.Namespace) map[string]uint64 {
	t.Helper()
	found := map[string]uint64{}
	labtest.In(t, h, func() error {
		all, err := classifier.Hits()
		for name, n := range all {
			if n > 0 {
				found[name] = n
			}
		}
		return err
	})
	return found
}
