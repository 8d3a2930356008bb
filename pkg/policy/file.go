package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The file as it is written. Every leaf keeps its text and its place, because YAML
// reads numbers (05060 is octal) and booleans (yes, on) in its own way, and because
// checks come after reading.
type file struct {
	Version    scalar         `yaml:"version"`
	Mode       scalar         `yaml:"mode"`
	Backend    scalar         `yaml:"backend"`
	Interfaces []scalar       `yaml:"interfaces"`
	Ports      portsFile      `yaml:"ports"`
	Providers  []providerFile `yaml:"providers"`
	Trusted    trustedFile    `yaml:"trusted"`
	Unknown    unknownFile    `yaml:"unknown"`
	Signatures signaturesFile `yaml:"signatures"`
	Bans       bansFile       `yaml:"bans"`
	Guessing   guessingFile   `yaml:"guessing"`
	Roaming    roamingFile    `yaml:"roaming"`
	Events     eventsFile     `yaml:"events"`
	DNS        dnsFile        `yaml:"dns"`

	root *yaml.Node
}

type portsFile struct {
	UDP *[]scalar `yaml:"udp"`
	TCP *[]scalar `yaml:"tcp"`
}

type providerFile struct {
	Name       scalar    `yaml:"name"`
	Preset     scalar    `yaml:"preset"`
	With       arguments `yaml:"with"`
	Registrars []scalar  `yaml:"registrars"`
	Addresses  []scalar  `yaml:"addresses"`
	DNS        []scalar  `yaml:"dns"`
}

type trustedFile struct {
	Hosts      []scalar `yaml:"hosts"`
	Addresses  []scalar `yaml:"addresses"`
	Interfaces []scalar `yaml:"interfaces"`
	Asymmetric []scalar `yaml:"asymmetric"`
}

type unknownFile struct {
	Action           scalar   `yaml:"action"`
	Rate             scalar   `yaml:"rate"`
	AllowReplies     scalar   `yaml:"allow_replies"`
	RequireUserAgent []scalar `yaml:"require_user_agent"`
}

type signaturesFile struct {
	Engine  scalar          `yaml:"engine"`
	Presets *[]scalar       `yaml:"presets"`
	Deny    []signatureFile `yaml:"deny"`
	Except  []scalar        `yaml:"except"`
	Mark    scalar          `yaml:"mark"`
}

type signatureFile struct {
	Name     scalar           `yaml:"name"`
	Header   scalar           `yaml:"header"`
	Contains scalar           `yaml:"contains"`
	Prefix   scalar           `yaml:"prefix"`
	Exact    scalar           `yaml:"exact"`
	All      *[]conditionFile `yaml:"all"`
}

type conditionFile struct {
	Header   scalar `yaml:"header"`
	Contains scalar `yaml:"contains"`
	Prefix   scalar `yaml:"prefix"`
	Exact    scalar `yaml:"exact"`
}

type bansFile struct {
	Duration  scalar   `yaml:"duration"`
	Size      scalar   `yaml:"size"`
	Addresses []scalar `yaml:"addresses"`
}

type eventsFile struct {
	Keep scalar `yaml:"keep"`
}

type dnsFile struct {
	Servers    []scalar    `yaml:"servers"`
	Refresh    refreshFile `yaml:"refresh"`
	Hold       scalar      `yaml:"hold"`
	StaleAlarm scalar      `yaml:"stale_alarm"`
}

type refreshFile struct {
	Min scalar `yaml:"min"`
	Max scalar `yaml:"max"`
}

// scalar is a single value with its place. The zero scalar was not written.
type scalar struct {
	text      string
	line, col int
}

func (s scalar) written() bool { return s.line > 0 }

// UnmarshalYAML accepts any single value and keeps the text that was written.
func (s *scalar) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode && n.Alias != nil { // in arguments; elsewhere the library follows it
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return errors.New("want a single value here, not a list or keys")
	}
	*s = scalar{n.Value, n.Line, n.Column}
	return nil
}

// arguments are the values given to a preset, with their names, in the order of the
// file.
type arguments []argument

type argument struct{ name, value scalar }

// UnmarshalYAML accepts keys of any name, each with a single value.
func (a *arguments) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("want keys with values here, such as {trunk: mycompany}")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var next argument
		if next.name.UnmarshalYAML(n.Content[i]) != nil || next.value.UnmarshalYAML(n.Content[i+1]) != nil {
			return errors.New("want a single value for each key here, such as {trunk: mycompany}")
		}
		*a = append(*a, next)
	}
	return nil
}

// readFile fills in the file and returns the mistakes that the YAML library finds:
// syntax, unknown and repeated keys, lists where values belong.
func readFile(data []byte) (*file, Mistakes) {
	var root yaml.Node
	if err := yaml.Load(data, &root); err != nil {
		mistakes := yamlMistakes(err)
		for i, m := range mistakes {
			if m.Text == secondDocument {
				mistakes[i].Line = lineOfSecondDocument(string(data))
			}
		}
		return nil, mistakes
	}
	// The library stops at the first repeated key and silently drops empty list
	// entries, so both are checked here.
	mistakes := structureMistakes(&root)
	f := file{root: &root}
	if err := root.Load(&f, yaml.WithKnownFields(), yaml.WithUniqueKeys(false)); err != nil {
		mistakes = append(mistakes, yamlMistakes(err)...)
	}
	return &f, mistakes
}

