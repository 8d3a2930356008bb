package system_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/ringfence/ringfence/pkg/events/nflog"
	"github.com/ringfence/ringfence/pkg/host"
	"github.com/ringfence/ringfence/pkg/host/system"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// ulogd is another program that receives what rules log, until its input ends.
func ulogd() int {
	err := os.WriteFile("/proc/self/comm", []byte("ulogd"), 0)
	if err == nil {
		_, err = nflog.Open()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestLogReader: another program that receives the dropped packets is named; this one is not.
func TestLogReader(t *testing.T) {
	h := labtest.Host(t, "pbx")
	reader := func() (found *host.Program) {
		t.Helper()
		labtest.In(t, h, func() (err error) {
			found, err = system.LogReader(ruleset.LogGroup)
			return err
		})
		return found
	}
	if p := reader(); p != nil {
		t.Errorf("%s receives before anything does", p)
	}
	var own *nflog.Reader
	labtest.In(t, h, func() (err error) {
		own, err = nflog.Open()
		return err
	})
	if p := reader(); p != nil {
		t.Errorf("%s receives, and that is this program", p)
	}
	own.Close()

	cmd := labtest.Program(t, "ulogd")
	stdin, err := cmd.StdinPipe()
	labtest.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	labtest.Must(t, err)
	cmd.Stderr = os.Stderr
	labtest.Must(t, h.Start(cmd))
	_, err = bufio.NewReader(stdout).ReadString('\n')
	labtest.Must(t, err)
	if p := reader(); p == nil || p.Name != "ulogd" || p.PID != cmd.Process.Pid {
		t.Errorf("%v receives, want ulogd with number %d", p, cmd.Process.Pid)
	}
	stdin.Close()
	labtest.Must(t, cmd.Wait())
}
