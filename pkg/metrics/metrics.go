// Package metrics has the state of a fence as metrics of Prometheus: as text for the
// textfile collector of node_exporter, and served by HTTP. It writes the text itself:
// Prometheus' own library brings protocol buffers, which are a tenth of the program, and
// with which the linker cannot leave out methods that nobody calls.
package metrics

import (
	"runtime"

	"github.com/ringfence/ringfence/pkg/fence"
)

// prefix begins the name of every metric of the fence.
const prefix = "ringfence_"

// Text returns the metrics of a fence in Prometheus' text format.
func Text(s *fence.Status, version string) ([]byte, error) {
	return ofFence(s, version).text()
}

// ofFence returns the metrics of a fence as they were found. Which there are depends on
// the policy.
func ofFence(s *fence.Status, version string) *list {
	l := &list{prefix: prefix}
	l.gauge("build_info", "The version of ringfence; the value is always 1.", 1, "version", version, "goversion", runtime.Version())
	for _, from := range sources {
		from(l, s)
	}
	return l
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