// structureMistakes finds repeated keys and empty list entries.
func structureMistakes(n *yaml.Node) Mistakes {
	var mistakes Mistakes
	mistake := func(at *yaml.Node, format string, args ...any) {
		mistakes = append(mistakes, Mistake{Line: at.Line, Col: at.Column, Text: fmt.Sprintf(format, args...)})
	}
	lines := map[string]int{}
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode && child.ShortTag() == "!!null":
			mistake(child, "an empty list entry: remove it")
		case n.Kind == yaml.MappingNode && i%2 == 0 && child.Kind == yaml.ScalarNode:
			if first, ok := lines[child.Value]; ok {
				mistake(child, "%q was already given in line %d: put both together", child.Value, first)
			} else {
				lines[child.Value] = child.Line
			}
		}
		mistakes = append(mistakes, structureMistakes(child)...)
	}
	return mistakes
}

// place returns the place of the node at a path, for nodes without their own scalar.
func (f *file) place(path ...any) scalar {
	n := NodeAt(f.root, path...)
	return scalar{line: n.Line, col: n.Column}
}

// noList reports whether a single value stands where a provider's registrars or addresses
// belong. That is a mistake of its own: they are not missing.
func (f *file) noList(path ...any) bool {
	for _, key := range []string{"registrars", "addresses"} {
		n := NodeAt(f.root, append(slices.Clone(path), key)...)
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			return true
		}
	}
	return false
}

// NodeAt returns the node at a path of keys and list indexes, or the nearest one that
// exists.
func NodeAt(n *yaml.Node, path ...any) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, step := range path {
		var next *yaml.Node
		switch step := step.(type) {
		case int:
			if n.Kind == yaml.SequenceNode && step < len(n.Content) {
				next = n.Content[step]
			}
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next = n.Content[i+1]
				}
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

var (
	unknownField = expression(`(?s)^field (.*) not found in type (\S+)$`)
	wrongKind    = expression(`(?s)^cannot construct .* into (\S+?)(?: \(TextUnmarshaler\))?$`)
)

// yamlMistakes rewrites the YAML library's errors, which name Go types, for the authors
// of policies.
func yamlMistakes(err error) Mistakes {
	if all, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		var mistakes Mistakes
		for _, e := range all.Errors {
			mistakes = append(mistakes, yamlMistake(e))
		}
		return mistakes
	}
	if one, ok := errors.AsType[*yaml.LoadError](err); ok {
		return Mistakes{yamlMistake(one)}
	}
	return Mistakes{{Line: 1, Col: 1, Text: "not YAML: " + err.Error()}}
}

func yamlMistake(e *yaml.LoadError) Mistake {
	m := Mistake{Line: max(e.Mark.Line, 1), Col: max(e.Mark.Column, 1), Text: e.Message}
	if found := unknownField().FindStringSubmatch(e.Message); found != nil {
		m.Text = unknownKey(found[1], keysOf(found[2]))
	} else if found := wrongKind().FindStringSubmatch(e.Message); found != nil {
		m.Text = "want " + kindOf(found[1])
	} else if strings.Contains(e.Message, "no documents") {
		m.Text = "the policy is empty: it needs at least \"version: 1\" and providers"
	} else if strings.Contains(e.Message, "multiple") {
		m.Text = secondDocument
	} else if e.Stage != "constructor" {
		m.Text = "not YAML: " + syntaxText(e)
	}
	return m
}

const secondDocument = "one file holds one policy: remove the second document (after ---)"

// lineOfSecondDocument finds the separator, whose line the library does not report.
func lineOfSecondDocument(text string) int {
	number, begun := 0, false
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "---") && begun:
			return number
		case line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "%"):
			begun = true
		}
	}
	return 1
}

// syntaxText returns the usual cause of one of the library's errors.
func syntaxText(e *yaml.LoadError) string {
	switch {
	case strings.Contains(e.Message, "tab character"):
		return "a tab: indent with spaces"
	case strings.Contains(e.Message, "cannot start any token"):
		return "this character is not allowed here: indent with spaces instead of tabs, and put text that begins with @ or ` in quotes"
	case strings.Contains(e.Message, "did not find expected '-' indicator"), strings.Contains(e.Message, "did not find expected key"):
		return "the indentation of this line matches neither the line before nor an outer level"
	case strings.Contains(e.Message, "mapping values are not allowed"):
		return "a second colon in this line: put the value in quotes, or correct the indentation"
	case strings.Contains(e.Message, "unexpected end of stream") || strings.Contains(e.Message, "document indicator"):
		return "the file ends inside quotes: close them"
	}
	return strings.TrimSpace(e.Message + " " + e.ContextMsg)
}

func unknownKey(key string, known []string) string {
	return fmt.Sprintf("unknown key %q: known here are %s", key, strings.Join(known, ", "))
}

func kindOf(goType string) string {
	if strings.HasSuffix(goType, "[]policy.providerFile") {
		return "a list here: begin each provider with \"- \""
	}
	if strings.HasPrefix(strings.TrimPrefix(goType, "*"), "[]") {
		return "a list, such as [a, b] here"
	}
	if keys := keysOf(goType); len(keys) > 0 {
		return "keys (" + strings.Join(keys, ", ") + ") here"
	}
	return "a single value here"
}

// keysOf returns the keys of one of the file's mappings, by the name of its Go type.
func keysOf(goType string) []string { return keysByType(reflect.TypeFor[file]())[goType] }

func keysByType(t reflect.Type) map[string][]string {
	found := map[string][]string{}
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			visit(t.Elem())
		case reflect.Struct:
			for f := range t.Fields() {
				if key := f.Tag.Get("yaml"); key != "" {
					found[t.String()] = append(found[t.String()], key)
					visit(f.Type)
				}
			}
		}
	}
	visit(t)
	return found
}
