package cli_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestScripts runs the transcripts in testdata/script: what a user types and
// sees. In each, "fence" is ringfence on a host of the script's own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			h, err := lab.New("pbx")
			if err != nil {
				return err
			}
			env.Defer(func() { h.Close() })
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
