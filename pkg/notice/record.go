package notice

import "time"

// Record is what earlier looks have found and may hold still, so that a run that comes
// every few minutes need not repeat itself. It is pure; nil is an empty one.
type Record []Recorded

// Recorded is a notice that held at the last look.
type Recorded struct {
	Code  Code   `json:"code"`
	About string `json:"about,omitempty"`
	Text  string `json:"text"`
	// Since is when it was first seen.
	Since time.Time `json:"since"`
	// Shown says that a user was shown it.
	Shown bool `json:"shown,omitempty"`
}

// find returns what a notice was recorded as, nil if it was not. The text of an alarm
// counts what goes on; another text of a warning is another warning.
func (r Record) find(n Notice) *Recorded {
	for i, old := range r {
		if old.Code == n.Code && old.About == n.About && (n.Severity == Alarm || old.Text == n.Text) {
			return &r[i]
		}
	}
	return nil
}

// Since is when a notice was first seen, now if it is new.
func (r Record) Since(n Notice, now time.Time) time.Time {
	if old := r.find(n); old != nil {
		return old.Since
	}
	return now
}

// Next is the record after a look that has found these notices, and those among them
// that no user was shown yet. Notes are events: they are always news, and are not
// recorded. shown says that news is shown now.
func (r Record) Next(found []Notice, now time.Time, shown bool) (next Record, news []Notice) {
	for _, n := range found {
		if n.Severity == Note {
			news = append(news, n)
			continue
		}
		old := r.find(n)
		if old == nil {
			old = &Recorded{Code: n.Code, About: n.About, Text: n.Text, Since: now}
		}
		if !old.Shown {
			news = append(news, n)
		}
		entry := *old
		entry.Shown = entry.Shown || shown
		next = append(next, entry)
	}
	return next, news
}
