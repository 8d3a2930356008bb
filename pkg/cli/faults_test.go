package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

const staticPolicy = `version: 1
providers:
  - name: acme
    addresses: [203.0.113.0/24]
`

// TestTroubles: whatever is wrong, the user gets one clear sentence with the way
// out and the contracted exit status, and the kernel stays as it is.
func TestTroubles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, s *site)
		command []string
		status  int
		stderr  []string // all of these
	}{
		{"bad policy", write("version: 1\nprots: {}\nmode: off\n"), []string{"apply"}, 1, []string{
			`policy.yaml:2:1: unknown key "prots"`, `policy.yaml:3:7: mode is "off": write enforce or monitor`,
		}},
		{"bad policy for check", write("version: 1\nmode: off\n"), []string{"check"}, 1, []string{`policy.yaml:2:7: mode is "off"`}},
		{"bad policy for diff", write("version: 1\nmode: off\n"), []string{"diff"}, 1, []string{`policy.yaml:2:7: mode is "off"`}},
		{"missing policy", func(t *testing.T, s *site) { labtest.Must(t, os.Remove(s.policyFile())) }, []string{"apply"}, 1, []string{
			"ringfence: error: there is no policy ", "hint: ringfence init writes one",
		}},
		{"policy is a folder", func(t *testing.T, s *site) {
			labtest.Must(t, os.Remove(s.policyFile()))
			labtest.Must(t, os.Mkdir(s.policyFile(), 0o755))
		}, []string{"apply"}, 1, []string{"ringfence: error: read policy: ", "is a directory"}},
		{"refresh before apply", nil, []string{"refresh"}, 1, []string{"ringfence: error: there is no generation yet", "hint: write a policy and run: ringfence apply"}},
		{"up before apply", nil, []string{"up"}, 1, []string{"ringfence: error: there is no generation yet", "hint: write a policy"}},
		{"read-only state folder", readOnlyState, []string{"apply"}, 1, []string{"ringfence: error: ", "read-only file system", "hint: make it writable, or name another folder with --state-dir or --run-dir"}},
		{"no name server at first start", write(strings.Replace(staticPolicy, "addresses: [203.0.113.0/24]", "registrars: [sip.acme.example]", 1) +
			"dns: {servers: [127.0.0.1]}\n"), []string{"apply"}, 3, []string{
			"refused by guard empty-provider: no address is known for provider acme", "no name server listens on 127.0.0.1:53", "--allow-empty acme",
		}},
		{"no name server at first start, with its address", write(strings.Replace(staticPolicy, "addresses:", "registrars: [sip.acme.example]\n    addresses:", 1) +
			"dns: {servers: [127.0.0.1]}\n"), []string{"apply", "-o", "text"}, 4, []string{"warning: sip.acme.example NAPTR: no name server listens on 127.0.0.1:53 (and 7 questions more about sip.acme.example)"}},
		{"unknown command", nil, []string{"aply"}, 1, []string{`ringfence: error: unknown command "aply"`, "did you mean ringfence apply?"}},
		{"unknown flag", nil, []string{"apply", "--fast"}, 1, []string{"ringfence: error: unknown flag: --fast", "see ringfence apply --help"}},
		{"unknown output", nil, []string{"apply", "-o", "xml"}, 1, []string{`ringfence: error: output "xml": write -o text or -o json`}},
		{"unknown log level", nil, []string{"apply", "--log-level", "loud"}, 1, []string{`ringfence: error: log level "loud"`}},
		{"arguments that nobody asked for", nil, []string{"apply", "now"}, 1, []string{`ringfence: error: ringfence apply takes no arguments, but got "now"`, "hint: to name a policy file: ringfence --policy FILE apply"}},
		{"resolve without a name", nil, []string{"resolve"}, 1, []string{"ringfence: error: resolve needs a name"}},
		{"resolve no name", nil, []string{"resolve", "not a name"}, 1, []string{`"not a name" is not a name`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
			if test.prepare != nil {
				test.prepare(t, s)
			}
			o := s.run(t, test.command...)
			reportsClearly(t, o, test.status, test.stderr)
			if rules := s.ruleset(t); test.status != 4 && rules != "" {
				t.Errorf("the kernel was changed:\n%s", rules)
			}
		})
	}
}

func reportsClearly(t *testing.T, o outcome, status int, stderr []string) {
	t.Helper()
	if o.status != status {
		t.Errorf("exit status %d, want %d", o.status, status)
	}
	for _, want := range stderr {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("standard error does not say %q:\n%s", want, o.stderr)
		}
	}
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "ringfence: ") {
			t.Errorf("a line of standard error is not ringfence's: %q", line)
		}
	}
	for _, word := range []string{"panic", "goroutine", "failed to", ".go:"} {
		if strings.Contains(o.stderr, word) {
			t.Errorf("standard error says %q:\n%s", word, o.stderr)
		}
	}
}

