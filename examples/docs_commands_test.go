package examples_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestDocsCommands runs the commands of all documents as somebody would who copies them:
// those in blocks of sh, those in indented blocks, and those behind a $ in what a session
// looks like. A comment "not run" before a block says why it is left out.
func TestDocsCommands(t *testing.T) {
	reader := newReader(t)
	ran, left := 0, 0
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			switch {
			case b.notRun != "":
				left++
			case b.language == "sh" || b.language == "":
				t.Run(b.at, func(t *testing.T) { reader.script(t, b.text) })
				ran++
			case b.language == "text" && strings.HasPrefix(b.text, "$ "):
				t.Run(b.at, func(t *testing.T) { reader.session(t, b.text) })
				ran++
			}
		}
	}
	t.Logf("ran %d blocks, left out %d", ran, left)
	if ran < 8 {
		t.Errorf("only %d blocks were run", ran)
	}
}

// reader is somebody who reads the documents, on a host that is as they assume.
type reader struct {
	host        *lab.Namespace
	folder      string
	environment []string
}

const (
	readerZone = `_sip._udp.sip.provider.example. 60 IN SRV 10 50 5060 edge1.carrier.provider.example.
_sip._udp.sip.provider.example. 60 IN SRV 20 50 5060 edge2.carrier.provider.example.
edge1.carrier.provider.example. 60 IN A 203.0.113.5
edge1.carrier.provider.example. 60 IN AAAA 2001:db8:113::5
edge2.carrier.provider.example. 60 IN A 203.0.113.6
`
	readerMessage = "OPTIONS sip:100@192.0.2.5 SIP/2.0\nUser-Agent: friendly-scanner\n\n"
	readerMistake = "version: 1\nmode: on\nproviders:\n  - name: acme\n    registrars: [sip.provider.example]\n    # what its help pages list\n    adresses: [198.51.100.0/28]\n"
)

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{host: labtest.Host(t, "reader"), folder: t.TempDir()}
	provider := labtest.Host(t, "provider")
	labtest.Must(t, lab.Link(
		lab.End{Host: r.host, Interface: "eth0", Addresses: []string{"192.168.1.5/24"}},
		lab.End{Host: provider, Interface: "eth0", Addresses: []string{"192.168.1.1/24", labtest.NameServer + "/32"}}))
	labtest.Must(t, r.host.Route("default", "192.168.1.1"))
	zone, err := lab.NewZone(readerZone)
	labtest.Must(t, err)
	names, err := provider.ServeNames(labtest.NameServer+":53", zone)
	labtest.Must(t, err)
	t.Cleanup(func() { names.Close() })

	self, err := os.Executable()
	labtest.Must(t, err)
	programs := t.TempDir()
	for name, text := range map[string]string{
		"ringfence": "#!/bin/sh\nRINGFENCE_TEST_PROGRAM=ringfence exec " + self + " \"$@\"\n",
		"sudo":      "#!/bin/sh\nexec \"$@\"\n",
	} {
		labtest.Must(t, os.WriteFile(filepath.Join(programs, name), []byte(text), 0o755))
	}
	r.environment = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "RINGFENCE_POLICY="+r.file("etc/policy.yaml"),
		"RINGFENCE_STATE_DIR="+r.file("state"), "RINGFENCE_RUN_DIR="+r.file("run"))
	labtest.Must(t, os.Mkdir(r.file("etc"), 0o755))
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			switch {
			case d.path == "README.md" && strings.HasPrefix(b.text, "version: 1\n"):
				labtest.Must(t, os.WriteFile(r.file("etc/policy.yaml"), []byte(b.text), 0o644))
			case d.path == "README.md" && strings.HasPrefix(b.text, "title: Acme"):
				labtest.Must(t, os.WriteFile(r.file("acme.yaml"), []byte(b.text), 0o644))
			}
		}
	}
	labtest.Must(t, os.WriteFile(r.file("message.txt"), []byte(readerMessage), 0o644))
	labtest.Must(t, os.WriteFile(r.file("policy.yaml"), []byte(readerMistake), 0o644))
	return r
}

func (r *reader) file(name string) string { return filepath.Join(r.folder, name) }

// script runs a block of commands, in a checkout if it names files of one.
func (r *reader) script(t *testing.T, text string) {
	t.Helper()
	if status, output := r.run(t, text); status != 0 {
		t.Errorf("exit status %d:\n%s", status, output)
	}
}

// figures begin lines with numbers of this program.
var figures = []string{"+ table inet ringfence ", "engine "}

// session runs each command that stands behind a $. What follows it is what it may print;
// an error is one that it prints, and so is a line with a figure.
func (r *reader) session(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, "$ sudo ringfence rollback") {
		// Who goes back has been somewhere else before.
		policy, err := os.ReadFile(r.file("etc/policy.yaml"))
		labtest.Must(t, err)
		labtest.Must(t, os.WriteFile(r.file("etc/policy.yaml"), append(policy, "mode: monitor\n"...), 0o644))
		r.script(t, "ringfence apply --yes")
	}
	for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
		command, output, _ := strings.Cut(part, "\n")
		command, _, _ = strings.Cut(command, "  ") // a remark for the reader
		good := []int{0, 4}
		var exact []string
		for line := range strings.Lines(output) {
			if strings.HasPrefix(line, "ringfence: error: ") {
				good, exact = []int{1}, append(exact, line)
			}
			if slices.ContainsFunc(figures, func(f string) bool { return strings.HasPrefix(line, f) }) {
				exact = append(exact, line)
			}
		}
		if strings.Contains(command, "ringfence diff") {
			good = append(good, 2)
		}
		status, printed := r.run(t, command)
		if !slices.Contains(good, status) {
			t.Errorf("%s: exit status %d, want one of %v:\n%s", command, status, good, printed)
		}
		for _, line := range exact {
			if !strings.Contains(oneSpace(printed), oneSpace(line)) {
				t.Errorf("%s does not print %s:\n%s", command, line, printed)
			}
		}
	}
}

// oneSpace is a text without the widths of its columns.
func oneSpace(text string) string { return strings.Join(strings.Fields(text), " ") }

func (r *reader) run(t *testing.T, script string) (status int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
	cmd.Env, cmd.Dir = r.environment, r.folder
	if strings.Contains(script, "./") || strings.Contains(script, "scripts/") {
		cmd.Dir = root
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	labtest.Must(t, r.host.Start(cmd))
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String()
	}
	labtest.Must(t, err)
	return 0, out.String()
}
