package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// dashboard are parts of Grafana's format.
type dashboard struct {
	Title, UID  string
	Templating  struct{ List []struct{ Name, Type string } }
	Annotations struct{ List []struct{ Expr string } }
	Panels      []panel
}

type panel struct {
	ID         int
	Title      string
	Datasource struct{ UID string }
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		Expr, RefID string
		Datasource  struct{ UID string }
	}
}

// ruleFile is a file of rules of Prometheus.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("grafana/ringfence.json")
	labtest.Must(t, err)
	labtest.Must(t, json.Unmarshal(text, &d))
	return d
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile("grafana/ringfence.rules.yml")
	labtest.Must(t, err)
	var f ruleFile
	labtest.Must(t, yaml.Load(text, &f, yaml.WithKnownFields()))
	for _, g := range f.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// expressions are all of the dashboard, with values in the place of its variables, and of
// the alerts.
func expressions(t *testing.T) (list []string) {
	t.Helper()
	values := strings.NewReplacer("$instance", ".*", "$__rate_interval", "5m", "$__range", "1d")
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			list = append(list, values.Replace(target.Expr))
		}
	}
	for _, a := range d.Annotations.List {
		list = append(list, values.Replace(a.Expr))
	}
	for _, r := range readRules(t) {
		list = append(list, r.Expr)
	}
	return list
}

// TestExpressionsNameMetrics: no expression names a metric or a label that ringfence does
// not have, and each metric that needs somebody has an alert.
func TestExpressionsNameMetrics(t *testing.T) {
	text, err := os.ReadFile("../pkg/metrics/testdata/whole.prom")
	labtest.Must(t, err)
	known := map[string]bool{"instance": true, "file": true}
	for _, m := range regexp.MustCompile(`(?m)^(ringfence_\w+)`).FindAllStringSubmatch(string(text), -1) {
		known[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`[{,](\w+)="`).FindAllStringSubmatch(string(text), -1) {
		known[m[1]] = true
	}
	for _, e := range expressions(t) {
		for _, name := range regexp.MustCompile(`ringfence_\w+`).FindAllString(e, -1) {
			if !known[name] {
				t.Errorf("%s: there is no metric %s", e, name)
			}
		}
		for _, m := range regexp.MustCompile(`(?:[{,]\s*(\w+)\s*[=!]|(?:by|without) \((\w+)(?:, (\w+))?\))`).FindAllStringSubmatch(e, -1) {
			for _, label := range m[1:] {
				if label != "" && !known[label] {
					t.Errorf("%s: there is no label %s", e, label)
				}
			}
		}
	}
	alerts := ""
	for _, r := range readRules(t) {
		alerts += r.Expr + "\n"
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("alert %s has no summary, no description or no severity", r.Alert)
		}
	}
	for _, name := range []string{
		"ringfence_up", "ringfence_drift", "ringfence_alarms", "ringfence_provider_last_answer_timestamp_seconds", "ringfence_refresh_timestamp_seconds",
		"ringfence_unseen_packets_total", "ringfence_allowed_scanner_packets_total", "ringfence_pending_deadline_timestamp_seconds",
	} {
		if !strings.Contains(alerts, name) {
			t.Errorf("no alert is about %s", name)
		}
	}
}

// TestDashboard: the dashboard takes its data source from a variable, and its panels lie
// beside each other.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if d.Title == "" || d.UID == "" || variables["datasource"] != "datasource" || variables["instance"] != "query" {
		t.Errorf("title %q, uid %q, variables %v", d.Title, d.UID, variables)
	}
	taken := map[string]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q: id %d, data source %q, %d targets", p.Title, p.ID, p.Datasource.UID, len(p.Targets))
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q asks %q", p.Title, target.Datasource.UID)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				at := fmt.Sprint(x, ",", y)
				if x >= 24 || taken[at] != "" {
					t.Fatalf("panel %q lies on %q at %s", p.Title, taken[at], at)
				}
				taken[at] = p.Title
			}
		}
	}
}

// TestPromtool: Prometheus' own program reads every expression, and each alert fires when
// it should.
func TestPromtool(t *testing.T) {
	labtest.Need(t, "promtool")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "grafana"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("check", "rules", "ringfence.rules.yml")
	run("test", "rules", "ringfence.rules.test.yml")

	var all ruleFile
	all.Groups = append(all.Groups, struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}{Name: "all"})
	for i, e := range expressions(t) {
		all.Groups[0].Rules = append(all.Groups[0].Rules, rule{Alert: fmt.Sprint("E", i), Expr: e, For: "1m"})
	}
	text, err := yaml.Dump(all)
	labtest.Must(t, err)
	path := filepath.Join(t.TempDir(), "all.yml")
	labtest.Must(t, os.WriteFile(path, text, 0o600))
	run("check", "rules", path)
}

// TestEveryAlertIsTested: the file of tests has each alert, firing and not firing.
func TestEveryAlertIsTested(t *testing.T) {
	text, err := os.ReadFile("grafana/ringfence.rules.test.yml")
	labtest.Must(t, err)
	for _, r := range readRules(t) {
		if !strings.Contains(string(text), "alertname: "+r.Alert+"\n        exp_alerts:\n          -") {
			t.Errorf("no test wants %s to fire", r.Alert)
		}
		if !strings.Contains(string(text), "alertname: "+r.Alert+", exp_alerts: []") {
			t.Errorf("no test wants %s not to fire", r.Alert)
		}
	}
}