func write(policy string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) { s.write(t, policy) }
}

func readOnlyState(t *testing.T, s *site) {
	labtest.Must(t, os.MkdirAll(s.state(), 0o755))
	labtest.Must(t, unix.Mount("tmpfs", s.state(), "tmpfs", unix.MS_RDONLY, ""))
	t.Cleanup(func() { labtest.Must(t, unix.Unmount(s.state(), 0)) })
}

// TestReadOnlyLater: a state folder that has become read-only stops a change
// before the kernel has seen it.
func TestReadOnlyLater(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	before := s.ruleset(t)
	labtest.Must(t, unix.Mount(s.state(), s.state(), "", unix.MS_BIND, ""))
	defer unix.Unmount(s.state(), 0)
	labtest.Must(t, unix.Mount("", s.state(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	s.write(t, strings.Replace(staticPolicy, "203.0.113.0/24", "198.51.100.0/24", 1))
	for _, command := range []string{"apply", "refresh", "down"} {
		reportsClearly(t, s.run(t, command), 1, []string{"ringfence: error: ", "read-only file system", "hint: make it writable, or name another folder with --state-dir or --run-dir"})
		if after := s.ruleset(t); after != before {
			t.Errorf("%s changed the kernel:\n%s", command, after)
		}
	}
	s.must(t, 0, "status")
	s.must(t, 2, "diff")
}

// TestWithoutRoot: a process that may not use nftables gets that as its first error.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	open, err := os.MkdirTemp("", "ringfence")
	labtest.Must(t, err)
	t.Cleanup(func() { os.RemoveAll(open) })
	labtest.Must(t, os.Chmod(open, 0o755))
	program := filepath.Join(open, "ringfence")
	self, err := os.Executable()
	labtest.Must(t, err)
	binary, err := os.ReadFile(self)
	labtest.Must(t, err)
	labtest.Must(t, os.WriteFile(program, binary, 0o755))
	policy := filepath.Join(open, "policy.yaml")
	labtest.Must(t, os.WriteFile(policy, []byte(staticPolicy), 0o644))
	for _, command := range []string{"apply", "diff", "refresh", "up", "down", "status", "check"} {
		cmd := exec.CommandContext(t.Context(), program, "--policy", policy, "--state-dir", filepath.Join(open, "state"), "--run-dir", filepath.Join(open, "run"), command)
		cmd.Env = labtest.Program(t, "ringfence").Env
		cmd.Dir = open
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		o := s.start(t, cmd)
		if command == "check" {
			reportsClearly(t, o, 0, nil)
			continue
		}
		reportsClearly(t, o, 1, []string{"only root, or a process with CAP_NET_ADMIN", "hint: run it as root: sudo ringfence"})
	}
}

// TestWithoutNFTables runs on a kernel that has no nftables, as far as the
// program can see.
func TestWithoutNFTables(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	for _, command := range []string{"apply", "diff", "status", "down"} {
		s.role = "ringfence without nf_tables"
		reportsClearly(t, s.run(t, command), 1, []string{"this kernel has no nftables", "hint: load the module (modprobe nf_tables)"})
	}
	s.role = ""
	s.must(t, 0, "check")
}

// withoutNFTables is ringfence where the kernel refuses netfilter sockets, as a
// kernel without nfnetlink does. A filter of the kernel's own (seccomp) takes
// the place of the old kernel.
func withoutNFTables() int {
	runtime.LockOSThread()
	const (
		loadWord   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpIfSame = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer     = unix.BPF_RET | unix.BPF_K
		allow      = 0x7fff0000
		fail       = 0x00050000
		number     = 0  // of struct seccomp_data: the system call
		domain     = 16 // its first argument
		protocol   = 32 // its third
	)
	filter := []unix.SockFilter{
		{Code: loadWord, K: number},
		{Code: jumpIfSame, K: unix.SYS_SOCKET, Jf: 5},
		{Code: loadWord, K: domain},
		{Code: jumpIfSame, K: unix.AF_NETLINK, Jf: 3},
		{Code: loadWord, K: protocol},
		{Code: jumpIfSame, K: unix.NETLINK_NETFILTER, Jf: 1},
		{Code: answer, K: fail | uint32(unix.EPROTONOSUPPORT)},
		{Code: answer, K: allow},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	const setModeFilter, allThreads = 1, 1
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, allThreads, uintptr(unsafe.Pointer(&program))); errno != 0 {
		fmt.Fprintln(os.Stderr, errno)
		return 1
	}
	return ringfence()
}
