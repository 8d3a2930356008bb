package classifier_test

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// with runs f on a thread that has only some capabilities.
func with(t *testing.T, f func() error, capabilities ...uint) error {
	t.Helper()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		for _, c := range capabilities {
			sets[c/32].Effective |= 1 << (c % 32)
			sets[c/32].Permitted |= 1 << (c % 32)
		}
		if err := unix.Capset(&header, &sets[0]); err != nil {
			failed <- err
			return
		}
		failed <- f()
	}()
	return <-failed
}

// TestCapabilities: what a process lacks is named, and nothing more is needed.
func TestCapabilities(t *testing.T) {
	// The library asks once what the kernel can do, and must not ask where it would
	// be told nothing.
	loaded(t, signaturetest.Few())
	if err := with(t, classifier.Probe, unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON); err != nil {
		t.Error(err)
	}
	for want, capabilities := range map[string][]uint{
		"run as root, or give it CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON": nil,
		"run as root, or give it CAP_BPF, CAP_PERFMON":                {unix.CAP_NET_ADMIN},
		"run as root, or give it CAP_PERFMON":                         {unix.CAP_NET_ADMIN, unix.CAP_BPF},
		// This is only needed for attaching.
		"run as root, or give it CAP_NET_ADMIN": {unix.CAP_SYS_ADMIN},
	} {
		for name, act := range map[string]func() error{
			"probe": classifier.Probe,
			"load": func() error {
				l, err := program(t, signaturetest.Few()).Load()
				if err == nil {
					l.Close()
				}
				return err
			},
		} {
			err := with(t, act, capabilities...)
			if name == "load" && slices.Contains(capabilities, unix.CAP_SYS_ADMIN) {
				continue
			}
			if !errors.Is(err, classifier.ErrPermission) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %s", name, err, want)
			}
		}
	}
}

// TestHitsArePrivate: whoever has no CAP_SYS_ADMIN sees the filters, and is told
// why not the hits.
func TestHitsArePrivate(t *testing.T) {
	l := loaded(t, signaturetest.Few())
	h := host(t, "eth0")
	change(t, h, l, "eth0")
	labtest.In(t, h, func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if err := unix.Capset(&header, &sets[0]); err != nil {
			return err
		}
		if _, err := classifier.Hits(); !errors.Is(err, classifier.ErrPermission) {
			t.Errorf("hits: %v", err)
		}
		if observed, err := classifier.Observe(); err != nil || !maps.Equal(observed, l.On([]string{"eth0"})) {
			t.Errorf("observed %v, %v", observed, err)
		}
		if _, err := classifier.Begin(l, []string{"eth0"}); err != nil && !errors.Is(err, classifier.ErrPermission) {
			t.Errorf("begin: %v", err)
		}
		return nil
	})
}
