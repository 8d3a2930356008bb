package cli_test

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
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
