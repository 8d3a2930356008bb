package cli_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// nobody is a user without any rights.
const nobody = 65534

// leastRights are a user and the three capabilities that the unit file of the service
// gives it.
func leastRights() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON},
	}
}

// newUnprivilegedSite is a site whose files belong to another user, who has only the
// three capabilities.
func newUnprivilegedSite(t *testing.T, h *lab.Namespace, policy string) *site {
	t.Helper()
	folder, err := os.MkdirTemp("", "ringfence") // those of the tests are closed to others
	labtest.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	labtest.Must(t, os.Chown(folder, nobody, nobody))
	s := &site{
		host: h, folder: folder, program: filepath.Join(folder, "ringfence"),
		environment: []string{"RINGFENCE_TEST_PROGRAM=ringfence"}, as: leastRights(),
	}
	self, err := os.Open("/proc/self/exe")
	labtest.Must(t, err)
	defer self.Close()
	program, err := os.OpenFile(s.program, os.O_CREATE|os.O_WRONLY, 0o755)
	labtest.Must(t, err)
	_, err = io.Copy(program, self)
	labtest.Must(t, err)
	labtest.Must(t, program.Close())
	s.write(t, policy)
	return s
}

// TestLeastRights: with CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON alone, and files of its own,
// a user applies, the service attaches the classifier to what comes, and both it and
// refresh put back what others remove.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	pbx, outside := newPair(t)
	const policy = linksPolicy + "interfaces: ['eth*']\nunknown: {action: accept}\n"
	s := newUnprivilegedSite(t, pbx, policy)
	filters := func(link string) string {
		out, _ := labtest.TryInput(t, pbx, "", "tc", "filter", "show", "dev", link, "ingress")
		return out
	}
	attached := func(link string) bool { return strings.Contains(filters(link), "ringfence:") }
	if o := s.must(t, 0, "apply"); strings.Contains(o.stderr, "warning") || !attached("eth0") {
		t.Fatalf("apply says %s%s, and the filters are %s", o.stdout, o.stderr, filters("eth0"))
	}
	want := fence(t, s)
	labtest.Run(t, pbx, "nft", "flush", "ruleset")
	labtest.Run(t, pbx, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	s.must(t, 0, "refresh")
	if fence(t, s) != want || !attached("eth0") {
		t.Errorf("after a refresh there is\n%s%s", fence(t, s), filters("eth0"))
	}
	r := serve(t, s)
	labtest.Run(t, pbx, "nft", "flush", "ruleset")
	r.until(t, "the table is back", func() bool { return fence(t, s) == want })
	labtest.Run(t, pbx, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	r.until(t, "the classifier is back", func() bool { return attached("eth0") })
	labtest.Link(t,
		lab.End{Host: pbx, Interface: "eth1", Addresses: []string{"192.0.2.1/24"}},
		lab.End{Host: outside, Interface: "eth1", Addresses: []string{"192.0.2.66/24"}})
	r.until(t, "the classifier is on what has come", func() bool { return attached("eth1") })
	s.write(t, policy+"trusted: {addresses: [198.51.100.0/24]}\n")
	s.must(t, 0, "apply")
	r.until(t, "it goes on with the newest generation", func() bool { return strings.HasPrefix(r.status(), "generation 2, ") })
	for _, command := range [][]string{{"ban", "192.0.2.66"}, {"allow", "192.0.2.66"}, {"rollback"}, {"doctor"}, {"status", "--check"}} {
		if o := s.run(t, command...); o.status != 0 && command[0] != "doctor" || o.status == 1 {
			t.Errorf("%v ends with %d and says %s%s", command, o.status, o.stdout, o.stderr)
		}
	}
	r.end(t)
	if strings.Contains(r.log(), "level=ERROR") {
		t.Errorf("the service says\n%s", r.log())
	}
	labtest.Report(t, "P13", "a user with only CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON: commands, service", 1, "all work")
	s.must(t, 0, "down")
	if attached("eth0") || strings.Contains(s.ruleset(t), "ringfence") {
		t.Errorf("down has left %s%s", s.ruleset(t), filters("eth0"))
	}
}
