package phone

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ringfence/ringfence/pkg/notice"
)

// Write writes the snippet in the maker's format. Comments say what each line does, for
// which firmware, from which source and how reliable it is. With steps, another comment
// describes the way through the phone's web page. If nothing can be written to a file,
// it returns Text.
func (s Snippet) Write(steps bool) string {
	lines := s.inFile()
	if len(lines) == 0 {
		return s.Text(true)
	}
	w := writer{form: s.form, depth: s.form.Indent}
	w.out.WriteString(s.form.Head)
	w.comment(append([]string{s.intro() + ": lines for " + s.File + " on the provisioning server."}, s.Caveats...)...)
	w.group(lines, 0)
	w.out.WriteString(s.form.Tail)
	w.depth = 0
	w.blank()
	w.comment(append([]string{"Sources"}, s.sources()...)...)
	if steps {
		w.blank()
		w.comment(s.Steps()...)
	}
	return w.out.String()
}

// inFile returns the lines that can be written to a file.
func (s Snippet) inFile() []Line {
	return slices.DeleteFunc(slices.Clone(s.Lines), func(l Line) bool { return l.Key == "" })
}

// intro says what the snippet is for.
func (s Snippet) intro() string {
	text := s.title + " " + s.Family
	if s.Model != "" {
		text = s.title + " " + s.Model
	}
	if s.Firmware != "" {
		text += ", firmware " + s.Firmware
	} else {
		text += ", any firmware"
	}
	if s.Accounts == 1 {
		return text + ", one account"
	}
	return fmt.Sprintf("%s, %d accounts", text, s.Accounts)
}

func (s Snippet) sources() []string {
	var texts []string
	for _, source := range s.Sources {
		texts = append(texts, source.Title+": "+source.URL)
	}
	return texts
}

// about returns what is said about a line, one text for each paragraph.
func (l Line) about() []string {
	texts := []string{l.Means}
	if l.Unconfirmed != "" {
		texts = append(texts, "NOT CONFIRMED: "+l.Unconfirmed+".")
	}
	if l.Optional != "" {
		texts = append(texts, "Optional: "+l.Optional+".")
	}
	return append(texts, fmt.Sprintf("Firmware: %s. Confidence: %s. Source: %s.", l.Firmware, l.Confidence, strings.Join(l.Sources, "; ")))
}

// writer writes a file in the maker's format.
type writer struct {
	out   strings.Builder
	form  File
	depth int
}

// commentWidth is the width at which comments are wrapped.
const commentWidth = 96

// comment writes paragraphs as one comment, or each as its own where the format has
// only short comments.
func (w *writer) comment(paragraphs ...string) {
	var lines []string
	for _, text := range paragraphs {
		lines = append(lines, strings.Split(notice.Fold(text, commentWidth, ""), "\n")...)
	}
	if w.form.Format == XML {
		lines = []string{strings.Join(lines, "\n     ")}
	}
	for _, line := range lines {
		w.line(strings.ReplaceAll(w.form.Comment, "{text}", line))
	}
}

func (w *writer) line(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		w.out.WriteString(strings.Repeat("  ", w.depth) + line + "\n")
	}
}

func (w *writer) blank() { w.out.WriteString("\n") }

// group writes lines whose groups have the first levels in common. All lines of a group
// are written where the first of them is.
func (w *writer) group(lines []Line, level int) {
	for i := 0; len(lines) > 0; i++ {
		if i > 0 || level == 0 {
			w.blank()
		}
		first := lines[0]
		if len(first.Group) <= level {
			lines = lines[w.batch(lines, level):]
			continue
		}
		var inside, others []Line
		for _, l := range lines {
			if len(l.Group) > level && l.Group[level] == first.Group[level] {
				inside = append(inside, l)
			} else {
				others = append(others, l)
			}
		}
		w.enclose(first.Group[level], inside, level+1)
		lines = others
	}
}

// batch writes the lines at the beginning that need the same comment, one account after
// the other, below that comment. It returns how many lines it wrote.
func (w *writer) batch(lines []Line, level int) int {
	n := batch(lines, level)
	w.comment(lines[0].about()...)
	for _, l := range lines[:n] {
		if l.Optional != "" {
			w.comment(w.text(l))
		} else {
			w.line(w.text(l))
		}
	}
	return n
}

