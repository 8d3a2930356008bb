package cli

import (
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/demo"
	"github.com/ringfence/ringfence/pkg/doctor"
	"github.com/ringfence/ringfence/pkg/report"
	"github.com/ringfence/ringfence/pkg/resolve"
	"github.com/ringfence/ringfence/rules"
)

// objects are what commands print, by the names of the schemas.
var objects = map[string]reflect.Type{
	"plan": reflect.TypeFor[report.Plan](), "status": reflect.TypeFor[report.Status](), "error": reflect.TypeFor[report.Error](),
	"ban": reflect.TypeFor[report.Banned](), "bans": reflect.TypeFor[[]report.Banned](), "dropped": reflect.TypeFor[[]report.Dropped](),
	"why": reflect.TypeFor[report.Why](), "replay": reflect.TypeFor[report.Replay](), "verify": reflect.TypeFor[report.Verified](),
	"registered": reflect.TypeFor[[]report.Registered](),
	"check":      reflect.TypeFor[report.Checked](), "confirm": reflect.TypeFor[report.Confirmed](),
	"history": reflect.TypeFor[[]report.Generation](), "generation": reflect.TypeFor[report.WholeGeneration](), "moves": reflect.TypeFor[[]report.Move](),
	"doctor": reflect.TypeFor[[]doctor.Finding](), "resolve": reflect.TypeFor[[]resolve.Report](), "init": reflect.TypeFor[report.Draft](),
	"demo": reflect.TypeFor[demo.Report](), "man": reflect.TypeFor[report.Files](), "version": reflect.TypeFor[report.Version](),
	"providers": reflect.TypeFor[[]catalog.Provider](), "provider": reflect.TypeFor[catalog.Provider](),
	"signatures": reflect.TypeFor[[]report.Signature](), "message": reflect.TypeFor[report.Message](), "capture": reflect.TypeFor[report.Capture](),
	"watch": reflect.TypeFor[report.Watched](), "report": reflect.TypeFor[report.Activity](), "phones": reflect.TypeFor[[]report.Maker](), "phone": reflect.TypeFor[report.Phone](),
}

// printed are the schemas of what each command prints.
var printed = map[string][]string{
	"init": {"init"}, "check": {"check"}, "diff": {"plan"}, "apply": {"plan"}, "confirm": {"confirm"}, "rollback": {"plan"},
	"history": {"history", "generation", "moves"}, "refresh": {"plan"}, "up": {"plan"}, "down": {"plan"}, "status": {"status"}, "doctor": {"doctor"},
	"resolve": {"resolve"}, "ban": {"ban"}, "unban": {"ban"}, "bans": {"bans"}, "allow": {"ban"}, "disallow": {"ban"},
	"why": {"why"}, "replay": {"replay"}, "verify": {"verify"},
	"dropped":    {"dropped"},
	"report":     {"report"},
	"watch":      {"watch"},
	"phones":     {"registered"},
	"signatures": {"signatures"}, "signatures test": {"message", "capture"}, "providers": {"providers"}, "providers show": {"provider"},
	"providers check": {"provider"}, "phone": {"phone", "phones"}, "phone list": {"phones"}, "demo": {"demo"}, "version": {"version"}, "man": {"man"},
	"run": nil, "metrics": nil, "watchdog": nil, "completion": nil, "help": nil, // they print no object
}

// TestEveryObjectHasASchema: no command prints what no schema describes, and no schema
// describes what no command prints.
func TestEveryObjectHasASchema(t *testing.T) {
	schemas, err := rules.Schemas()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"error": true}
	for _, names := range printed {
		for _, name := range names {
			used[name] = true
		}
	}
	for name := range schemas {
		if objects[name] == nil || !used[name] {
			t.Errorf("rules/schema/%s.json describes what no command prints", name)
		}
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		path := strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "ringfence"), " ")
		if _, ok := printed[path]; !ok && path != "" && !strings.HasPrefix(path, "completion ") {
			t.Errorf("what %q prints has no schema", path)
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit((&app{}).root())
}

// schemaNode is a part of a schema.
type schemaNode struct {
	Type                 any
	Ref                  string                 `json:"$ref"` // of the items of a list only
	Defs                 map[string]*schemaNode `json:"$defs"`
	Items                *schemaNode
	Properties           map[string]*schemaNode
	AdditionalProperties *schemaNode
	Required             []string
}

// TestSchemasAreWhole: a schema has every key of its object, and says which are always
// there.
func TestSchemasAreWhole(t *testing.T) {
	schemas, err := rules.Schemas()
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range objects {
		var s schemaNode
		if err := json.Unmarshal(schemas[name], &s); err != nil {
			t.Errorf("read rules/schema/%s.json: %v", name, err)
			continue
		}
		compare(t, name, object, &s, s.Defs)
	}
}

func compare(t *testing.T, path string, object reflect.Type, s *schemaNode, defs map[string]*schemaNode) {
	t.Helper()
	if s == nil {
		t.Errorf("%s is not in the schema", path)
		return
	}
	if s.Items != nil && s.Items.Ref != "" {
		if defs == nil {
			return // within what it refers to
		}
		s = &schemaNode{Type: s.Type, Items: defs[strings.TrimPrefix(s.Items.Ref, "#/$defs/")]}
		defs = nil
	}
	types := []string{}
	switch names := s.Type.(type) {
	case string:
		types = append(types, names)
	case []any:
		for _, n := range names {
			types = append(types, n.(string))
		}
	}
	kind, nullable := jsonType(object)
	if !slices.Contains(types, kind) || nullable && !slices.Contains(types, "null") {
		t.Errorf("%s is %s (null: %t), and the schema says %v", path, kind, nullable, types)
	}
	for object.Kind() == reflect.Pointer {
		object = object.Elem()
	}
	switch {
	case kind == "array":
		compare(t, path+"[]", object.Elem(), s.Items, defs)
	case kind == "object" && object.Kind() == reflect.Map:
		compare(t, path+".*", object.Elem(), s.AdditionalProperties, defs)
	case kind == "object":
		keys, always := keysOf(object)
		for key, field := range keys {
			compare(t, path+"."+key, field, s.Properties[key], defs)
		}
		for key := range s.Properties {
			if keys[key] == nil {
				t.Errorf("%s.%s is in the schema only", path, key)
			}
		}
		slices.Sort(always)
		slices.Sort(s.Required)
		if !slices.Equal(always, s.Required) {
			t.Errorf("%s always has %v, and the schema requires %v", path, always, s.Required)
		}
	}
}

// jsonType is what a value is in JSON.
func jsonType(object reflect.Type) (kind string, nullable bool) {
	switch {
	case object.Kind() == reflect.Pointer:
		kind, _ = jsonType(object.Elem())
		return kind, true
	case object == reflect.TypeFor[time.Time](), object == reflect.TypeFor[netip.Addr](), object.Kind() == reflect.String:
		return "string", false
	case object.Kind() == reflect.Bool:
		return "boolean", false
	case object.Kind() == reflect.Slice:
		return "array", false
	case object.Kind() == reflect.Struct, object.Kind() == reflect.Map:
		return "object", false
	}
	return "integer", false
}

// keysOf are the keys of an object, and those that it always has.
func keysOf(object reflect.Type) (keys map[string]reflect.Type, always []string) {
	keys = map[string]reflect.Type{}
	for f := range object.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner, required := keysOf(f.Type)
			maps.Copy(keys, inner)
			always = append(always, required...)
		case f.IsExported() && name != "-":
			keys[name] = f.Type
			if !strings.HasPrefix(options, "omit") {
				always = append(always, name)
			}
		}
	}
	return keys, always
}
