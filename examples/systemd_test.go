package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestUnitsAreConfined: systemd itself finds that the services may do little: their
// exposure is 2.0 at most, of 10.
func TestUnitsAreConfined(t *testing.T) {
	labtest.Need(t, "systemd-analyze")
	units, err := filepath.Glob("systemd/*.service")
	labtest.Must(t, err)
	for _, unit := range units {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
	labtest.Report(t, "P13", "systemd-analyze security, of each service", len(units), "exposure 2.0 at most")
}

// TestNothingToKeepUp: what puts the fence up and refreshes it, by systemd and by cron, runs
// where there is a generation. It does not where the only one was undone: ringfence would
// fail there every five minutes.
func TestNothingToKeepUp(t *testing.T) {
	glob := regexp.MustCompile(`(?m)^ConditionPathExistsGlob=/var/lib/ringfence/(.+)$`)
	for _, test := range []struct {
		name  string
		files []string
		runs  bool
	}{
		{"before the first change", nil, false},
		{"the first change was undone", []string{"00000001.undone.json", "host.json", "newest.form"}, false},
		{"it waits for its confirmation", []string{"00000001.json", "host.json", "newest.form", "unconfirmed.json"}, true},
		{"a later change was undone", []string{"00000001.json", "00000002.undone.json", "host.json", "newest.form"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := t.TempDir()
			labtest.Must(t, os.Mkdir(filepath.Join(state, "journal"), 0o750))
			for _, name := range test.files {
				labtest.Must(t, os.WriteFile(filepath.Join(state, "journal", name), nil, 0o640))
			}
			for _, unit := range []string{"early", "up", "refresh"} {
				text, err := os.ReadFile("systemd/ringfence-" + unit + ".service")
				labtest.Must(t, err)
				condition := glob.FindSubmatch(text)
				if condition == nil {
					t.Fatalf("ringfence-%s.service has no condition", unit)
				}
				found, err := filepath.Glob(filepath.Join(state, string(condition[1])))
				labtest.Must(t, err)
				if (len(found) > 0) != test.runs {
					t.Errorf("ringfence-%s.service finds %q", unit, found)
				}
			}
			if said := cronRuns(t, state); (said == "up\nrefresh\n") != test.runs || (said == "") == test.runs {
				t.Errorf("cron runs %q", said)
			}
		})
	}
}

// cronRuns runs the lines of the cron file with a state folder, where systemd does not keep
// the fence up, and returns which commands of ringfence they run.
func cronRuns(t *testing.T, state string) string {
	t.Helper()
	programs := t.TempDir()
	said := filepath.Join(programs, "said")
	for name, text := range map[string]string{"ringfence": "echo \"$1\" >>" + said, "systemctl": "exit 1"} {
		labtest.Must(t, os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	text, err := os.ReadFile("cron.d/ringfence")
	labtest.Must(t, err)
	for line := range strings.Lines(string(text)) {
		_, command, ok := strings.Cut(line, " root ")
		if !ok {
			continue
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.ReplaceAll(command, "/var/lib/ringfence", state))
		cmd.Env = []string{"PATH=" + programs + ":/usr/bin:/bin"}
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	runs, err := os.ReadFile(said)
	if err != nil {
		return ""
	}
	return string(runs)
}
