package examples_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// document is a file of Markdown, taken apart.
type document struct {
	path   string // from the root of the repository
	blocks []block
	prose  []string // the lines that are in no block, each with its number as index
}

// block is a block of code.
type block struct {
	at       string // file:line
	language string // of the fence; "" is an indented block, or one without a language
	text     string
	// notRun is why its commands are not run, as a comment before it says.
	notRun string
}

const root = ".."

var notRun = regexp.MustCompile(`^<!-- not run: (.+) -->$`)

// documents are all of the repository that are its own.
func documents(t *testing.T) []document {
	t.Helper()
	var all []document
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".cache", "dist", "third_party", "testdata"}, d.Name()):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			all = append(all, read(strings.TrimPrefix(path, root+"/"), string(text)))
		}
		return err
	})
	labtest.Must(t, err)
	if len(all) < 9 {
		t.Fatalf("there are only %d documents", len(all))
	}
	return all
}

// read takes a document apart. It knows what these documents use: fences of three
// backticks, and blocks indented by four spaces after an empty line.
func read(path, text string) document {
	d := document{path: path}
	comment, within, before := "", "", ""
	for i, line := range strings.Split(text, "\n") {
		d.prose = append(d.prose, "")
		last := len(d.blocks) - 1
		fence, fenced := strings.CutPrefix(line, "```")
		switch {
		case within == "fence" && fenced:
			within = ""
		case within == "fence":
			d.blocks[last].text += line + "\n"
		case within == "indented" && strings.HasPrefix(line, "    "):
			d.blocks[last].text += line[4:] + "\n"
		case fenced:
			within = "fence"
			d.blocks = append(d.blocks, block{at: fmt.Sprintf("%s:%d", path, i+1), language: fence, notRun: comment})
		case strings.HasPrefix(line, "    ") && before == "":
			within = "indented"
			d.blocks = append(d.blocks, block{at: fmt.Sprintf("%s:%d", path, i+1), text: line[4:] + "\n", notRun: comment})
		default:
			within = ""
			d.prose[i] = line
		}
		if found := notRun.FindStringSubmatch(line); found != nil {
			comment = found[1]
		} else if line != "" {
			comment = ""
		}
		before = line
	}
	return d
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`^#+ (.+)$`)
	marks   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are what links can lead to within the document.
func (d document) anchors() []string {
	var list []string
	for _, line := range d.prose {
		if found := heading.FindStringSubmatch(line); found != nil {
			list = append(list, strings.ReplaceAll(marks.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-"))
		}
	}
	return list
}

// TestDocsLinks: what a document links to in the repository is there.
func TestDocsLinks(t *testing.T) {
	all := documents(t)
	links := 0
	for _, d := range all {
		for _, found := range link.FindAllStringSubmatch(strings.Join(d.prose, "\n"), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			path := d.path
			if target != "" {
				path = filepath.Join(filepath.Dir(d.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s, which is not there", d.path, found[1])
				continue
			}
			i := slices.IndexFunc(all, func(other document) bool { return other.path == path })
			if anchor != "" && (i < 0 || !slices.Contains(all[i].anchors(), anchor)) {
				t.Errorf("%s links to %s, which has no such heading", d.path, found[1])
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}

// TestRead: the parts of a document.
func TestRead(t *testing.T) {
	d := read("a.md", "# A b, C!\n\n<!-- not run: why -->\n```sh\none\n```\n\nText\n    goes on.\n\n    two\n    three\n\n```text\n    four\n```\n")
	want := []block{{"a.md:4", "sh", "one\n", "why"}, {"a.md:11", "", "two\nthree\n", ""}, {"a.md:14", "text", "    four\n", ""}}
	if !slices.Equal(d.blocks, want) || fmt.Sprint(d.anchors()) != "[a-b-c]" {
		t.Errorf("got %q, anchors %q", d.blocks, d.anchors())
	}
}

// commands are those of the program with their flags; that of "" are those of all.
func commands(t *testing.T) map[string][]string {
	t.Helper()
	help := func(args ...string) string {
		out, err := labtest.Program(t, "ringfence", append(args, "--help")...).Output()
		labtest.Must(t, err)
		return string(out)
	}
	flag := regexp.MustCompile(`--([a-z][a-z-]+)`)
	flags := func(text string) (list []string) {
		for _, found := range flag.FindAllStringSubmatch(text, -1) {
			list = append(list, found[1])
		}
		return list
	}
	text := help()
	all := map[string][]string{"": flags(text)}
	_, listed, _ := strings.Cut(text, "Available Commands:\n")
	for line := range strings.Lines(listed) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			break
		}
		all[name] = flags(help(name))
		all[""] = append(all[""], all[name]...)
	}
	if len(all) < 20 {
		t.Fatalf("only %d commands were found", len(all))
	}
	return all
}

var (
	code    = regexp.MustCompile("`([^`]+)`")
	tableOf = regexp.MustCompile("^\\| (`.*?) \\|")
)

// TestDocsNames: what documents call a command or a flag of ringfence is one, and the
// README has every command.
func TestDocsNames(t *testing.T) {
	known := commands(t)
	named := map[string]bool{}
	for _, d := range documents(t) {
		inTable := false
		for i, line := range d.prose {
			inTable = strings.HasPrefix(line, "| command |") || inTable && strings.HasPrefix(line, "|")
			if row := tableOf.FindStringSubmatch(line); inTable && row != nil && d.path == "README.md" {
				for _, span := range code.FindAllStringSubmatch(row[1], -1) {
					name := strings.Fields(span[1])[0]
					if named[name] = true; known[name] == nil {
						t.Errorf("README.md:%d: there is no command %s", i+1, name)
					}
				}
			}
		}
		// A span may go over two lines.
		for _, span := range code.FindAllStringSubmatch(strings.Join(d.prose, "\n"), -1) {
			checkSpan(t, d.path, strings.Fields(span[1]), known)
		}
	}
	for name := range known {
		if !named[name] && !slices.Contains([]string{"", "help", "version"}, name) {
			t.Errorf("the README does not have the command %s", name)
		}
	}
}

// checkSpan looks at a span of code that is a command of ringfence, with or without its
// name.
func checkSpan(t *testing.T, path string, words []string, known map[string][]string) {
	t.Helper()
	if len(words) > 1 && words[0] == "sudo" {
		words = words[1:]
	}
	isCommand := len(words) > 1 && words[0] == "ringfence"
	if isCommand {
		words = words[1:]
	}
	if len(words) == 0 || strings.HasPrefix(words[0], "-") {
		return
	}
	flags, ok := known[words[0]]
	if !ok || words[0] == "" {
		if isCommand && regexp.MustCompile(`^[a-z]+$`).MatchString(words[0]) {
			t.Errorf("%s: there is no command %s", path, words[0])
		}
		return
	}
	for _, word := range words[1:] {
		name, isFlag := strings.CutPrefix(strings.TrimLeft(word, "["), "--")
		name, _, _ = strings.Cut(strings.TrimRight(name, "]"), "=")
		if isFlag && !slices.Contains(flags, name) && !slices.Contains([]string{"help", "version"}, name) {
			t.Errorf("%s: %s has no flag --%s", path, words[0], name)
		}
	}
}
