package system

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/resolve"
)

// Uptime returns the identifier of this boot and the time since then, without the time
// that the machine slept. No program can change this clock, and it is the same for all
// programs.
func Uptime() (boot string, up time.Duration, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, fmt.Errorf("read boot id: %w", err)
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return "", 0, fmt.Errorf("read clock: %w", err)
	}
	return string(bytes.TrimSpace(id)), time.Duration(t.Nano()), nil
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
