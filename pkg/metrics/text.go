package metrics

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ringfence/ringfence/pkg/output"
)

// contentType is that of the text:
// https://prometheus.io/docs/instrumenting/exposition_formats/
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// The kinds of metrics.
const (
	gauge   = "gauge"
	counter = "counter"
	summary = "summary"
)

// list takes values and writes them.
type list struct {
	prefix   string
	families map[string]*family
	err      error // the first mistake of who added
}

// family is a metric with its values.
type family struct {
	kind, help string
	values     map[string]float64 // by what follows the name: labels, as they are written
}

// gauge adds a value that may rise and fall. labels are names and values by turns.
func (l *list) gauge(name, help string, value float64, labels ...string) {
	l.add(gauge, name, help, value, labels)
}

// counter adds a value that only rises, until the table or the classifier is made again.
func (l *list) counter(name, help string, value uint64, labels ...string) {
	l.add(counter, name, help, float64(value), labels)
}

func (l *list) add(kind, name, help string, value float64, labels []string) {
	l.put(kind, name, help, labelled(labels), value)
}

func (l *list) put(kind, name, help, after string, value float64) {
	name = l.prefix + name
	f := l.families[name]
	if f == nil {
		if l.families == nil {
			l.families = map[string]*family{}
		}
		f = &family{kind, help, map[string]float64{}}
		l.families[name] = f
	}
	if _, again := f.values[after]; again || f.kind != kind || f.help != help {
		l.err = cmp.Or(l.err, fmt.Errorf("write metric %s: it was added twice, or as another kind", name+after))
	}
	f.values[after] = value
}

// labelled writes labels, sorted by their names.
func labelled(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	var pairs []string
	for pair := range slices.Chunk(labels, 2) {
		// What comes from answers, packets and files is UTF-8 then, and of one line.
		value := output.Escape(strings.ToValidUTF8(pair[1], "\ufffd"))
		pairs = append(pairs, pair[0]+`="`+quoted.Replace(value)+`"`)
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}

// What the format escapes in labels and in help.
var (
	quoted = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	helped = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// text writes everything, in the order of the names.
func (l *list) text() ([]byte, error) {
	if l.err != nil {
		return nil, l.err
	}
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(l.families)) {
		f := l.families[name]
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n", name, helped.Replace(f.help), name, f.kind)
		for _, after := range slices.Sorted(maps.Keys(f.values)) {
			fmt.Fprintf(&text, "%s%s %s\n", name, after, written(f.values[after]))
		}
	}
	return text.Bytes(), nil
}

// written is a value as the format has it.
func written(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