func batch(lines []Line, level int) int {
	n := 1
	for n < len(lines) && len(lines[n].Group) <= level && slices.Equal(lines[n].about(), lines[0].about()) {
		n++
	}
	return n
}

func (w *writer) enclose(group string, inside []Line, level int) {
	if w.form.Gather {
		w.gathered(inside, level)
	}
	fill := fill{"{group}", group, "{tag}", tag(group)}.in
	w.line(fill(w.form.Open))
	w.depth++
	if w.form.Gather {
		for _, l := range inside {
			if l.Optional == "" {
				w.line(w.text(l))
			}
		}
	} else {
		w.group(inside, level)
	}
	w.depth--
	w.line(fill(w.form.Close))
}

// gathered writes the comments of a group whose settings have no room for comments
// between them.
func (w *writer) gathered(lines []Line, level int) {
	for len(lines) > 0 {
		n := batch(lines, level)
		var texts []string
		for _, l := range lines[:n] {
			text := w.text(l)
			if l.Optional != "" {
				text = "not below: " + text
			}
			texts = append(texts, text)
		}
		w.comment(append(texts, lines[0].about()...)...)
		w.blank()
		lines = lines[n:]
	}
}

func (w *writer) text(l Line) string {
	return fill{"{key}", l.Key, "{value}", l.Value, "{tag}", tag(l.Key)}.in(w.form.Line)
}

// fill alternates names and the texts that replace them.
type fill []string

func (f fill) in(template string) string { return strings.NewReplacer(f...).Replace(template) }

// tag returns an element's name without its attributes.
func tag(key string) string {
	name, _, _ := strings.Cut(key, " ")
	return name
}

// Text writes the snippet for people to read and to enter by hand.
func (s Snippet) Text(steps bool) string {
	var out strings.Builder
	paragraph := func(indent, text string) {
		out.WriteString(notice.Fold(indent+text, commentWidth, indent) + "\n")
	}
	paragraph("", s.intro()+".")
	for _, caveat := range s.Caveats {
		paragraph("", caveat)
	}
	lines := s.Lines
	if len(s.inFile()) == 0 {
		paragraph("", "No setting is known that a file could give to this phone.")
	}
	for len(lines) > 0 {
		out.WriteString("\n")
		n := batch(lines, len(lines[0].Group))
		for _, l := range lines[:n] {
			switch {
			case l.Key == "":
				out.WriteString("on the web page\n")
			case len(l.Group) > 0 && !s.form.Gather:
				fmt.Fprintf(&out, "%s, %s: %s\n", strings.Join(l.Group, ", "), l.Key, l.Value)
			default:
				fmt.Fprintf(&out, "%s: %s\n", l.Key, l.Value)
			}
		}
		for _, text := range lines[0].about() {
			paragraph("    ", text)
		}
		lines = lines[n:]
	}
	if len(s.Sources) > 0 {
		out.WriteString("\nSources\n")
	}
	for _, text := range s.sources() {
		paragraph("    ", text)
	}
	if steps {
		out.WriteString("\n")
		for _, step := range s.Steps() {
			paragraph("", step)
		}
	}
	return out.String()
}

// Steps describes the way through the phone's web page, one sentence for each step.
func (s Snippet) Steps() []string {
	steps := []string{"Without provisioning, by hand on the phone's web page:"}
	if s.Web != "" {
		steps = append(steps, "1. "+s.Web)
	}
	var without []string
	for _, l := range s.Lines {
		switch {
		case l.Page != "":
			page := l.Page
			if l.Optional != "" {
				page += " (optional: " + l.Optional + ")"
			}
			if l.Unconfirmed != "" {
				page += " (not confirmed: " + l.Unconfirmed + ")"
			}
			steps = append(steps, fmt.Sprintf("%d. %s", len(steps), page))
		case l.Optional == "" && l.account == 1:
			without = append(without, l.Key)
		}
	}
	if len(without) > 0 {
		steps = append(steps, "It is not known where the page has these settings; look for similar ones, or use provisioning: "+strings.Join(without, ", "))
	}
	return steps
}
