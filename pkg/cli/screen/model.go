package screen

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
)

// shortest is the time between two reads. After one that took long it is longer.
const (
	shortest      = time.Second
	restAfterRead = 10
)

func newModelOf(ctx context.Context, a Actions) *model {
	return &model{ctx: ctx, actions: a, orders: []order{
		{"last packet", fence.Latest},
		{"packets", func(a, b fence.Dropped) int { return cmp.Or(cmp.Compare(b.Packets, a.Packets), fence.Latest(a, b)) }},
		{"address", func(a, b fence.Dropped) int { return a.Address.Compare(b.Address) }},
	}}
}

// order is an order of the sources, with its name.
type order struct {
	name string
	less func(a, b fence.Dropped) int
}

// model is the state of the screen.
type model struct {
	ctx     context.Context // of what it calls
	actions Actions
	orders  []order
	order   int

	width, height int
	drops         fence.Drops
	read          bool // there was a first read
	failure       error
	selected      netip.Addr // the source under the cursor
	follows       bool       // the cursor stays with its source, not at the top
	question      question
	message       string // what the last action has done
	busy          bool   // an action is being done
	over          bool   // the user has ended it, or it cannot go on
}

// question waits for yes or no. The zero question asks nothing.
type question struct {
	text   string
	answer func(context.Context, netip.Addr) (string, error)
	about  netip.Addr
}

// Messages, which change the state.
type (
	size   struct{ width, height int }
	key    string   // what was pressed, such as "b" or "up"
	closed struct{} // nothing more will be pressed
	due    struct{} // it is time to read
	result struct {
		drops fence.Drops
		err   error
		rest  time.Duration
	}
	done  struct{ text string }
	crash struct{ value any } // work has panicked
)

// work takes time, and is done beside the screen. It returns a message.
type work func() any

// look reads the sources.
func (m *model) look() work {
	by := m.orders[m.order].less
	return func() any {
		start := time.Now()
		d, err := m.actions.Read(m.ctx, by)
		return result{d, err, max(shortest, restAfterRead*time.Since(start))}
	}
}

// wait lets time pass before the next read.
func (m *model) wait(rest time.Duration) work {
	return func() any {
		select {
		case <-time.After(rest):
		case <-m.ctx.Done():
		}
		return due{}
	}
}

// update changes the state as a message says, and returns the work that follows, if any.
func (m *model) update(msg any) work {
	switch msg := msg.(type) {
	case size:
		m.width, m.height = msg.width, msg.height
	case closed:
		m.over = true
	case crash:
		panic(msg.value) // here somebody restores the terminal
	case due:
		return m.look()
	case result:
		if msg.err != nil && !m.read {
			m.failure, m.over = msg.err, true
			return nil
		}
		if msg.err != nil {
			m.message = "error: " + msg.err.Error() // the table may be there again the next time
		} else {
			m.drops, m.read = msg.drops, true
		}
		m.sort() // it may have been read for another order
		m.move(0)
		return m.wait(msg.rest)
	case done:
		m.message, m.busy = msg.text, false
	case key:
		return m.press(string(msg))
	}
	return nil
}

// press does what a key means.
func (m *model) press(key string) work {
	if key == "ctrl+c" {
		m.over = true
		return nil
	}
	if q := m.question; q.answer != nil {
		m.question = question{}
		if key != "y" {
			m.message = "Nothing was changed."
			return nil
		}
		m.message, m.busy = "…", true
		return func() any {
			text, err := q.answer(m.ctx, q.about)
			if err != nil {
				text = "error: " + err.Error()
			}
			return done{text}
		}
	}
	if !m.busy {
		m.message = ""
	}
	switch key {
	case "q", "esc":
		m.over = true
	case "s":
		m.order = (m.order + 1) % len(m.orders)
		m.sort()
		m.move(0)
	case "home", "g":
		m.follows = false
		m.move(0)
	case "b":
		m.ask("Ban %s? y or n", m.actions.Ban)
	case "a":
		m.ask("Allow %s? y or n", m.actions.Allow)
	default:
		if by := m.moves(key); by != 0 {
			m.follows = true
			m.move(by)
		}
	}
	return nil
}

// moves is by how many sources a key moves the cursor.
func (m *model) moves(key string) int {
	switch key {
	case "up", "k":
		return -1
	case "down", "j":
		return 1
	case "pgup":
		return -m.rows()
	case "pgdown", "space":
		return m.rows()
	case "end", "G":
		return len(m.drops.Sources)
	}
	return 0
}

// ask asks whether something should be done to the selected source.
func (m *model) ask(text string, do func(context.Context, netip.Addr) (string, error)) {
	if m.selected.IsValid() && !m.busy {
		m.question = question{fmt.Sprintf(text, m.selected), do, m.selected}
	}
}

// oneLine makes one harmless line of a text.
func oneLine(text string) string { return output.Escape(strings.ReplaceAll(text, "\n", "; ")) }
