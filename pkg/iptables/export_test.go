package iptables

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// Killed kills the process before its nth call that changes something.
func Killed(f Flavour, n int) *Kernel {
	return &Kernel{Flavour: f, around: func(_ string, call func() error) error {
		if n--; n >= 0 {
			return call()
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}}
}

// Interrupted ends a change before its nth call that changes something, as if the
// process were killed there. Ended says whether it came to that.
func Interrupted(f Flavour, n int) (k *Kernel, ended *bool) {
	ended = new(bool)
	k = &Kernel{Flavour: f, around: func(_ string, call func() error) error {
		if n--; n < 0 {
			*ended = true
			return errInterrupted
		}
		return call()
	}}
	return k, ended
}

// Failing lets calls that change something fail, by their numbers: before they have done it
// or, as if the answer were lost, after. Calls is how many there were.
func Failing(f Flavour, numbers []int, after bool) (k *Kernel, calls *int) {
	calls = new(int)
	k = &Kernel{Flavour: f, around: func(name string, call func() error) error {
		n := *calls
		*calls++
		if fails := slices.Contains(numbers, n); !fails || after {
			if err := call(); err != nil || !fails {
				return err
			}
		}
		return fmt.Errorf("call %d, to %s: %w", n, name, syscall.ENOBUFS)
	}}
	return k, calls
}

// Lines are the lines of the fence's chains as they are written for a state, and as the
// programs list them, by table and chain. Both have the letters of chains in them.
func Lines(ctx context.Context, f Flavour, want *ruleset.State) (written, listed map[string][]string, err error) {
	l, err := layoutOf(want)
	if err != nil {
		return nil, nil, err
	}
	v, err := (&Kernel{Flavour: f}).look(ctx)
	if err != nil {
		return nil, nil, err
	}
	written, listed = map[string][]string{}, map[string][]string{}
	for w, chains := range l {
		for name, lines := range chains {
			place := w.String() + " " + name
			written[place] = []string{}
			for _, line := range lines {
				written[place] = append(written[place], lettered(line, v.letter(w)))
			}
		}
	}
	for w, chains := range v.tables {
		for name, chain := range chains {
			if letter, name, ok := letterOf(name); ok && letter == v.letter(w) {
				listed[w.String()+" "+name] = append([]string{}, chain.lines...)
			}
		}
	}
	return written, listed, nil
}
