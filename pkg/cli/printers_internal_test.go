package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/cli/view"
	"github.com/ringfence/ringfence/pkg/doctor"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/output"
	"github.com/ringfence/ringfence/pkg/plan"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// FuzzPrinters: whatever names, headers, files and other programs hold, a terminal gets
// nothing that moves its cursor, and a program gets JSON.
func FuzzPrinters(f *testing.F) {
	for _, text := range []string{
		"plain", "\x1b[2J\x1b]0;title\x07", "one\r\ntwo\tthree", "\x00\x7f\u009b1m", "\u202e\u2066", "\xff\xfe\xe2\x82", strings.Repeat("long ", 40), `"\u001b"`, "\U000e0041",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, terminal := range []bool{false, true} {
			for name, print := range printers(t, text) {
				var out bytes.Buffer
				a := &app{stdout: output.NewWriter(&out, &out), stderr: output.NewWriter(&out, &out), output: "text"}
				if terminal {
					a.stdout.Terminal, a.stdout.Width, a.stdout.Plain = true, 80, true
				}
				a.log = slog.New(output.NewHandler(a.stderr, "ringfence", slog.LevelInfo))
				print(a)
				for _, w := range []*output.Writer{a.stdout, a.stderr} {
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				got := out.String()
				if at := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); at >= 0 || !utf8.ValidString(got) {
					t.Errorf("%s prints of %q: %q", name, text, got)
				}
			}
		}
		for name, v := range values(t, text) {
			var out bytes.Buffer
			a := &app{stdout: output.NewWriter(&out, &out), output: "json"}
			if err := a.writeJSON(v); err != nil {
				t.Fatal(err)
			}
			if got := out.Bytes(); !json.Valid(got) || !utf8.Valid(got) || bytes.ContainsFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Errorf("%s as JSON of %q: %q", name, text, got)
			}
		}
	})
}

// printers print what has the text wherever it can be.
func printers(t *testing.T, text string) map[string]func(a *app) {
	var s fence.Status
	var p plan.Plan
	var notices []notice.Notice
	var bans []report.Banned
	var phones []report.Registered
	var found []resolve.Report
	var mistakes policy.Mistakes
	var rolledBack fence.RolledBack
	var moves []report.Move
	var generation report.Generation
	var findings []doctor.Finding
	var makers []report.Maker
	var provider catalog.Provider
	var signatures []report.Signature
	var message report.Message
	var totals report.Totals
	var draft policy.Draft
	for _, v := range []any{
		&s, &p, &notices, &bans, &phones, &found, &mistakes, &rolledBack, &moves, &generation, &findings, &makers, &provider, &signatures, &message, &totals, &draft,
	} {
		fill(t, reflect.ValueOf(v).Elem(), text, 4)
	}
	p.Have, p.Want = &ruleset.State{Exists: true}, &ruleset.State{Exists: true}
	for _, kind := range []plan.Kind{plan.KindTable, plan.KindChain, plan.KindSet, plan.KindElement, plan.KindCounter, plan.KindClassifier} {
		p.Changes = append(p.Changes, plan.Change{Action: plan.Add, Kind: kind, Name: text, Value: text, Reason: text, Rules: []string{text}})
	}
	rolledBack.Plan = &p
	findings[0].Severity = notice.Alarm
	return map[string]func(a *app){
		"status":       func(a *app) { view.Status(a.stdout, &s, report.StatusOf(&s)) },
		"status check": func(a *app) { output.Printf(a.stdout, "%s\n", report.Line(&s)) },
		"plan":         func(a *app) { view.Plan(a.stdout, &p) },
		"notices":      func(a *app) { a.printAll(notices) },
		"bans":         func(a *app) { view.Bans(a.stdout, bans) },
		"phones":       func(a *app) { view.Registered(a.stdout, phones) },
		"resolve":      func(a *app) { view.Resolved(a.stdout, found) },
		"moves":        func(a *app) { view.Moves(a.stdout, moves) },
		"history":      func(a *app) { view.History(a.stdout, []report.Generation{generation}) },
		"generation":   func(a *app) { view.Generation(a.stdout, generation, &p, strings.ReplaceAll(text, "\t", " ")) },
		"doctor":       func(a *app) { view.Findings(a.stdout, findings) },
		"makers":       func(a *app) { view.Makers(a.stdout, makers) },
		"providers":    func(a *app) { view.Providers(a.stdout, []catalog.Provider{provider}) },
		"provider":     func(a *app) { view.Provider(a.stdout, provider) },
		"signatures":   func(a *app) { view.Signatures(a.stdout, signatures) },
		"message":      func(a *app) { view.Message(a.stdout, message) },
		"totals":       func(a *app) { view.Totals(a.stdout, totals) },
		"draft":        func(a *app) { view.Draft(a.stdout, text, draft) },
		"mistakes":     func(a *app) { a.fail(mistakes) },
		"error":        func(a *app) { a.fail(notice.WithHint(fmt.Errorf("read %s: %w", text, errors.New(text)), "%s", text)) },
		"refusal":      func(a *app) { a.fail(&plan.Refusal{Guard: text, Why: text, WayOut: text, Subjects: []string{text}}) },
		"rollback":     func(a *app) { view.RolledBack(a.stdout, &rolledBack, true) },
		"log":          func(a *app) { a.log.Info(text, "by", text, "error", errors.New(text)) },
	}
}

// values are objects that are printed as JSON.
func values(t *testing.T, text string) map[string]any {
	var s fence.Status
	var changes []plan.Change
	var generation report.Generation
	var found []resolve.Report
	var message report.Message
	for _, v := range []any{&s, &changes, &generation, &found, &message} {
		fill(t, reflect.ValueOf(v).Elem(), text, 4)
	}
	return map[string]any{"status": report.StatusOf(&s), "changes": changes, "generation": generation, "resolve": found, "message": message}
}

// fill writes the text into whatever part of a value can hold it, as far as depth.
func fill(t *testing.T, v reflect.Value, text string, depth int) {
	if depth < 0 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Pointer:
		if v.Type().Elem() != reflect.TypeFor[ruleset.State]() {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), text, depth-1)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field, text, depth)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), text, depth-1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, text, depth-1)
		fill(t, value, text, depth-1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[error]() {
			v.Set(reflect.ValueOf(errors.New(text)))
		}
	}
}
