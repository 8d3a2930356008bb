package host

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Uptime returns the name of this boot and for how long the machine has run
// since, without the time that it slept. No program can move that clock, and all
// programs of a boot see the same.
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
