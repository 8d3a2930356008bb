package cli_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// besieged is a site with a fence, and with a policy file that would change it.
type besieged struct {
	*site
	before, wanted string
}

func newBesieged(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{site: newSite(t, labtest.Host(t, "pbx"), otherStatic)}
	b.program = built(t)
	b.must(t, 0, "apply")
	b.wanted = dump(t, b.host)
	b.back(t)
	return b
}

// back goes back to the fence of before.
func (b *besieged) back(t *testing.T) {
	t.Helper()
	b.write(t, staticPolicy)
	b.must(t, 0, "apply")
	b.before = dump(t, b.host)
	b.write(t, otherStatic)
}

// stands checks what an apply has left under an attack: what was there before or what is
// wanted, as its exit status says.
func (b *besieged) stands(t *testing.T, what string, o outcome) {
	t.Helper()
	statusAgrees(t, what, o, dump(t, b.host), b.before, b.wanted)
}

// TestStrangeFolders: who may write into ringfence's folders puts links, pipes and
// folders in the place of its files. Nothing behind them is read or written, nothing
// waits for them, and the fence stays.
func TestStrangeFolders(t *testing.T) {
	t.Parallel()
	b := newBesieged(t)
	victim := filepath.Join(b.folder, "victim")
	tried, planted := 0, 0
	for _, name := range []string{"run/lock", "state/addresses.json", "state/journal/kernel.json", "state/journal/host.json", "state/journal/next.json", "state/journal/newest.form", "run/classifier", "state/journal/notices.json", "state/journal/allowed.json", "state/journal/down.json", "state/journal/unconfirmed.json"} {
		path := filepath.Join(b.folder, name)
		for kind, plant := range map[string]func() error{
			"a link to a file":    func() error { return os.Symlink(victim, path) },
			"a link to nothing":   func() error { return os.Symlink(victim+".not", path) },
			"a link to a device":  func() error { return os.Symlink("/dev/zero", path) },
			"a pipe":              func() error { return unix.Mkfifo(path, 0o600) },
			"a folder":            func() error { return os.Mkdir(path, 0o755) },
			"a file of another's": func() error { return plantFile(path, 65534) },
		} {
			if planted++; planted%labtest.Count(4, 1) != 0 {
				continue // another one each time, for the order is random
			}
			labtest.Must(t, os.WriteFile(victim, []byte("precious"), 0o600))
			labtest.Must(t, os.RemoveAll(path))
			labtest.Must(t, plant())
			o := b.run(t, "apply")
			if strings.Contains(o.stderr, "allowed by hand") {
				// The rules that let such addresses in stay, and the fence is not that of before.
				reportsClearly(t, o, 0, []string{"addresses that were allowed by hand may not be allowed now", "allowed.json"})
			} else {
				b.stands(t, kind+" at "+name, o)
			}
			tried++
			if content, err := os.ReadFile(victim); err != nil || string(content) != "precious" {
				t.Errorf("%s at %s: the file behind it holds %q, %v", kind, name, content, err)
			}
			if _, err := os.Lstat(victim + ".not"); err == nil {
				t.Errorf("%s at %s: the file behind it was made", kind, name)
			}
			labtest.Must(t, os.RemoveAll(path))
			b.back(t)
		}
	}
	for _, folder := range []string{b.runFolder(), b.state(), filepath.Join(b.state(), "journal")} {
		labtest.Must(t, os.Chown(folder, 65534, 65534))
		b.stands(t, folder+" of another user", b.run(t, "apply"))
		b.back(t)
		labtest.Must(t, os.Chmod(folder, 0o777))
		reportsClearly(t, b.run(t, "apply"), 1, []string{"everybody may write to folder " + folder + ": run chmod o-w " + folder})
		b.stands(t, folder+" of everybody", outcome{status: 1, stderr: "ringfence: error: "})
		labtest.Must(t, os.Chmod(folder, 0o750))
		b.back(t)
		tried += 2
	}
	labtest.Report(t, "P12", "links, pipes, folders and others' files in the state and run folders", tried, "0 written through, 0 waited for, the fence as the status says")
}

