package fence

import "os"

// fileMark tells whether a file is still the same. Files of state are replaced,
// never written to.
type fileMark struct{ info os.FileInfo }

func markOf(path string) fileMark {
	info, err := os.Stat(path)
	if err != nil {
		return fileMark{}
	}
	return fileMark{info}
}

func (m fileMark) same(other fileMark) bool {
	return m.info != nil && other.info != nil && os.SameFile(m.info, other.info) && m.info.ModTime().Equal(other.info.ModTime())
}

// StateMark changes when another run has made a generation, was killed while it
// made one, or has taken the fence down or put it up. What a reconciler itself
// writes does not change it.
type StateMark struct {
	newest                   int
	down, begun, unconfirmed fileMark
}

// Same reports whether nothing has changed.
func (m StateMark) Same(other StateMark) bool {
	same := func(a, b fileMark) bool { return a.info == nil && b.info == nil || a.same(b) }
	return m.newest == other.newest && same(m.down, other.down) && same(m.begun, other.begun) && same(m.unconfirmed, other.unconfirmed)
}

// State returns the mark of what is on disk now.
func (r *Reconciler) State() StateMark {
	numbers, err := r.fence.Numbers()
	m := StateMark{newest: -1}
	if err == nil {
		m.newest = 0
	}
	if len(numbers) > 0 {
		m.newest = numbers[len(numbers)-1]
	}
	m.down, m.begun = markOf(r.fence.DownFile()), markOf(r.fence.BegunFile())
	m.unconfirmed = markOf(r.fence.UnconfirmedFile())
	return m
}
