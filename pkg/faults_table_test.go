package pkg_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFaultsKeepWhatReadmeHas: on a machine where nothing was found yet, the rows of
// README.md stay as they are, and what is found there is added to them or takes their place.
func TestFaultsKeepWhatReadmeHas(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	table := func() (readme string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "scripts/faults"), "table").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(folder, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	readme := read(t, "README.md")
	write("scripts/faults", read(t, "scripts/faults"))
	write("README.md", readme)
	if table() != readme {
		t.Fatalf("without anything found, README.md is\n%s", table())
	}

	// All of P9 was tried again on another day, with another kernel.
	write(".cache/faults/found/P9.120000.1", "# 2031-01-02\n# Linux 9.9.9\nP9\tan address removed\t7\t0 packets after the removal\n")
	again := table()
	for _, want := range []string{" to 2031-01-02, on Linux ", ", 9.9.9:\n", "        7  an address removed  ", "P8   The drop", "P10  It stays on"} {
		if !strings.Contains(again, want) {
			t.Errorf("after a run README.md has no %q", want)
		}
	}
	if strings.Contains(again, "an address removed while its call is up") {
		t.Error("the earlier rows of a promise stay after a run of all its tests")
	}
	if lost := strings.Count(readme, "\n") - strings.Count(again, "\n"); lost != strings.Count(readme, "an address removed while its call is up")-1 {
		t.Errorf("README.md has lost %d lines", lost)
	}
	if table() != again {
		t.Error("README.md changes although nothing was found")
	}
}
