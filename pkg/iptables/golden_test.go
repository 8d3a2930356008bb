package iptables_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// compileCases are the policies in the tests of pkg/compile: all texts in their source
// that are one, alone or joined. A new one is a case here too.
func compileCases(t *testing.T) []string {
	t.Helper()
	cases := map[string]bool{}
	files, err := filepath.Glob("../compile/*_test.go")
	labtest.Must(t, err)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		labtest.Must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := constant(e)
			if !ok || !strings.Contains(text, ": ") {
				return true
			}
			if _, err := stateOf(text, hosts()["plain"]); err == nil {
				cases[text] = true
				return false
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(cases))
}

// constant is the value of a string literal, or of several that are joined.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		a, okA := constant(e.X)
		b, okB := constant(e.Y)
		return a + b, okA && okB && e.Op == token.ADD
	}
	return "", false
}

// examples are the policies of the folder of that name.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../examples/*.yaml")
	labtest.Must(t, err)
	var texts []string
	for _, path := range files {
		text, err := os.ReadFile(path)
		labtest.Must(t, err)
		texts = append(texts, strings.Replace(string(text), "version: 1", "", 1))
	}
	return texts
}

// TestListedAsWritten: what is written for each policy is listed by both programs letter
// for letter as it was written.
func TestListedAsWritten(t *testing.T) {
	cases := slices.Concat(policies, compileCases(t))
	if len(cases) < len(policies)+20 {
		t.Fatalf("the tests of pkg/compile have only %d policies", len(cases)-len(policies))
	}
	for _, text := range examples(t) {
		if _, err := stateOf(text, hosts()["plain"]); err == nil { // others need the presets
			cases = append(cases, text)
		}
	}
	t.Logf("%d policies on %d hosts", len(cases), len(hosts()))
	bothFlavours(t, func(t *testing.T, h *lab.Namespace, f iptables.Flavour) {
		for i, name := range slices.Sorted(maps.Keys(hosts())) {
			host := hosts()[name]
			for j, text := range cases {
				if labtest.Count(0, 1) == 0 && i != j%len(hosts()) {
					continue // the short form has each policy on one host
				}
				want := compiled(t, text, host)
				apply(t, h, f, want)
				labtest.In(t, h, func() error {
					written, listed, err := iptables.Lines(t.Context(), f, want)
					if diff := cmp.Diff(written, listed); diff != "" && err == nil {
						t.Errorf("%s, policy %q: what is written (-) is listed as (+):\n%s", name, text, diff)
					}
					return err
				})
			}
		}
	})
}
