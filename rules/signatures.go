package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// SignatureList is one file of signatures/: a list that a policy can name.
type SignatureList struct {
	Name string `yaml:"-"` // the file's name
	// Checked is when the sources were last read.
	Checked    string      `yaml:"checked"`
	Signatures []Signature `yaml:"signatures"`
}

// Signature is one entry of a list: what a scanner writes into one header, or
// into the request line ("request-line"), in any case, or into several.
type Signature struct {
	Name      string `yaml:"name"`
	Condition `yaml:",inline"`
	// All are the conditions of a signature that has several.
	All   []Condition `yaml:"all"`
	Class string      `yaml:"class"` // ban or label
	// Off is set if the signature is listed, but not looked for.
	Off    bool   `yaml:"off"`
	Source string `yaml:"source"` // where the text is known from
	Note   string `yaml:"note"`
}

// Condition is what a signature wants of a header.
type Condition struct {
	Header string `yaml:"header"` // in lower case; the long form also stands for the compact one
	// One of these is written.
	Contains string `yaml:"contains"`
	Prefix   string `yaml:"prefix"`
	Exact    string `yaml:"exact"`
}

// Conditions are what the signature wants: one condition, or several that must all be
// true.
func (s Signature) Conditions() []Condition {
	if len(s.All) > 0 {
		return s.All
	}
	return []Condition{s.Condition}
}

// Match is how the text is compared: contains, prefix or exact.
func (c Condition) Match() string {
	switch {
	case c.Contains != "":
		return "contains"
	case c.Prefix != "":
		return "prefix"
	}
	return "exact"
}

// Value is the text.
func (c Condition) Value() string { return c.Contains + c.Prefix + c.Exact }

// SignatureLists reads all shipped lists, by name.
func SignatureLists() (map[string]SignatureList, error) {
	found, err := fs.Glob(files, "signatures/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list signatures: %w", err)
	}
	lists := map[string]SignatureList{}
	for _, file := range found {
		data, err := files.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read signatures: %w", err)
		}
		name := strings.TrimSuffix(path.Base(file), ".yaml")
		if lists[name], err = readSignatures(name, data); err != nil {
			return nil, fmt.Errorf("read signatures %s: %w", name, err)
		}
	}
	return lists, nil
}

func readSignatures(name string, data []byte) (SignatureList, error) {
	list := SignatureList{Name: name}
	if err := yaml.Load(data, &list, yaml.WithKnownFields()); err != nil {
		return list, err
	}
	var problems []error
	first := map[string]int{}
	for i, s := range list.Signatures {
		if err := s.check(); err != nil {
			problems = append(problems, fmt.Errorf("signature %d (%s): %w", i+1, s.Name, err))
		}
		if j, ok := first[s.Name]; ok {
			problems = append(problems, fmt.Errorf("signature %d (%s): signature %d has the same name", i+1, s.Name, j+1))
		} else {
			first[s.Name] = i
		}
	}
	return list, errors.Join(problems...)
}

var (
	signatureName = expression(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`)
	// headerName is a token of RFC 3261 section 25.1, in lower case and not in its
	// compact form.
	headerName = expression("^[a-z0-9.!%*_+`'~-]{2,}$")
)

// LeastContained is how long a text must be to be looked for anywhere in a header:
// shorter ones occur by chance in tags, branches and call identifiers.
const LeastContained = 8

func (s Signature) check() error {
	switch {
	case !signatureName().MatchString(s.Name):
		return fmt.Errorf("name is %q, want lower-case letters, digits and hyphens", s.Name)
	case len(s.All) > 0 && s.Condition != Condition{}:
		return errors.New("want either all, or a header")
	case len(s.All) == 1:
		return errors.New("want at least two conditions under all")
	}
	long := false
	for _, c := range s.Conditions() {
		if err := c.check(); err != nil {
			return err
		}
		long = long || c.Contains == "" || len(c.Contains) >= LeastContained
	}
	switch {
	case !long:
		return fmt.Errorf("contains is %q, want at least %d characters, or prefix or exact", s.Conditions()[0].Contains, LeastContained)
	case s.Class != "ban" && s.Class != "label":
		return fmt.Errorf("class is %q, want ban or label", s.Class)
	case s.Source == "" || s.Note == "":
		return errors.New("want a source and a note")
	}
	return nil
}

func (c Condition) check() error {
	written := slices.DeleteFunc([]string{c.Contains, c.Prefix, c.Exact}, func(v string) bool { return v == "" })
	switch {
	case !headerName().MatchString(c.Header):
		return fmt.Errorf("header is %q, want a header's long name in lower case", c.Header)
	case len(written) != 1:
		return errors.New("want one of contains, prefix and exact")
	case strings.TrimSpace(written[0]) != written[0]:
		return fmt.Errorf("%q has white space at its ends", written[0])
	}
	return nil
}
