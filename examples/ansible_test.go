package examples_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// controller runs the role of the collection on one host, as an administrator would.
type controller struct {
	host        *lab.Namespace
	folder      string
	collections string
	callbacks   string
}

func newController(t *testing.T) *controller {
	t.Helper()
	labtest.Need(t, "ansible-playbook", "ansible-galaxy")
	var err error
	c := &controller{host: labtest.Host(t, "pbx"), folder: t.TempDir()}
	c.collections = filepath.Join(c.folder, "collections")
	c.callbacks, err = filepath.Abs("testdata/callback")
	labtest.Must(t, err)
	build := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "ansible-galaxy", args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // Ansible refuses others
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ansible-galaxy %q: %v\n%s", args, err, out)
		}
	}
	build("collection", "build", "ansible", "--output-path", c.folder)
	archives, err := filepath.Glob(filepath.Join(c.folder, "*.tar.gz"))
	labtest.Must(t, err)
	build(append([]string{"collection", "install", "-p", c.collections}, archives...)...)
	self, err := os.Executable()
	labtest.Must(t, err)
	c.write(t, "ringfence", fmt.Sprintf("#!/bin/sh\nRINGFENCE_TEST_PROGRAM=ringfence exec %s \"$@\"\n", self), 0o755)
	c.write(t, "play.yml", "- hosts: pbx\n  gather_facts: false\n  roles: [ringfence.ringfence.ringfence]\n", 0o644)
	c.write(t, "facts.yml", fmt.Sprintf(`- hosts: pbx
  gather_facts: false
  tasks:
    - ansible.builtin.setup: {fact_path: %s, filter: ansible_local}
    - ansible.builtin.debug: {msg: "{{ ansible_local.ringfence }}"}
`, filepath.Join(c.folder, "facts")), 0o644)
	return c
}

func (c *controller) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	labtest.Must(t, os.WriteFile(filepath.Join(c.folder, name), []byte(text), mode))
}

// played is the result of a play on the host.
type played struct {
	status int
	out    string
	result struct {
		Tasks []struct {
			Task   string
			Result json.RawMessage
		}
		Changed int // how many tasks have changed something
	}
}

// of returns what a task has returned.
func (p played) of(t *testing.T, task string) (result struct {
	Changed bool
	Failed  bool
	Msg     json.RawMessage
	Pending bool
	Changes []struct{ Action, Kind, Name, Value string }
},
) {
	t.Helper()
	for _, one := range p.result.Tasks {
		if strings.HasSuffix(one.Task, task) {
			labtest.Must(t, json.Unmarshal(one.Result, &result))
			return result
		}
	}
	t.Fatalf("no task %q was run:\n%s", task, p.out)
	return result
}

// play runs a playbook with variables for the role.
func (c *controller) play(t *testing.T, book string, variables map[string]any, args ...string) played {
	t.Helper()
	all := map[string]any{
		"ringfence_install": "none", "ringfence_keep": "none", "ringfence_confirm": "30s",
		"ringfence_program":     filepath.Join(c.folder, "ringfence"),
		"ringfence_policy_file": filepath.Join(c.folder, "etc/policy.yaml"),
		"ringfence_state_dir":   filepath.Join(c.folder, "state"), "ringfence_run_dir": filepath.Join(c.folder, "run"),
		"ringfence_facts_dir": filepath.Join(c.folder, "facts"),
	}
	maps.Copy(all, variables)
	given, err := json.Marshal(all)
	labtest.Must(t, err)
	cmd := exec.CommandContext(t.Context(), "ansible-playbook", append([]string{
		"-i", "pbx,", "-c", "local", "-e", string(given),
		"-e", "ansible_python_interpreter=/usr/bin/python3", filepath.Join(c.folder, book),
	}, args...)...)
	cmd.Env = append(os.Environ(), "ANSIBLE_COLLECTIONS_PATH="+c.collections, "ANSIBLE_STDOUT_CALLBACK=tasks", "ANSIBLE_CALLBACK_PLUGINS="+c.callbacks,
		"ANSIBLE_HOME="+filepath.Join(c.folder, "home"), "ANSIBLE_LOCAL_TEMP="+filepath.Join(c.folder, "tmp"), "LC_ALL=C.UTF-8")
	var out []byte
	err = c.host.Do(func() (err error) {
		out, err = cmd.Output()
		return err
	})
	p := played{out: string(out)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		p.status = exit.ExitCode()
		p.out += string(exit.Stderr)
	} else {
		labtest.Must(t, err)
	}
	start := strings.Index(string(out), "{")
	if start < 0 {
		t.Fatalf("ansible-playbook says\n%s", p.out)
	}
	if err := json.NewDecoder(strings.NewReader(string(out)[start:])).Decode(&p.result); err != nil {
		t.Fatalf("%v in\n%s", err, p.out)
	}
	return p
}

func (c *controller) table(t *testing.T) string {
	t.Helper()
	return labtest.Run(t, c.host, "nft", "list", "ruleset")
}

