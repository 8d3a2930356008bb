package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestPrometheus: a real Prometheus reads what the daemon serves, with the alert rules of
// examples, and has alerts about what happens. Only how long that must last is shorter.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "prometheus")
	w := newWorld(t)
	labtest.Run(t, w.pbx, "ip", "link", "set", "lo", "up")
	s := newSite(t, w.pbx, staticPolicy)
	s.must(t, 0, "apply")
	r := serve(t, s, "--metrics", ":9960")
	const at = "127.0.0.1:9090"
	startPrometheus(t, w.pbx, at)
	labtest.Until(t, "Prometheus has a value", func() bool {
		return len(prometheus(t, w.pbx, at, "query?query=ringfence_allowed_scanner_packets_total")) > 0
	})
	if firing := alerts(t, w.pbx, at); len(firing) > 0 {
		t.Errorf("before anything has happened there are the alerts %v", firing)
	}
	ask(t, w.provider, edge1, pbx4, "INVITE", "friendly-scanner")
	labtest.Until(t, "an allowed source sends what scanners send", func() bool { return alerts(t, w.pbx, at)["RingfenceAllowedScanner"] })
	s.must(t, 0, "down")
	labtest.Until(t, "the fence is down", func() bool { return alerts(t, w.pbx, at)["RingfenceDown"] })
	r.end(t)
}

// startPrometheus runs Prometheus on a host that has the daemon, until the test ends.
func startPrometheus(t *testing.T, h *lab.Namespace, at string) {
	t.Helper()
	rules, err := os.ReadFile("../../examples/grafana/ringfence.rules.yml")
	labtest.Must(t, err)
	folder := t.TempDir()
	write := func(name, text string) {
		labtest.Must(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	write("ringfence.rules.yml", regexp.MustCompile(`for: \w+`).ReplaceAllString(string(rules), "for: 1s"))
	write("prometheus.yml", `global: {scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}
rule_files: [ringfence.rules.yml]
scrape_configs: [{job_name: ringfence, static_configs: [{targets: ["127.0.0.1:9960"]}]}]
`)
	cmd := exec.CommandContext(t.Context(), "prometheus", "--config.file", filepath.Join(folder, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(folder, "data"), "--web.listen-address", at)
	log, err := os.Create(filepath.Join(folder, "log"))
	labtest.Must(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	labtest.Must(t, h.Start(cmd))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("Prometheus says:\n%s", text)
		}
	})
}

// sample is a result of a query of Prometheus, or one of its alerts.
type sample struct {
	Labels map[string]string
	State  string
}

// prometheus asks by its API; it has no answer while it starts.
func prometheus(t *testing.T, h *lab.Namespace, at, question string) []sample {
	t.Helper()
	var answer struct {
		Data struct {
			Result, Alerts []sample
		}
	}
	labtest.In(t, h, func() error {
		c, err := net.Dial("tcp", at)
		if err != nil {
			return nil //nolint:nilerr // it does not listen yet
		}
		defer c.Close()
		client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}}
		response, err := client.Get(fmt.Sprintf("http://%s/api/v1/%s", at, question))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			return err
		}
		return json.Unmarshal(text, &answer)
	})
	return append(answer.Data.Result, answer.Data.Alerts...)
}

// alerts are the names of those that fire.
func alerts(t *testing.T, h *lab.Namespace, at string) map[string]bool {
	t.Helper()
	firing := map[string]bool{}
	for _, a := range prometheus(t, h, at, "alerts") {
		if a.State == "firing" {
			firing[a.Labels["alertname"]] = true
		}
	}
	return firing
}