func plantFile(path string, owner int) error {
	if err := os.WriteFile(path, []byte("{}"), 0o666); err != nil {
		return err
	}
	return os.Chown(path, owner, owner)
}

// TestLockOfAnother: a process that is no ringfence holds the lock. A command says which,
// and does not blame the one before.
func TestLockOfAnother(t *testing.T) {
	t.Parallel()
	b := newBesieged(t)
	labtest.Must(t, os.Chmod(filepath.Join(b.runFolder(), "lock"), 0o666))
	holder := exec.CommandContext(t.Context(), "sleep", "1h")
	lock, err := os.OpenFile(filepath.Join(b.runFolder(), "lock"), os.O_RDWR, 0)
	labtest.Must(t, err)
	labtest.Must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	holder.ExtraFiles = []*os.File{lock}
	holder.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	labtest.Must(t, holder.Start())
	labtest.Must(t, lock.Close())
	defer func() {
		holder.Process.Kill()
		holder.Wait() // it was killed
	}()
	o := b.run(t, "apply")
	reportsClearly(t, o, 1, []string{"another ringfence process is running: pid ", "holds " + filepath.Join(b.runFolder(), "lock")})
	b.stands(t, "the lock of another", o)
	b.must(t, 0, "status")
}

// TestStateCutAnywhere cuts each state file at every place, and makes it a gigabyte long:
// a run says what is damaged or does its work, soon and without much memory, and the
// fence is not changed by it.
func TestStateCutAnywhere(t *testing.T) {
	t.Parallel()
	b := newBesieged(t)
	b.write(t, staticPolicy)
	whole := map[string][]byte{}
	for _, path := range stateFiles(t, b.site) {
		content, err := os.ReadFile(path)
		labtest.Must(t, err)
		whole[path] = content
	}
	cuts, most := 0, int64(0)
	try := func(what, command string) outcome {
		t.Helper()
		cmd := b.command(t, command)
		var errs strings.Builder
		cmd.Stderr = &errs
		labtest.Must(t, b.host.Start(cmd))
		finished(t, cmd, what)
		most = max(most, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
		o := outcome{stderr: errs.String(), status: cmd.ProcessState.ExitCode()}
		if o.status != 0 && o.status != 4 && o.status != 1 || o.status == 1 && !strings.Contains(o.stderr, "ringfence: error: ") {
			t.Errorf("%s: %s ends with %d and says\n%s", what, command, o.status, o.stderr)
		}
		return o
	}
	check := func(what string) {
		t.Helper()
		try(what, "refresh")
		if diff := cmp.Diff(b.before, dump(t, b.host)); diff != "" {
			t.Fatalf("%s: refresh changes the fence: %s", what, diff)
		}
		// At boot, an older generation is better than none.
		o := try(what, "up")
		if now := dump(t, b.host); now != b.before && (now != b.wanted || !strings.Contains(o.stderr, "using an older generation")) {
			t.Fatalf("%s: up says\n%s\n%s", what, o.stderr, cmp.Diff(b.before, now))
		}
		for path, content := range whole {
			labtest.Must(t, os.WriteFile(path, content, 0o640))
		}
		b.must(t, 0, "refresh")
		cuts++
	}
	for path, content := range whole {
		for at := 0; at < len(content); at += labtest.Count(max(len(content)/3, 1), max(len(content)/100, 1)) {
			labtest.Must(t, os.Truncate(path, int64(at)))
			check(fmt.Sprintf("%s cut at %d", filepath.Base(path), at))
		}
		labtest.Must(t, os.Truncate(path, 1<<30))
		check(filepath.Base(path) + " of 1 GB")
	}
	labtest.Report(t, "P12", "a state file cut, or of 1 GB", cuts, "0 changes of the fence, %d MB of memory at most", most>>20)
	if most > 300<<20 {
		t.Errorf("a run has taken %d bytes", most)
	}
}

// TestFewResources: with too few files to open, too little memory to lock, or without one
// of the capabilities of root, an apply does its work or says what it lacks.
func TestFewResources(t *testing.T) {
	t.Parallel()
	labtest.Need(t, "setpriv", "prlimit")
	b := newBesieged(t)
	labtest.Run(t, b.host, "ip", "link", "add", "eth0", "type", "bridge") // for the classifier
	b.back(t)
	b.write(t, otherStatic)
	b.must(t, 0, "apply")
	b.wanted = dump(t, b.host)
	b.back(t)
	tried := 0
	try := func(what string, wrapper ...string) {
		t.Helper()
		inner := b.command(t, "apply")
		cmd := exec.CommandContext(t.Context(), wrapper[0], append(append(wrapper[1:], inner.Path), inner.Args[1:]...)...)
		cmd.Env = inner.Env
		o := b.start(t, cmd)
		now := dump(t, b.host)
		if o.status == 0 && strings.Contains(o.stderr, "the fence works without it") {
			now = b.wanted // the rules of a fence without classifier are others
		}
		statusAgrees(t, what, o, now, b.before, b.wanted)
		b.back(t)
		tried++
	}
	// With less than 8 the runtime of Go itself may end before the program begins: besides
	// the three streams it keeps two files of a cgroup open, and needs two to poll a third.
	for files := 8; files <= labtest.Count(20, 60); files += labtest.Count(4, 1) {
		try(fmt.Sprintf("%d files", files), "prlimit", fmt.Sprintf("--nofile=%d:%[1]d", files))
	}
	try("no memory to lock", "prlimit", "--memlock=0:0")
	for capability := 0; capability <= unix.CAP_LAST_CAP; capability += labtest.Count(4, 1) {
		name := fmt.Sprintf("-cap_%d", capability)
		try("without capability "+name, "setpriv", "--bounding-set="+name, "--inh-caps="+name)
	}
	for _, capability := range []string{"-net_admin", "-bpf", "-perfmon", "-sys_admin", "-dac_override"} {
		try("without "+capability, "setpriv", "--bounding-set="+capability, "--inh-caps="+capability)
	}
	labtest.Report(t, "P12", "few open files, no locked memory, one capability less", tried, "the fence as the status says")
}

// TestServiceKilledAnywhere kills the service at random times while another program
// flushes everything: nothing of its state is damaged, the lock is free, and the next
// run brings the fence back as it was.
func TestServiceKilledAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.program = built(t)
	s.must(t, 0, "apply")
	want := dump(t, s.host)
	rounds := labtest.Count(5, 100)
	for range rounds {
		labtest.Must(t, os.RemoveAll(filepath.Join(s.folder, "notify")))
		r := serve(t, s)
		killed := time.AfterFunc(time.Duration(rand.Int64N(int64(60*time.Millisecond))), func() { r.cmd.Process.Kill() })
		for flushing := true; flushing; {
			labtest.Run(t, s.host, "nft", "flush", "ruleset")
			select {
			case <-r.ended:
				flushing = false
			default:
			}
		}
		killed.Stop()
		o := s.must(t, 0, "refresh")
		if diff := cmp.Diff(want, dump(t, s.host)); diff != "" {
			t.Fatalf("after a kill, refresh brings another fence: %s\n%s%s", diff, o.stdout, o.stderr)
		}
		if history := s.must(t, 0, "history", "-o", "json"); strings.Contains(history.stdout, "damaged") {
			t.Fatalf("after a kill the journal is damaged: %s", history.stdout)
		}
	}
	labtest.Report(t, "P11", "SIGKILL of the service while another program flushes", rounds, "0 damaged, 0 half done; refresh brings all back")
}
