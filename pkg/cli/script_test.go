package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/rules"
)

// scriptZone is what the name server at 127.0.0.1 of the scripts' host knows.
const scriptZone = `sip.acme.example. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.sip.acme.example.
_sip._udp.sip.acme.example. 60 IN SRV 10 50 5060 edge.carrier.example.
_sip._udp.sip.acme.example. 60 IN SRV 20 50 5060 backup.carrier.example.
edge.carrier.example. 300 IN A 203.0.113.5
edge.carrier.example. 300 IN AAAA 2001:db8:113::5
backup.carrier.example. 30 IN A 203.0.113.6
backup.carrier.example. 30 IN A 10.0.0.6
`

// matchSchema is the command "schema NAME": the last standard output is one object that
// rules/schema/NAME.json describes.
func matchSchema(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: schema NAME")
	}
	ts.Check(describes(args[0], ts.ReadFile("stdout")))
}

// describes returns why a schema does not describe a text that should be one object.
func describes(name, text string) error {
	schemas, err := rules.Schemas()
	if err != nil {
		return err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemas[name]))
	if err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", document); err != nil {
		return err
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		return err
	}
	// It is an error if anything follows the object.
	object, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(object)
}

// TestScripts runs the transcripts in testdata/script: what a user types and
// sees. In each, "fence" is ringfence on a host of the script's own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Cmds:          map[string]func(ts *testscript.TestScript, neg bool, args []string){"schema": matchSchema},
		Setup: func(env *testscript.Env) error {
			h, err := lab.New("pbx")
			if err != nil {
				return err
			}
			env.Defer(func() { h.Close() })
			zone, err := lab.NewZone(scriptZone)
			if err != nil {
				return err
			}
			names, err := h.ServeNames("127.0.0.1:53", zone)
			if err != nil {
				return err
			}
			env.Defer(func() { names.Close() })
			env.Vars = append(env.Vars, labtest.Environment()...)
			env.Setenv("HOST", "--net="+h.Path())
			env.Setenv("RINGFENCE_POLICY", "policy.yaml")
			env.Setenv("RINGFENCE_STATE_DIR", env.WorkDir+"/state")
			env.Setenv("RINGFENCE_RUN_DIR", env.WorkDir+"/run")
			env.Setenv("SUDO_USER", "admin")
			return nil
		},
	})
}
