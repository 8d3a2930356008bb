package pkg_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents are those that name packages, files and scripts.
var documents = []string{"README.md", ".github/CONTRIBUTING.md", ".github/CHANGELOG.md", "pkg/README.md", "third_party/nftables/README.md"}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocumentsNameFilesThatExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	path := regexp.MustCompile(`(?:^|[\s(\x60"])((?:\./)?(?:pkg|rules|scripts|examples|cmd|third_party|\.ci|\.github)/[\w./-]+)`)
	for _, document := range documents {
		text := read(t, document)
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(document), found[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", document, found[1])
			}
		}
		for _, found := range path.FindAllStringSubmatch(text, -1) {
			name := strings.TrimRight(strings.TrimSuffix(found[1], "/..."), ".")
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
	}
}

func TestDocumentsNameCommandsThatExist(t *testing.T) {
	files, err := filepath.Glob("cli/*.go")
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	use := regexp.MustCompile(`Use: +"([a-z]+)`)
	for _, file := range files {
		for _, found := range use.FindAllStringSubmatch(read(t, filepath.Join("pkg", file)), -1) {
			commands[found[1]] = true
		}
	}
	call := regexp.MustCompile(`(?:\x60|\$ |sudo |# |root |    )ringfence (?:--?\S+ \S+ )?([a-z]+)`)
	for _, document := range documents {
		for _, found := range call.FindAllStringSubmatch(read(t, document), -1) {
			if !commands[found[1]] {
				t.Errorf("%s calls ringfence %s, which is no command", document, found[1])
			}
		}
	}
}

// packages are the folders of packages below pkg, by their last names.
func packages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"rules": "../rules"}
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("*/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, deeper...) {
		if !strings.Contains(file, "testdata") {
			found[filepath.Base(filepath.Dir(file))] = filepath.Dir(file)
		}
	}
	return found
}

func TestReadmeNamesEveryPackage(t *testing.T) {
	text := read(t, "pkg/README.md")
	for name, folder := range packages(t) {
		// Those for tests are named in the text, the others have a line of the picture.
		line := regexp.MustCompile(`(?m)^ +` + folder + ` +\w`)
		forTests := strings.HasSuffix(name, "test") && strings.Contains(text, folder)
		if name != "rules" && !forTests && !line.MatchString(text) {
			t.Errorf("pkg/README.md does not name the package %s", folder)
		}
	}
}

// declared are the names of a package: functions, types, constants and variables, and
// methods as Type.Name.
func declared(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			names = append(names, namesOf(d)...)
		}
	}
	return names
}

func namesOf(d ast.Decl) []string {
	var names []string
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return []string{d.Name.Name}
		}
		receiver := d.Recv.List[0].Type
		if star, ok := receiver.(*ast.StarExpr); ok {
			receiver = star.X
		}
		if name, ok := receiver.(*ast.Ident); ok {
			names = append(names, name.Name+"."+d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

func TestReadmeNamesWhatIsDeclared(t *testing.T) {
	name := regexp.MustCompile(`\b([a-z]+)\.([A-Z]\w*(?:\.[A-Z]\w*)?)`)
	folders, checked := packages(t), 0
	for _, document := range documents {
		for _, found := range name.FindAllStringSubmatch(read(t, document), -1) {
			folder, ours := folders[found[1]]
			if !ours {
				continue
			}
			checked++
			if !slices.Contains(declared(t, folder), found[2]) {
				t.Errorf("%s names %s, which is not declared", document, found[0])
			}
		}
	}
	if checked == 0 {
		t.Error("no name was found to check")
	}
}