func policyOf(addresses ...string) map[string]any {
	return map[string]any{"ringfence_policy": map[string]any{
		"version": 1, "signatures": map[string]any{"engine": "off"},
		"providers": []any{map[string]any{"name": "acme", "addresses": addresses}},
	}}
}

// TestAnsible: the role does on a host what it says before in check mode, no more, and a
// change that the controller cannot confirm undoes itself.
func TestAnsible(t *testing.T) {
	t.Parallel()
	c := newController(t)
	const task = "Put the policy into force"
	first, second := policyOf("203.0.113.0/24"), policyOf("203.0.113.0/24", "198.51.100.7")

	p := c.play(t, "play.yml", first, "--check", "--diff")
	if r := p.of(t, task); p.status != 0 || !r.Changed || len(r.Changes) == 0 {
		t.Fatalf("check mode before the first run: status %d, %+v\n%s", p.status, r, p.out)
	}
	if _, err := os.Stat(filepath.Join(c.folder, "etc")); !os.IsNotExist(err) || c.table(t) != "" {
		t.Errorf("check mode has changed something: %v\n%s", err, c.table(t))
	}

	p = c.play(t, "play.yml", first)
	if r := p.of(t, task); p.status != 0 || !r.Changed || !r.Pending || !strings.Contains(c.table(t), "203.0.113.0/24") {
		t.Fatalf("the first run: status %d, %+v\n%s%s", p.status, r, p.out, c.table(t))
	}
	if facts := c.play(t, "facts.yml", nil); !strings.Contains(string(facts.of(t, "debug").Msg), `"pending": null`) {
		t.Errorf("the facts after it are\n%s", facts.out)
	}

	p = c.play(t, "play.yml", first)
	if p.status != 0 || p.result.Changed != 0 {
		t.Errorf("the second run: status %d, %d changes\n%s", p.status, p.result.Changed, p.out)
	}

	before := c.table(t)
	p = c.play(t, "play.yml", second, "--check", "--diff")
	if r := p.of(t, task); p.status != 0 || !r.Changed || len(r.Changes) != 1 || r.Changes[0].Value != "198.51.100.7" || c.table(t) != before {
		t.Errorf("check mode with another policy: status %d, %+v\n%s", p.status, r, p.out)
	}

	p = c.play(t, "play.yml", second)
	if r := p.of(t, task); p.status != 0 || !r.Changed || !strings.Contains(c.table(t), "198.51.100.7") {
		t.Errorf("the run with it: status %d, %+v\n%s", p.status, r, p.out)
	}

	bad := policyOf("203.0.113.0/33")
	if p = c.play(t, "play.yml", bad); p.status == 0 || !strings.Contains(string(p.of(t, task).Msg), "policy.yaml:") {
		t.Errorf("a policy with a mistake: status %d\n%s", p.status, p.out)
	}

	cut := policyOf("192.0.2.0/24")
	cut["ringfence_confirm"], cut["ringfence_check_command"], cut["ringfence_check_retries"] = "5s", "false", 1
	if p = c.play(t, "play.yml", cut); p.status == 0 {
		t.Errorf("a change that cuts the phones off was confirmed:\n%s", p.out)
	}
	// The sets of an undo that is under way have a suffix until its last transaction.
	labtest.Until(t, "the change is undone", func() bool {
		now := c.table(t)
		return strings.Contains(now, "198.51.100.7") && !strings.Contains(now, "192.0.2.0/24") && !strings.Contains(now, "_next")
	})

	c.removes(t, filepath.Join(c.folder, "state"))
}

// removes has the role take everything away, which check mode says before, and which
// leaves nothing for a second time.
func (c *controller) removes(t *testing.T, state string) {
	t.Helper()
	const task = "Take the fence down"
	absent := map[string]any{"ringfence_state": "absent"}
	before := c.table(t)
	p := c.play(t, "play.yml", absent, "--check", "--diff")
	said := p.result.Changed
	if r := p.of(t, task); p.status != 0 || !r.Changed || before == "" || c.table(t) != before {
		t.Errorf("check mode before it is removed: status %d, %+v\n%s", p.status, r, p.out)
	}
	p = c.play(t, "play.yml", absent)
	if _, err := os.Stat(state); p.status != 0 || c.table(t) != "" || !os.IsNotExist(err) {
		t.Errorf("removed: status %d, %v\n%s%s", p.status, err, p.out, c.table(t))
	}
	if p.result.Changed != said {
		t.Errorf("check mode said that %d tasks would change something, and %d did\n%s", said, p.result.Changed, p.out)
	}
	for _, args := range [][]string{{"--check"}, nil} {
		if p := c.play(t, "play.yml", absent, args...); p.status != 0 || p.result.Changed != 0 {
			t.Errorf("removed a second time, %q: status %d, %d changes\n%s", args, p.status, p.result.Changed, p.out)
		}
	}
}
