// Package metrics has the state of a fence as metrics of Prometheus: as text for the
// textfile collector of node_exporter, and served by HTTP.
package metrics

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/output"
)

// prefix begins the name of every metric.
const prefix = "ringfence_"

// Text returns the metrics of a fence in Prometheus' text format.
func Text(s *fence.Status, version string) ([]byte, error) {
	families, err := gatherer(s, version).Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return nil, fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	return text.Bytes(), nil
}

// gatherer returns the metrics of a fence as they were found.
func gatherer(s *fence.Status, version string) prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s, version})
	return r
}

// collector gives the values of one status. It describes none beforehand, because which
// there are depends on the policy.
type collector struct {
	status  *fence.Status
	version string
}

// Describe implements prometheus.Collector.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	l := list{to}
	l.gauge("build_info", "The version of ringfence; the value is always 1.", 1, "version", c.version, "goversion", runtime.Version())
	for _, from := range sources {
		from(l, c.status)
	}
}

// list takes values.
type list struct{ to chan<- prometheus.Metric }

// gauge adds a value that may rise and fall. labels are names and values by turns.
func (l list) gauge(name, help string, value float64, labels ...string) {
	l.add(prometheus.GaugeValue, name, help, value, labels)
}

// counter adds a value that only rises, until the table or the classifier is made again.
func (l list) counter(name, help string, value uint64, labels ...string) {
	l.add(prometheus.CounterValue, name, help, float64(value), labels)
}

func (l list) add(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		// What comes from answers, packets and files is UTF-8 then, and of one line.
		names, values = append(names, labels[i]), append(values, output.Escape(strings.ToValidUTF8(labels[i+1], "\ufffd")))
	}
	d := prometheus.NewDesc(prefix+name, help, names, nil)
	m, err := prometheus.NewConstMetric(d, kind, value, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err) // an error of Gather
	}
	l.to <- m
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
