package daemon

import (
	"testing"
	"time"
)

// TestInbox: one event is made of several, and what asks for a look in any case is not taken
// for a report of this program's own change that came before or after it.
func TestInbox(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	for name, test := range map[string]struct {
		events []Event
		want   uint64
	}{
		"one":                {[]Event{{Generation: 5}}, 5},
		"two":                {[]Event{{Generation: 5}, {Generation: 6}}, 6},
		"lost, then our own": {[]Event{{At: late}, {Generation: 5, At: early}}, 0},
		"our own, then lost": {[]Event{{Generation: 5, At: early}, {At: late}}, 0},
	} {
		b := newInbox()
		for _, e := range test.events {
			b.put(e)
		}
		got, _ := b.take()
		if got.Generation != test.want {
			t.Errorf("%s: the generation is %d, want %d", name, got.Generation, test.want)
		}
		if len(test.events) == 2 && !test.events[0].At.IsZero() && !got.At.Equal(early) {
			t.Errorf("%s: it began at %v", name, got.At)
		}
		if next, ok := b.take(); ok {
			t.Errorf("%s: it is taken twice: %+v", name, next)
		}
	}
}
