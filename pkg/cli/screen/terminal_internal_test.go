package screen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/fence"
)

// newTerminal returns both ends of a terminal.
func newTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// settings are those of the terminal's line.
func settings(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}

// readUntil reads until there is a text, and returns all of it.
func readUntil(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(all.String(), text); {
		n, err := r.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v before %q; it has\n%q", err, text, all.String())
		}
	}
	return all.String()
}

// TestRestores: however it ends, the terminal is as it was before.
func TestRestores(t *testing.T) {
	read := func(context.Context, func(a, b fence.Dropped) int) (fence.Drops, error) { return sources(3), nil }
	for _, c := range []struct {
		name, says string
		end        func(t *testing.T, user *os.File, cancel func()) // once the table is there
		read       func(context.Context, func(a, b fence.Dropped) int) (fence.Drops, error)
	}{
		{name: "q", end: func(_ *testing.T, user *os.File, _ func()) { user.WriteString("jkq") }},
		{name: "escape", end: func(_ *testing.T, user *os.File, _ func()) { user.WriteString("\x1b") }},
		{name: "ctrl-C after a question", end: func(_ *testing.T, user *os.File, _ func()) { user.WriteString("b\x03") }},
		{name: "context", end: func(_ *testing.T, _ *os.File, cancel func()) { cancel() }},
		{name: "signals", end: func(t *testing.T, user *os.File, _ func()) {
			kill(t, syscall.SIGTSTP)
			readUntil(t, user, erase) // it is drawn again
			kill(t, syscall.SIGQUIT)
		}},
		{name: "error", says: "no permission", read: func(context.Context, func(a, b fence.Dropped) int) (fence.Drops, error) {
			return fence.Drops{}, errors.New("no permission")
		}},
		{name: "panic", says: "panic: a fault", read: func(context.Context, func(a, b fence.Dropped) int) (fence.Drops, error) {
			panic("a fault")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			user, program := newTerminal(t)
			before := settings(t, program)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a := Actions{Read: read}
			if c.read != nil {
				a.Read = c.read
			}
			ended := make(chan error, 1)
			go func() { ended <- show(ctx, program, a) }()
			if c.end != nil {
				readUntil(t, user, "192.0.2.2")
				c.end(t, user, cancel)
			}
			readUntil(t, user, leave)
			if err := <-ended; (err == nil) != (c.says == "") || err != nil && err.Error() != c.says {
				t.Errorf("it ends with %v", err)
			}
			if settings(t, program) != before {
				t.Errorf("the settings are\n%v, were\n%v", settings(t, program), before)
			}
		})
	}
}

// show is Show with a panic as an error.
func show(ctx context.Context, f *os.File, a Actions) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return Show(ctx, f, f, a)
}

// kill sends a signal to this process, in which Show runs.
func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

// TestHangUp: a terminal that goes away, or an input that ends, is the end.
func TestHangUp(t *testing.T) {
	a := Actions{Read: func(context.Context, func(a, b fence.Dropped) int) (fence.Drops, error) { return sources(3), nil }}
	user, program := newTerminal(t)
	ended := make(chan error, 1)
	go func() { ended <- show(t.Context(), program, a) }()
	readUntil(t, user, "192.0.2.2")
	user.Close()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// TestFinishesAction: what was answered with yes is finished, though the user has ended the
// screen meanwhile, unless the context ends.
func TestFinishesAction(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		user, program := newTerminal(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		goOn := make(chan struct{})
		var finished, interrupted atomic.Bool
		a := Actions{
			Read: func(context.Context, func(a, b fence.Dropped) int) (fence.Drops, error) { return sources(3), nil },
			Ban: func(ctx context.Context, _ netip.Addr) (string, error) {
				select {
				case <-goOn:
					finished.Store(true)
				case <-ctx.Done():
					interrupted.Store(true)
				}
				return "", nil
			},
		}
		ended := make(chan error, 1)
		go func() { ended <- show(ctx, program, a) }()
		readUntil(t, user, "192.0.2.2")
		user.WriteString("byq")
		readUntil(t, user, leave)
		if cancelled {
			cancel()
		} else {
			close(goOn)
		}
		if err := <-ended; err != nil || finished.Load() == cancelled || interrupted.Load() != cancelled {
			t.Errorf("cancelled %v: it ends with %v, the ban finished %v, was interrupted %v", cancelled, err, finished.Load(), interrupted.Load())
		}
	}
}
