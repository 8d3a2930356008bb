package metrics

import "testing"

// TestTwice: one value with the same labels twice, or a metric of two kinds, is an error:
// Prometheus would refuse all of it.
func TestTwice(t *testing.T) {
	for name, add := range map[string]func(*list){
		"the same value twice": func(l *list) {
			l.gauge("a", "An a.", 1, "x", "1", "y", "2")
			l.gauge("a", "An a.", 2, "y", "2", "x", "1")
		},
		"two kinds": func(l *list) { l.gauge("a", "An a.", 1, "x", "1"); l.counter("a", "An a.", 1, "x", "2") },
		"two texts": func(l *list) { l.gauge("a", "An a.", 1, "x", "1"); l.gauge("a", "Another.", 1, "x", "2") },
	} {
		var l list
		add(&l)
		if text, err := l.text(); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
	var l list
	l.gauge("a", "An a.", 1, "x", "1")
	l.gauge("a", "An a.", 1, "x", "2")
	if text, err := l.text(); err != nil || string(text) != "# HELP a An a.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 1\n" {
		t.Errorf("%s, %v", text, err)
	}
}
