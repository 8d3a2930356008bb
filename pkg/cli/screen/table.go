package screen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/clipperhouse/displaywidth"

	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/report"
)

// Lines that are not sources: the title, an empty one, the heads of the columns, and at the
// end an empty one and two for what can be done.
const otherLines = 6

// rows is how many sources there is room for.
func (m *model) rows() int { return max(1, m.height-otherLines) }

// at is where the selected source is, -1 if it is not there.
func (m *model) at() int {
	return slices.IndexFunc(m.drops.Sources, func(d fence.Dropped) bool { return d.Address == m.selected })
}

// move moves the cursor. It stays at the top until it was moved, and from then on with its
// source while others come and go.
func (m *model) move(by int) {
	n := len(m.drops.Sources)
	if n == 0 {
		m.selected = netip.Addr{}
		return
	}
	at := 0
	if m.follows {
		at = min(max(max(m.at(), 0)+by, 0), n-1)
	}
	m.selected = m.drops.Sources[at].Address
}

// sort brings what was read into the order, until the next read does.
func (m *model) sort() {
	sources := slices.Clone(m.drops.Sources)
	slices.SortStableFunc(sources, m.orders[m.order].less)
	m.drops.Sources = sources
}

// lines are those of the screen.
func (m *model) lines() []string {
	lines := []string{m.title(), ""}
	shown := m.shown()
	lines = append(lines, m.table(shown)...)
	for len(lines) < m.height-3 {
		lines = append(lines, "")
	}
	status := m.message
	if at := m.at(); status == "" && at >= 0 && m.drops.Sources[at].Text != "" {
		status = m.selected.String() + "  " + m.drops.Sources[at].Text
	}
	if m.question.answer != nil {
		status = m.question.text
	}
	lines = append(lines, "", oneLine(status), m.keys())
	if m.height > 0 && len(lines) > m.height { // what can be done is worth more than empty lines
		lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
		lines = lines[max(0, len(lines)-m.height):]
	}
	for i, line := range lines {
		if m.width > 0 {
			lines[i] = displaywidth.TruncateString(line, m.width, "…")
		}
	}
	return lines
}

// keys says which there are, shortly where there is little room.
func (m *model) keys() string {
	const (
		narrow = "s: sort b: ban a: allow q: end"
		short  = "s: sort  b: ban  a: allow  q: end"
	)
	long := "up down: select  s: sort by " + m.orders[(m.order+1)%len(m.orders)].name + "  b: ban  a: allow  q: end"
	switch {
	case m.width == 0 || m.width >= len(long):
		return long
	case m.width >= len(short):
		return short
	}
	return narrow
}

func (m *model) title() string {
	title := "dropped"
	if m.drops.Monitor {
		title = "would be dropped (monitor mode: it passes)"
	}
	if !m.read {
		return title
	}
	return fmt.Sprintf("%s in the last %s: %s, by %s", title, m.actions.Since, notice.Count(len(m.drops.Sources), "source"), m.orders[m.order].name)
}

// shown are the sources around the cursor that there is room for.
func (m *model) shown() []fence.Dropped {
	n := len(m.drops.Sources)
	first := min(max(m.at()-m.rows()/2, 0), max(n-m.rows(), 0))
	return m.drops.Sources[first:min(first+m.rows(), n)]
}

// table are the lines of sources, with columns of one width.
func (m *model) table(shown []fence.Dropped) []string {
	if len(shown) == 0 {
		if !m.read {
			return nil
		}
		return []string{"  Nobody yet."}
	}
	cells := [][]string{{"  address", "packets", "last", "why", "what"}}
	for _, d := range report.DroppedOf(shown) {
		mark := "  "
		if d.Address == m.selected.String() {
			mark = "> "
		}
		cells = append(cells, []string{mark + d.Address, fmt.Sprint(d.Packets), notice.Ago(d.Last), oneLine(d.Reason), oneLine(view.Sent(d))})
	}
	widths := make([]int, len(cells[0]))
	for _, row := range cells {
		for i, c := range row {
			widths[i] = max(widths[i], displaywidth.String(c))
		}
	}
	var lines []string
	for _, row := range cells {
		var line strings.Builder
		for i, c := range row {
			space := strings.Repeat(" ", widths[i]-displaywidth.String(c))
			if i == 1 {
				c, space = space+c, ""
			}
			line.WriteString(c + space + "  ")
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}
