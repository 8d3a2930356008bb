// Package screen is the screen of watch: a table of who is dropped, with keys to sort it,
// to ban and to allow. It is the only package that uses bubbletea.
package screen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
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

// shortest is the time between two reads. After one that took long it is longer.
const (
	shortest      = time.Second
	restAfterRead = 10
)

// Show shows the table until the user ends it or the context does, which is no error.
func Show(ctx context.Context, in io.Reader, out io.Writer, environment []string, a Actions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModelOf(ctx, a)
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(environment), tea.WithoutSignalHandler())
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil
	}
	switch {
	case m.failure != nil && ctx.Err() == nil:
		return m.failure
	case err != nil:
		return fmt.Errorf("show the table: %w", err)
	}
	return nil
}

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
	ctx     context.Context // of what it calls: bubbletea has none
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
}

// question waits for yes or no. The zero question asks nothing.
type question struct {
	text   string
	answer func(context.Context, netip.Addr) (string, error)
	about  netip.Addr
}

// Messages of the program to itself.
type (
	due    struct{} // it is time to read
	result struct {
		drops fence.Drops
		err   error
		rest  time.Duration
	}
	done struct{ text string }
)

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.look() }

// look reads the sources.
func (m *model) look() tea.Cmd {
	by := m.orders[m.order].less
	return func() tea.Msg {
		start := time.Now()
		d, err := m.actions.Read(m.ctx, by)
		return result{d, err, max(shortest, restAfterRead*time.Since(start))}
	}
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case due:
		return m, m.look()
	case result:
		if msg.err != nil && !m.read {
			m.failure = msg.err
			return m, tea.Quit
		}
		if msg.err != nil {
			m.message = "error: " + msg.err.Error() // the table may be there again the next time
		} else {
			m.drops, m.read = msg.drops, true
		}
		m.sort() // it may have been read for another order
		m.move(0)
		return m, tea.Tick(msg.rest, func(time.Time) tea.Msg { return due{} })
	case done:
		m.message, m.busy = msg.text, false
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// press does what a key means.
func (m *model) press(key string) tea.Cmd {
	if key == "ctrl+c" {
		return tea.Quit
	}
	if q := m.question; q.answer != nil {
		m.question = question{}
		if key != "y" {
			m.message = "Nothing was changed."
			return nil
		}
		m.message, m.busy = "…", true
		return func() tea.Msg {
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
		return tea.Quit
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
