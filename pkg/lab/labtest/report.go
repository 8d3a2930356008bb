package labtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// foundFile names the file that Report writes to.
const foundFile = "RINGFENCE_FOUND"

// Report says what a test has found about a promise: by which fault it was tried, how
// often, and what came of it. scripts/faults makes its table of these lines. A test
// calls it before it can end early, or the table shows it as failed.
func Report(t testing.TB, promise, fault string, times int, format string, args ...any) {
	t.Helper()
	found := fmt.Sprintf(format, args...)
	if t.Failed() {
		found = "FAILED"
	}
	t.Logf("%s, %s, %d times: %s", promise, fault, times, found)
	path := os.Getenv(foundFile)
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	Must(t, err)
	defer file.Close()
	// One write, so that lines of tests that run at once do not mix.
	_, err = file.WriteString(strings.Join([]string{promise, fault, fmt.Sprint(times), found}, "\t") + "\n")
	Must(t, err)
}

// Over is what Report adds to a fault for a test that runs over several back ends.
func Over(fault, backend string) string {
	if backend == "" {
		return fault
	}
	return fault + ", " + backend
}
