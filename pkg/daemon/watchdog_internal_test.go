package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// The tests run in a network of their own, which no service of systemd has.
func TestMain(m *testing.M) { os.Exit(labtest.Main(m, nil)) }

// TestUnitsOf: the units of a generation can be listed by one pattern, and those of
// different state folders do not have one name.
func TestUnitsOf(t *testing.T) {
	service, timer := unitsOf(fence.Watch{ID: "0123456789abcdef", Generation: 12})
	if service != "ringfence-undo-12-01234567.service" || timer != "ringfence-undo-12-01234567.timer" {
		t.Errorf("the units are %s and %s", service, timer)
	}
	for _, id := range []string{"", "abc"} {
		if service, _ := unitsOf(fence.Watch{ID: id, Generation: 1}); service != "ringfence-undo-1-"+id+".service" {
			t.Errorf("with ID %q the service is %s", id, service)
		}
	}
	if other, _ := unitsOf(fence.Watch{ID: "fedcba9876543210", Generation: 12}); other == service {
		t.Errorf("two folders have one unit, %s", other)
	}
}

// TestElsewhere: in a network of its own, no service of systemd could undo the change, so
// systemd is not asked to start one, and there is none to stop.
func TestElsewhere(t *testing.T) {
	w := Watchdog{Watch: fence.Watch{ID: "0123456789abcdef", Generation: 12}, Program: "/bin/true"}
	if err := w.Start(t.Context()); !errors.Is(err, ErrNoSystemd) {
		t.Errorf("start: %v", err)
	}
	for _, byService := range []bool{true, false} {
		if err := StopWatchdog(t.Context(), w.Watch, byService); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}

// TestPlace: a watchdog finds out that it sees other folders, or is in another network,
// than the command that has started it.
func TestPlace(t *testing.T) {
	folder := t.TempDir()
	one, two := filepath.Join(folder, "one"), filepath.Join(folder, "two")
	for _, path := range []string{one, two} {
		labtest.Must(t, os.Mkdir(path, 0o700))
	}
	here, err := Place(one, two)
	labtest.Must(t, err)
	if again, err := Place(one, two); err != nil || again != here {
		t.Errorf("the same place is %s and %s (%v)", here, again, err)
	}
	// Another folder under the same path, as in another mount namespace.
	labtest.Must(t, os.Rename(two, two+".old"))
	if _, err := Place(one, two); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), two) {
		t.Errorf("a folder that is not there: %v", err)
	}
	labtest.Must(t, os.Mkdir(two, 0o700))
	if there, err := Place(one, two); err != nil || there == here {
		t.Errorf("another folder is the same place %s (%v)", there, err)
	}
	network, err := os.Readlink("/proc/self/ns/net")
	labtest.Must(t, err)
	if !strings.HasPrefix(here, network+",") {
		t.Errorf("%s does not name the network %s", here, network)
	}
}

// TestEnded: a job of systemd that fails, or does not end in time, is an error.
func TestEnded(t *testing.T) {
	for result, want := range map[string]string{"done": "", "failed": "failed", "timeout": "timeout"} {
		done := make(chan string, 1)
		done <- result
		got := ""
		if err := ended(t.Context(), done); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("a job that ends with %s: %q, want %q", result, got, want)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ended(over, make(chan string)); !errors.Is(err, context.Canceled) {
		t.Errorf("a job that does not end: %v", err)
	}
}

// TestReady: a process that is no service reports nothing, which is no error; for one
// whose systemd cannot be reached it is.
func TestReady(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready(); err != nil {
		t.Errorf("without a socket: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if err := Ready(); err == nil {
		t.Error("with a socket that is not there")
	}
}
