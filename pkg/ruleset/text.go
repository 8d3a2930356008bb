package ruleset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String writes the state in nft's syntax, sorted, for reading and comparing. nft -f
// can load it unless it holds something foreign; the classifier is in a comment. The
// zero State is the empty text.
func (s *State) String() string {
	var b strings.Builder
	for line := range strings.Lines(s.Classifier.String()) {
		b.WriteString("# " + line)
	}
	if !s.Exists {
		return b.String()
	}
	fmt.Fprintf(&b, "table inet %s {\n", Table)
	if s.Flags != "" {
		fmt.Fprintf(&b, "\tflags %s\n", s.Flags)
	}
	for _, name := range s.Counters {
		fmt.Fprintf(&b, "\tcounter %s {\n\t}\n", name)
	}
	for _, o := range s.ForeignObjects {
		fmt.Fprintf(&b, "\t[%s %s]\n", o.Kind, o.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Sets)) {
		s.Sets[name].write(&b, name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Chains)) {
		s.Chains[name].write(&b, name)
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) write(b *strings.Builder, name string) {
	fmt.Fprintf(b, "\n\tset %s {\n\t\ttype %s\n", name, s.Key)
	if s.Size != 0 {
		fmt.Fprintf(b, "\t\tsize %d\n", s.Size)
	}
	if flags := s.Flags(); flags != "" {
		fmt.Fprintf(b, "\t\tflags %s\n", flags)
	}
	if s.Foreign != "" {
		fmt.Fprintf(b, "\t\t[%s]\n", s.Foreign)
	}
	if len(s.Elements) > 0 {
		texts := make([]string, len(s.Elements))
		for i, e := range s.Elements {
			texts[i] = e.String()
		}
		fmt.Fprintf(b, "\t\telements = { %s }\n", strings.Join(texts, ",\n\t\t\t     "))
	}
	b.WriteString("\t}\n")
}

// Flags writes the set's flags as nft does, "" for none.
func (s Set) Flags() string {
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{{s.Dynamic, "dynamic"}, {s.Interval, "interval"}, {s.Timeout, "timeout"}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	return strings.Join(flags, ",")
}

func (c Chain) write(b *strings.Builder, name string) {
	fmt.Fprintf(b, "\n\tchain %s {\n", name)
	if c.Stage != "" {
		fmt.Fprintf(b, "\t\t%s\n", cmp.Or(stageTexts[c.Stage], string(c.Stage)))
	}
	if c.Foreign != "" {
		fmt.Fprintf(b, "\t\t[%s]\n", c.Foreign)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n")
}

// stageTexts are the stages as nft writes them.
var stageTexts = map[Stage]string{
	BeforeTracking: "type filter hook prerouting priority raw - 10; policy accept;",
	AfterTracking:  "type filter hook prerouting priority -190; policy accept;",
	Leaving:        "type filter hook postrouting priority 310; policy accept;",
	BeforeFilter:   "type filter hook prerouting priority filter - 10; policy accept;",
}
