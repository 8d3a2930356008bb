package pkg_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFaultsRunTestsThatExist: every promise of scripts/faults has tests, and each of these
// exists and reports what it has found.
func TestFaultsRunTestsThatExist(t *testing.T) {
	script := read(t, "scripts/faults")
	proof := regexp.MustCompile(`(?m)^\t\t(P\d+) ((?:pkg/)?[a-z/]+) (Test\w+(?: Test\w+)*)$`)
	proved := map[string]bool{"P15": strings.Contains(script, "scripts/kernels $only >")}
	for _, row := range proof.FindAllStringSubmatch(script, -1) {
		proved[row[1]] = true
		files, err := filepath.Glob(filepath.Join("..", row[2], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var texts strings.Builder
		for _, file := range files {
			texts.WriteString(read(t, strings.TrimPrefix(file, "../")))
		}
		for name := range strings.FieldsSeq(row[3]) {
			if !strings.Contains(texts.String(), "func "+name+"(t *testing.T)") {
				t.Errorf("%s is tried by %s, which %s lacks", row[1], name, row[2])
			}
		}
		if !strings.Contains(texts.String(), fmt.Sprintf(`labtest.Report(t, "%s",`, row[1])) {
			t.Errorf("no test of %s reports what it has found about %s", row[2], row[1])
		}
	}
	reports := regexp.MustCompile(`(?s)\nfunc (Test\w+)\(t \*testing.T\) {\n(?:[^}\n][^\n]*\n|\n)*?[^\n]*labtest\.Report\(t, "P`)
	files, err := filepath.Glob("*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, found := range reports.FindAllStringSubmatch(read(t, filepath.Join("pkg", file)), -1) {
			if !regexp.MustCompile(` ` + found[1] + `\b`).MatchString(script) {
				t.Errorf("%s reports what it has found, but no promise of scripts/faults runs it", found[1])
			}
		}
	}
	var without []string
	for n := 1; n <= 16; n++ {
		if promise := fmt.Sprintf("P%d", n); !proved[promise] || !strings.Contains(script, "\t\t"+promise+" ") {
			without = append(without, promise)
		}
	}
	if slices.Sort(without); len(without) > 0 {
		t.Errorf("nothing tries %v", without)
	}
}
