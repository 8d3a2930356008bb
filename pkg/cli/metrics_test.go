package cli_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// value is that of a metric with its labels, as it is written; "" if it is missing.
func value(metrics, name string) string {
	for line := range strings.Lines(metrics) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestMetrics: the metrics say what has happened to packets, with each back end.
func TestMetrics(t *testing.T) {
	t.Parallel()
	eachBackend(t, testMetrics)
}

func testMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger, stranger4, _ := w.stranger(t, 1)
	pbx := listen(t, w.pbx, 5060, pbx4)
	s := newSite(t, w.pbx, staticPolicy)
	before := s.must(t, 0, "metrics").stdout
	if value(before, "ringfence_up") != "0" || value(before, "ringfence_generation") != "0" {
		t.Errorf("before there is a fence:\n%s", before)
	}
	s.must(t, 0, "apply", "--confirm", "10m")
	ask(t, stranger, stranger4, pbx4, "REGISTER", "a phone")
	ask(t, w.provider, edge1, pbx4, "OPTIONS", "a server")
	until(t, "the provider is heard", func() bool { return pbx.From(edge1) > 0 })
	s.must(t, 0, "ban", "198.51.100.77")
	got := s.must(t, 0, "metrics").stdout
	for name, want := range map[string]string{
		"ringfence_up": "1", "ringfence_drift": "0", "ringfence_generation": "1", "ringfence_banned_addresses": "1",
		`ringfence_packets_total{reason="unknown",verdict="dropped"}`:   "1",
		`ringfence_packets_total{reason="provider",verdict="allowed"}`:  "1",
		`ringfence_provider_addresses{family="ipv4",provider="acme"}`:   "1",
		`ringfence_backend_info{backend="` + backendName(t, got) + `"}`: "1",
	} {
		if v := value(got, name); v != want {
			t.Errorf("%s is %q, want %s:\n%s", name, v, want, got)
		}
	}
	if value(got, "ringfence_pending_deadline_timestamp_seconds") == "" {
		t.Errorf("nothing says that the change waits for its confirmation:\n%s", got)
	}
	s.must(t, 0, "confirm")
	s.must(t, 0, "down")
	got = s.must(t, 0, "metrics").stdout
	if value(got, "ringfence_up") != "0" || value(got, "ringfence_down_timestamp_seconds") == "" {
		t.Errorf("after down:\n%s", got)
	}
	if program, err := exec.LookPath("promtool"); err == nil {
		labtest.RunInput(t, w.pbx, got, program, "check", "metrics")
	}
}

// backendName is the back end that metrics name.
func backendName(t *testing.T, metrics string) (name string) {
	t.Helper()
	_, rest, ok := strings.Cut(metrics, `ringfence_backend_info{backend="`)
	if !ok {
		t.Errorf("no back end in:\n%s", metrics)
	}
	name, _, _ = strings.Cut(rest, `"`)
	return name
}

// scrape asks for the metrics of a host as Prometheus does.
func scrape(t *testing.T, h *lab.Namespace, address string) (text string) {
	t.Helper()
	labtest.In(t, h, func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /metrics HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(c)
		text = string(all)
		return err
	})
	return text
}

// TestRunMetrics: the service serves what the command prints, follows what happens, and
// ends as it does without; an address that it cannot have is an error at once.
func TestRunMetrics(t *testing.T) {
	t.Parallel()
	h := labtest.Host(t, "pbx")
	labtest.Run(t, h, "ip", "link", "set", "lo", "up")
	labtest.Run(t, h, "ip", "link", "add", "eth0", "type", "bridge")
	s := newSite(t, h, staticPolicy)
	s.must(t, 0, "apply")
	const at = "127.0.0.1:9960"
	r := serve(t, s, "--metrics", ":9960")
	if text := scrape(t, h, at); !strings.HasPrefix(text, "HTTP/1.0 200 OK\r\n") || value(text, "ringfence_up") != "1" || value(text, "process_resident_memory_bytes") == "" {
		t.Errorf("it serves:\n%s", text)
	}
	labtest.Run(t, h, "nft", "delete", "table", "inet", "ringfence")
	r.until(t, "the table is back", func() bool { return value(scrape(t, h, at), "ringfence_up") == "1" })
	s.must(t, 0, "ban", "198.51.100.77")
	if text := scrape(t, h, at); value(text, "ringfence_banned_addresses") != "1" {
		t.Errorf("after a ban:\n%s", text)
	}
	for _, address := range []string{at, "192.0.2.1:9960", "nonsense", ""} {
		if o := s.run(t, "run", "--metrics", address); o.status != 1 || !strings.Contains(o.stderr, "\nringfence: hint: ") {
			t.Errorf("run --metrics %q ends with %d and says:\n%s", address, o.status, o.stderr)
		}
	}
	s.must(t, 0, "diff") // nor have they changed anything
	s.must(t, 0, "down")
	r.until(t, "the metrics say that the fence is down", func() bool { return value(scrape(t, h, at), "ringfence_up") == "0" })
	r.end(t)
}

// TestMetricsError: there are either all metrics or an error, and nothing between.
func TestMetricsError(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	if o := s.run(t, "metrics", "-o", "json"); o.status != 1 || !strings.Contains(o.stdout, `"error": "metrics has no JSON`) {
		t.Errorf("-o json ends with %d:\n%s", o.status, o.stdout)
	}
	entries, err := filepath.Glob(filepath.Join(s.state(), "journal", "*.json"))
	labtest.Must(t, err)
	for _, e := range entries {
		labtest.Must(t, os.WriteFile(e, []byte("{"), 0o640))
	}
	if o := s.run(t, "metrics"); o.status != 1 || o.stdout != "" || !strings.Contains(o.stderr, "ringfence: error: ") {
		t.Errorf("with a damaged generation it ends with %d:\n%s%s", o.status, o.stdout, o.stderr)
	}
}
