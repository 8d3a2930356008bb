package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/metrics"
	"github.com/ringfence/ringfence/pkg/notice"
)

// served is a server of metrics whose fence has a status, or an error.
type served struct {
	*metrics.Server
	log bytes.Buffer
	end func()
}

func serve(t *testing.T, status func() (*fence.Status, error)) *served {
	t.Helper()
	s, err := metrics.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &served{Server: s}
	s.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	s.Status, s.Version = func(context.Context) (*fence.Status, error) { return status() }, "1.2.3"
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve(ctx) })
	r.end = func() {
		cancel()
		serving.Wait()
	}
	t.Cleanup(r.end)
	return r
}

func get(t *testing.T, method, url string) (status int, body string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	labtest.Must(t, err)
	a, err := http.DefaultClient.Do(q)
	labtest.Must(t, err)
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	labtest.Must(t, err)
	return a.StatusCode, string(text)
}

// TestServe: every request gets what the command prints, and the process beside it.
func TestServe(t *testing.T) {
	s := serve(t, func() (*fence.Status, error) { return whole(), nil })
	code, body := get(t, http.MethodGet, s.URL())
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, body)
	}
	for line := range strings.Lines(text(t, whole())) {
		if !strings.Contains(body, line) {
			t.Errorf("%q is not served", line)
		}
	}
	if !strings.Contains(body, "\nprocess_resident_memory_bytes ") {
		t.Error("the memory of the process is not served")
	}
	for path, want := range map[string]int{"/": http.StatusOK, "/metrics/x": http.StatusNotFound, "/debug/pprof/": http.StatusNotFound} {
		if code, _ := get(t, http.MethodGet, strings.TrimSuffix(s.URL(), "/metrics")+path); code != want {
			t.Errorf("%s: status %d, want %d", path, code, want)
		}
	}
	if code, _ := get(t, http.MethodPost, s.URL()); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", code)
	}
}

// TestServeAsPrometheus: what is served of the process has the names and kinds that
// Prometheus' own library gives, and its parser reads all of it. The bytes that the network
// has carried are missing: what /proc has of them is not of the process.
func TestServeAsPrometheus(t *testing.T) {
	s := serve(t, func() (*fence.Status, error) { return whole(), nil })
	_, body := get(t, http.MethodGet, s.URL())
	parser := expfmt.NewTextParser(model.UTF8Validation)
	served, err := parser.TextToMetricFamilies(strings.NewReader(body))
	labtest.Must(t, err)
	own := prometheus.NewRegistry()
	own.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	want, err := own.Gather()
	labtest.Must(t, err)
	for _, f := range want {
		if strings.HasPrefix(f.GetName(), "process_network_") {
			continue
		}
		got := served[f.GetName()]
		if got.GetType() != f.GetType() || len(got.GetMetric()) != len(f.GetMetric()) {
			t.Errorf("%s is %v, want %v", f.GetName(), got, f)
		}
	}
	if rss := served["process_resident_memory_bytes"].GetMetric()[0].GetGauge().GetValue(); rss < 1<<20 {
		t.Errorf("the process has %v bytes", rss)
	}
}

// TestServeError: without a status there are no metrics, and the log says so once.
func TestServeError(t *testing.T) {
	var works atomic.Bool
	s := serve(t, func() (*fence.Status, error) {
		if works.Load() {
			return whole(), nil
		}
		return nil, errors.New("no permission")
	})
	for range 3 {
		if code, body := get(t, http.MethodGet, s.URL()); code != http.StatusServiceUnavailable || strings.Contains(body, "ringfence_") {
			t.Errorf("status %d: %s", code, body)
		}
	}
	works.Store(true)
	if code, _ := get(t, http.MethodGet, s.URL()); code != http.StatusOK {
		t.Errorf("status %d", code)
	}
	s.end()
	if n := strings.Count(s.log.String(), "no permission"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, &s.log)
	}
	if _, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/metrics")); err == nil {
		t.Error("it still listens after its end")
	}
}

// TestServeTogether: many who ask at once all get an answer, and the fence is read for one
// of them at a time.
func TestServeTogether(t *testing.T) {
	var reading atomic.Int32
	s := serve(t, func() (*fence.Status, error) {
		if n := reading.Add(1); n != 1 {
			t.Errorf("%d read the fence at once", n)
		}
		defer reading.Add(-1)
		return whole(), nil
	})
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if code, _ := get(t, http.MethodGet, s.URL()); code != http.StatusOK {
				t.Errorf("status %d", code)
			}
		})
	}
	all.Wait()
}

// TestListen: an address that cannot be is an error that says what could be.
func TestListen(t *testing.T) {
	s, err := metrics.Listen(t.Context(), "127.0.0.1:0")
	labtest.Must(t, err)
	defer s.Close()
	busy := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/metrics")
	for address, want := range map[string]string{
		"":                 `metrics at "": it is no address with a port`,
		"9960":             `metrics at "9960": it is no address with a port`,
		"127.0.0.1":        `metrics at "127.0.0.1": it is no address with a port`,
		"127.0.0.1:x":      `metrics at "127.0.0.1:x": "x" is no port`,
		"127.0.0.1:65536":  `metrics at "127.0.0.1:65536": "65536" is no port`,
		"pbx.example:9960": `metrics at "pbx.example:9960": "pbx.example" is no address`,
		"192.0.2.1:9960":   "metrics at 192.0.2.1:9960: this host has no such address",
		busy:               "metrics at " + busy + ": another program listens there",
	} {
		s, err := metrics.Listen(t.Context(), address)
		if err == nil {
			s.Close()
		}
		if err == nil || err.Error() != want || notice.Hint(err) == "" {
			t.Errorf("%q: error %v with the hint %q, want %q", address, err, notice.Hint(err), want)
		}
	}
	for _, address := range []string{":0", "localhost:0", "127.0.0.1:0"} {
		s, err := metrics.Listen(t.Context(), address)
		if err != nil || !strings.HasPrefix(s.URL(), "http://127.0.0.1:") {
			t.Errorf("%q is %v (%v), not this host alone", address, s, err)
			continue
		}
		s.Close()
	}
}
