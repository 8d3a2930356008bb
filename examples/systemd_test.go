package examples_test

import (
	"os/exec"
	"path/filepath"
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
