package iptables

import (
	"os"
	"syscall"
)

// Killed kills the process before its nth call that changes something.
func Killed(f Flavour, n int) *Kernel {
	return &Kernel{Flavour: f, interrupted: func(string) error {
		if n--; n >= 0 {
			return nil
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}}
}

// Interrupted ends a change before its nth call that changes something, as if the
// process were killed there. Ended says whether it came to that.
func Interrupted(f Flavour, n int) (k *Kernel, ended *bool) {
	ended = new(bool)
	k = &Kernel{Flavour: f, interrupted: func(string) error {
		if n--; n < 0 {
			*ended = true
			return errInterrupted
		}
		return nil
	}}
	return k, ended
}
