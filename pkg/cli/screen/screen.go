// Package screen is the screen of watch: a table of who is dropped, with keys to sort it,
// to ban and to allow. The model decides what is shown and what a key does, without a
// terminal; the terminal shows it.
package screen

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
)

// Actions are what the screen shows and does.
type Actions struct {
	// Read returns the sources in an order. It is called once at a time.
	Read func(ctx context.Context, order func(a, b fence.Dropped) int) (fence.Drops, error)
	// Ban and Allow do that to an address and say what they have done.
	Ban, Allow func(context.Context, netip.Addr) (string, error)
	// Since is for how long until now there are sources, in words.
	Since string
}

// Show shows the table until the user ends it or the context does, which is no error. In
// and out are a terminal. What reads from in ends with the program.
func Show(ctx context.Context, in, out *os.File, a Actions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loop{model: newModelOf(ctx, a), messages: make(chan any), over: make(chan struct{})}
	defer close(l.over)
	err := l.run(ctx, in, out)
	// What was answered with yes is finished. The terminal is as before: there, ctrl-C ends
	// the context.
	for l.model.busy {
		l.model.update(<-l.messages)
	}
	switch {
	case ctx.Err() != nil || errors.Is(err, syscall.EIO): // the terminal is gone
		return nil
	case err != nil:
		return fmt.Errorf("show the table: %w", err)
	}
	return l.model.failure
}

// loop brings messages to the model.
type loop struct {
	model    *model
	keys     keys
	messages chan any
	over     chan struct{} // closed when nobody waits for messages
}

// escapeTime is how long the rest of a key may be on its way: without it, the key was
// escape.
const escapeTime = 50 * time.Millisecond

// run fills the terminal until the model is over or a signal comes. However it ends, also
// by a panic, the terminal is as it was before.
func (l *loop) run(ctx context.Context, in, out *os.File) error {
	ends, changes := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(ends)
	// A stop would leave the shell with this screen: SIGTSTP only draws it again.
	signal.Notify(changes, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTSTP)
	defer signal.Stop(changes)
	t, err := open(in, out)
	if err != nil {
		return err
	}
	defer t.close()
	go l.listen(in)
	l.model.update(t.size())
	l.start(l.model.look())
	var escape <-chan time.Time
	for !l.model.over {
		if err := t.draw(l.model.lines()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ends:
			return nil
		case <-changes:
			t.renew()
			l.model.update(t.size())
		case <-escape:
			l.press(l.keys.rest())
		case msg := <-l.messages:
			typed, isTyped := msg.([]byte)
			if !isTyped {
				l.start(l.model.update(msg))
				continue
			}
			l.press(l.keys.of(typed))
			escape = nil
			if l.keys.waits() {
				escape = time.After(escapeTime)
			}
		}
	}
	return nil
}

// press gives keys to the model.
func (l *loop) press(pressed []key) {
	for _, k := range pressed {
		if !l.model.over {
			l.start(l.model.update(k))
		}
	}
}

// start begins work, which may be nil.
func (l *loop) start(w work) {
	if w == nil {
		return
	}
	go func() {
		var msg any
		defer func() {
			if r := recover(); r != nil {
				msg = crash{r}
			}
			l.send(msg)
		}()
		msg = w()
	}()
}

// send reports whether somebody took a message.
func (l *loop) send(msg any) bool {
	select {
	case l.messages <- msg:
		return true
	case <-l.over:
		return false
	}
}

// listen sends what is typed.
func (l *loop) listen(in *os.File) {
	for {
		typed := make([]byte, 256)
		n, err := in.Read(typed)
		if n > 0 && !l.send(typed[:n]) {
			return
		}
		if err != nil {
			l.send(closed{})
			return
		}
	}
}
