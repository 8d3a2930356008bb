package examples_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// rollout is a controller that reaches three sites over SSH.
type rollout struct {
	*controller
	sites []*lab.Namespace
}

// newRollout makes the sites, each with an SSH server of its own and with files of its own.
func newRollout(t *testing.T) *rollout {
	t.Helper()
	labtest.Need(t, "sshd", "ssh", "ssh-keygen")
	r := &rollout{controller: newController(t)}
	key := filepath.Join(r.folder, "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	labtest.Must(t, os.MkdirAll("/run/sshd", 0o755))
	hosts := map[string]any{}
	for i, name := range []string{"berlin", "hamburg", "munich"} {
		site := labtest.Host(t, name)
		labtest.Must(t, lab.Link(
			lab.End{Host: r.host, Interface: name, Addresses: []string{fmt.Sprintf("10.77.%d.1/24", i)}},
			lab.End{Host: site, Interface: "eth0", Addresses: []string{fmt.Sprintf("10.77.%d.2/24", i)}}))
		r.sites = append(r.sites, site)
		address := fmt.Sprintf("10.77.%d.2", i)
		serveSSH(t, site, r.folder, address, key)
		of := func(file string) string { return filepath.Join(r.folder, name, file) }
		hosts[name] = map[string]any{
			"ansible_host": address, "ringfence_policy_file": of("etc/policy.yaml"), "ringfence_facts_dir": of("facts"),
			"ringfence_state_dir": of("state"), "ringfence_run_dir": of("run"),
		}
	}
	inventory, err := json.Marshal(map[string]any{"sites": map[string]any{"hosts": hosts, "vars": map[string]any{
		"ansible_user": "root", "ansible_ssh_private_key_file": key, "ansible_python_interpreter": "/usr/bin/python3",
		"ansible_ssh_pipelining": true,
		"ansible_ssh_args":       "-o ControlMaster=auto -o ControlPersist=60s -o ControlPath=" + r.folder + "/%C -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 -o ServerAliveInterval=3 -o ServerAliveCountMax=3",
		"ringfence_install":      "none", "ringfence_keep": "none", "ringfence_program": filepath.Join(r.folder, "ringfence"),
	}}})
	labtest.Must(t, err)
	r.write(t, "hosts.json", string(inventory), 0o644)
	return r
}

// serveSSH serves root's logins with a key at an address of a host.
func serveSSH(t *testing.T, h *lab.Namespace, folder, address, key string) {
	t.Helper()
	file := filepath.Join(folder, "sshd-"+h.Name)
	text := fmt.Sprintf("ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s.pub\nPermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\n", address, key, key)
	labtest.Must(t, os.WriteFile(file, []byte(text), 0o644))
	path, err := exec.LookPath("sshd")
	labtest.Must(t, err)
	server := exec.CommandContext(t.Context(), path, "-D", "-e", "-f", file)
	labtest.Must(t, h.Start(server))
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
}

// run runs the playbook of the collection over all sites.
func (r *rollout) run(t *testing.T, variables map[string]any) (status int, out string) {
	t.Helper()
	given, err := json.Marshal(variables)
	labtest.Must(t, err)
	cmd := exec.CommandContext(t.Context(), "ansible-playbook", "-i", filepath.Join(r.folder, "hosts.json"), "-e", string(given), "ringfence.ringfence.site")
	cmd.Env = append(os.Environ(), "ANSIBLE_COLLECTIONS_PATH="+r.collections, "ANSIBLE_HOME="+filepath.Join(r.folder, "home"),
		"ANSIBLE_LOCAL_TEMP="+filepath.Join(r.folder, "tmp"), "LC_ALL=C.UTF-8")
	var printed []byte
	err = r.host.Do(func() (err error) {
		printed, err = cmd.CombinedOutput()
		return err
	})
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(printed)
	}
	labtest.Must(t, err)
	return 0, string(printed)
}

// tables are what the sites have in their kernels.
func (r *rollout) tables(t *testing.T) (list []string) {
	t.Helper()
	for _, site := range r.sites {
		list = append(list, labtest.Run(t, site, "nft", "list", "ruleset"))
	}
	return list
}

// TestAnsibleRollout: a policy reaches all sites over SSH. One that cuts the first of them
// off undoes itself there, and does not reach the others.
func TestAnsibleRollout(t *testing.T) {
	if os.Getenv("RINGFENCE_ANSIBLE") == "" {
		t.Skip("it needs an SSH server, which scripts/ansible installs, and scripts/test does not")
	}
	r := newRollout(t)
	policy := func(ports []int, trusted ...string) map[string]any {
		return map[string]any{
			"version": 1, "signatures": map[string]any{"engine": "off"}, "ports": map[string]any{"udp": []int{5060}, "tcp": ports},
			"providers": []any{map[string]any{"name": "acme", "addresses": []string{"203.0.113.0/24"}}},
			"trusted":   map[string]any{"addresses": trusted},
		}
	}
	good := map[string]any{"ringfence_confirm": "60s", "ringfence_policy": policy([]int{5060}, "10.77.0.0/16")}
	status, out := r.run(t, good)
	before := r.tables(t)
	if status != 0 || strings.Count(out, "changed=") != 3 {
		t.Fatalf("the first rollout: status %d\n%s", status, out)
	}
	for i, table := range before {
		if !strings.Contains(table, "203.0.113.0/24") || !strings.Contains(table, "10.77.0.0/16") || strings.Contains(table, "5060 timeout") {
			t.Errorf("site %d has\n%s", i, table)
		}
	}
	if status, out := r.run(t, good); status != 0 || strings.Count(out, "changed=0") != 3 {
		t.Errorf("the same again: status %d\n%s", status, out)
	}

	// The port of SSH is among those of SIP, and the controller is nobody.
	status, out = r.run(t, map[string]any{
		"ringfence_confirm": "25s", "ringfence_policy": policy([]int{22, 5060}),
		"ringfence_apply_flags": []string{"--allow-cut-inside", "--allow-cut-live"},
	})
	if status == 0 || !strings.Contains(out, "berlin") || !strings.Contains(out, "unreachable=1") && !strings.Contains(out, "failed=1") {
		t.Errorf("a rollout that cuts sites off: status %d\n%s", status, out)
	}
	for i, table := range r.tables(t)[1:] {
		if table != before[i+1] {
			t.Errorf("site %d was changed all the same:\n%s", i+1, table)
		}
	}
	labtest.Until(t, "the first site has undone it", func() bool {
		table := r.tables(t)[0]
		return !strings.Contains(table, "tcp . 22") && strings.Contains(table, "10.77.0.0/16")
	})
	if status, out := r.run(t, good); status != 0 || strings.Count(out, "unreachable=0") != 3 {
		t.Errorf("the sites after it: status %d\n%s", status, out)
	}
}
