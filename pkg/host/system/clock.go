package system

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// Uptime returns the identifier of this boot and the time since then, without the time
// that the machine slept. No program can change this clock, and it is the same for all
// programs.
func Uptime() (boot string, up time.Duration, err error) {
	id, err := bootID()
	if err != nil {
		return "", 0, err
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return "", 0, fmt.Errorf("read clock: %w", err)
	}
	return id, time.Duration(t.Nano()), nil
}

// readBoot is the boot's identifier as it was read: a process does not outlive its boot.
var readBoot atomic.Pointer[string]

func bootID() (string, error) {
	if known := readBoot.Load(); known != nil {
		return *known, nil
	}
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id := string(bytes.TrimSpace(data))
	readBoot.Store(&id)
	return id, nil
}

// Clock returns the time by the wall clock and by the clock that runs since the boot.
// If the latter cannot be read, the time since the process started takes its place.
func Clock(log *slog.Logger) func() resolve.Moment {
	started := time.Now()
	return func() resolve.Moment {
		now := resolve.Moment{Time: time.Now().Round(0)}
		boot, up, err := Uptime()
		if err != nil {
			log.Debug("read the time since the boot", "error", err)
			boot, up = fmt.Sprintf("process %d of %s", os.Getpid(), started.Format(time.RFC3339Nano)), time.Since(started)
		}
		now.Boot, now.Up = boot, resolve.Span(up)
		return now
	}
}
