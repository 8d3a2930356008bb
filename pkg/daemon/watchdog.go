package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
	godbus "github.com/godbus/dbus/v5"

	"github.com/ringfence/ringfence/pkg/fence"
)

// Watchdog is a program that systemd runs until a generation is confirmed or undone. It
// belongs to no session and to no other unit, so it lives on when these end, and systemd
// starts it again if it is killed.
type Watchdog struct {
	fence.Watch
	// Program is the path of the program. It has to call Ready when it runs.
	Program   string
	Arguments []string
}

// busTime is the longest time that systemd may take to answer and to start a unit.
const busTime = 10 * time.Second

// ErrNoSystemd says that systemd does not run this host.
var ErrNoSystemd = errors.New("systemd does not run here")

// Start starts the program as a service, and a timer that starts it at the deadline if
// systemd has given it up by then. It returns when the program has called Ready. After an
// error there is neither a service nor a timer.
func (w Watchdog) Start(ctx context.Context) error {
	if !util.IsRunningSystemd() || elsewhere() {
		return ErrNoSystemd
	}
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	bus, err := connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer bus.Close()
	service, timer := unitsOf(w.Watch)
	description := dbus.PropDescription(fmt.Sprintf("Undo generation %d of ringfence unless it is confirmed", w.Generation))
	_, err = bus.StartTransientUnitAux(ctx, timer, "fail", []dbus.Property{
		description, property("TimersMonotonic", []onTimer{{"OnActiveSec", uint64(w.Window.Microseconds())}}),
		property("AccuracyUSec", uint64(1)), property("RemainAfterElapse", false), property("CollectMode", "inactive-or-failed"),
	}, []dbus.PropertyCollection{{Name: service, Properties: []dbus.Property{
		description, dbus.PropType("notify"), dbus.PropExecStart(append([]string{w.Program}, w.Arguments...), false),
		property("Restart", "on-failure"), property("RestartUSec", uint64(100_000)), property("StartLimitIntervalUSec", uint64(0)),
		property("CollectMode", "inactive-or-failed"),
	}}}, nil)
	if err != nil {
		return fmt.Errorf("start %s: %w", timer, err)
	}
	done := make(chan string, 1)
	if _, err = bus.StartUnitContext(ctx, service, "fail", done); err == nil {
		err = ended(ctx, done)
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w", service, err)
		return errors.Join(err, StopWatchdog(context.WithoutCancel(ctx), w.Watch, false))
	}
	return nil
}

// onTimer is a time of a timer as systemd has it.
type onTimer struct {
	Base string
	Time uint64 // microseconds
}

func property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}

// StopWatchdog removes the timer of a generation that does not need it any more and, unless
// it is the service that calls this, the service.
func StopWatchdog(ctx context.Context, w fence.Watch, byService bool) error {
	if !util.IsRunningSystemd() || elsewhere() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	service, timer := unitsOf(w)
	if byService {
		return stop(ctx, timer)
	}
	return stop(ctx, timer, service)
}

// stop stops units and waits until they have ended. Those that there are none of are none
// to stop.
func stop(ctx context.Context, units ...string) error {
	bus, err := connect(ctx)
	if err != nil {
		return err
	}
	defer bus.Close()
	for _, unit := range units {
		done := make(chan string, 1)
		_, stopErr := bus.StopUnitContext(ctx, unit, "replace", done)
		if stopErr == nil {
			stopErr = ended(ctx, done)
		}
		if noUnit, ok := errors.AsType[godbus.Error](stopErr); stopErr != nil && (!ok || noUnit.Name != "org.freedesktop.systemd1.NoSuchUnit") {
			err = errors.Join(err, fmt.Errorf("stop %s: %w", unit, stopErr))
		}
	}
	return err
}

// ended waits until a job of systemd has ended.
func ended(ctx context.Context, done <-chan string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-done:
		if result != "done" {
			return errors.New(result)
		}
		return nil
	}
}

// connect connects to systemd itself if it may, as systemctl does, so that no other
// program has to run, and else over the system's bus.
func connect(ctx context.Context) (*dbus.Conn, error) {
	if os.Geteuid() == 0 {
		if bus, err := dbus.NewSystemdConnectionContext(ctx); err == nil {
			return bus, nil
		}
	}
	return dbus.NewSystemConnectionContext(ctx)
}

// unitsOf returns the names of the units of a generation. Its number is for people: there
// may be more than one state folder.
func unitsOf(w fence.Watch) (service, timer string) {
	name := fmt.Sprintf("ringfence-undo-%d-%s", w.Generation, w.ID[:min(len(w.ID), 8)])
	return name + ".service", name + ".timer"
}

// elsewhere reports whether this process is known to use another network than systemd's
// own services do. If it cannot be read, Place decides.
func elsewhere() bool {
	own, err := os.Readlink("/proc/self/ns/net")
	systemd, initErr := os.Readlink("/proc/1/ns/net")
	return err == nil && initErr == nil && own != systemd
}

// Place identifies the network that a process is in and the folders that it sees. A
// service may be in another network, or see another folder under the same path.
func Place(folders ...string) (string, error) {
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return "", err
	}
	parts := []string{network}
	for _, folder := range folders {
		var s syscall.Stat_t
		if err := syscall.Stat(folder, &s); err != nil {
			return "", &os.PathError{Op: "stat", Path: folder, Err: err}
		}
		parts = append(parts, fmt.Sprintf("%d:%d", s.Dev, s.Ino))
	}
	return strings.Join(parts, ","), nil
}

// Ready reports to systemd that the program runs, if it is a service.
func Ready() error {
	_, err := daemon.SdNotify(false, daemon.SdNotifyReady)
	return err
}
