package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestSoftphones: two real softphones, one by UDP behind a router and one by TCP, register
// and one calls the other.
func TestSoftphones(t *testing.T) { eachPBX(t, testSoftphones) }

func testSoftphones(t *testing.T, pbx string) {
	t.Helper()
	labtest.Need(t, "baresip")
	r := newRoadsTo(t, pbx, toRegister)
	h, _, _ := r.stranger(t, 9)
	softphone(t, h, "callee", "tcp", "1 binding")
	ready := "Call established"
	if r.kamailio == nil {
		ready = "180 Ringing" // the callee does not take Asterisk's calls by itself
	}
	caller := softphone(t, r.phones, "caller", "udp", ready, "-e", "/dial sip:callee@pbx.example")
	kill(t, caller)
	r.friends(t)
}

// softphone runs baresip until the test ends, and waits until it has said something.
func softphone(t *testing.T, h *lab.Namespace, user, transport, ready string, args ...string) *exec.Cmd {
	t.Helper()
	folder := t.TempDir()
	labtest.Must(t, os.WriteFile(filepath.Join(folder, "config"), []byte(`sip_listen 0.0.0.0:5070
module_path /usr/lib/baresip/modules
module opus.so
module g711.so
module ausine.so
module aufile.so
module account.so
module menu.so
audio_source ausine,440
audio_player aufile,/dev/null
audio_alert aufile,/dev/null
`), 0o644))
	account := fmt.Sprintf("<sip:%s@pbx.example;transport=%s>;auth_pass=secret-%s;outbound=\"sip:%s:5060;transport=%s\";regint=60;answermode=auto\n",
		user, transport, user, pbx4, transport)
	labtest.Must(t, os.WriteFile(filepath.Join(folder, "accounts"), []byte(account), 0o644))
	// Line by line, for it is a pipe that reads them.
	return daemon(t, h, ready, "stdbuf", append([]string{"-oL", "baresip", "-f", folder, "-v"}, args...)...)
}
