package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// expected is how one command ends.
type expected struct {
	command string
	status  int
	says    string // on either output
}

// otherPolicy is another policy than staticPolicy.
var otherPolicy = strings.Replace(staticPolicy, "203.0.113.0/24", "198.51.100.0/24", 1)

// applied leaves a site with two generations and a third policy in its file.
func applied(t *testing.T, s *site) {
	t.Helper()
	s.must(t, 0, "apply")
	s.write(t, otherPolicy)
	s.must(t, 0, "apply")
	s.write(t, otherPolicy+"mode: monitor\n")
}

// TestEveryCommandInEveryState runs every command in every bad state that a
// state folder can be in. Each says what is wrong in a sentence and how to go
// on, or does its work; a command that fails changes neither kernel nor state.
func TestEveryCommandInEveryState(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, s *site)
		want    []expected
	}{
		{"no state", nil, []expected{
			{"check", 0, "is valid"},
			{"diff", 2, "+ table inet ringfence"},
			{"refresh", 1, "there is no generation yet"},
			{"up", 1, "there is no generation yet"},
			{"rollback", 1, "there is no generation yet"},
			{"history", 0, "There is no generation yet"},
			{"status", 0, "none: write a policy and run ringfence apply"},
			{"down", 0, "There was no fence."},
			{"apply", 0, "Generation 1 is in force."},
		}},
		{"addresses of a newer version", func(t *testing.T, s *site) {
			applied(t, s)
			labtest.Must(t, os.WriteFile(filepath.Join(s.state(), "addresses.json"), []byte(`{"version": 99}`), 0o640))
		}, []expected{
			{"refresh", 1, "was written by ringfence of a newer version"},
			{"status", 1, "was written by ringfence of a newer version"},
			{"rollback", 1, "was written by ringfence of a newer version"},
			{"apply", 1, "was written by ringfence of a newer version"},
		}},
		{"all state damaged", func(t *testing.T, s *site) {
			applied(t, s)
			for _, path := range stateFiles(t, s) {
				labtest.Must(t, os.WriteFile(path, []byte("not what was written"), 0o640))
			}
		}, []expected{
			{"check", 0, "is valid"},
			{"diff", 2, "00000002.json is damaged"},
			{"refresh", 1, "00000002.json is damaged"},
			{"up", 1, "00000001.json is damaged"},
			{"rollback", 1, "00000001.json is damaged"},
			{"rollback 2", 1, "ringfence history shows the generations that can be read"},
			{"history", 0, "00000001.json is damaged"},
			{"history 2", 1, "00000002.json is damaged"},
			{"status", 1, "run ringfence apply"},
			{"down", 0, "The fence is down"},
			{"apply", 0, "Generation 3 is in force"},
		}},
		{"state of the newest generation damaged", func(t *testing.T, s *site) {
			applied(t, s)
			labtest.Must(t, os.Truncate(filepath.Join(s.state(), "journal", "00000002.json"), 100))
		}, []expected{
			{"rollback", 0, "Generation 3 is in force, with the policy of generation 1"},
			{"refresh", 0, "Generation 3"},
		}},
		{"read-only state", func(t *testing.T, s *site) {
			applied(t, s)
			labtest.Must(t, unix.Mount(s.state(), s.state(), "", unix.MS_BIND, ""))
			t.Cleanup(func() { labtest.Must(t, unix.Unmount(s.state(), 0)) })
			labtest.Must(t, unix.Mount("", s.state(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}, []expected{
			{"check", 0, "is valid"},
			{"diff", 2, "mode is monitor, it was enforce"},
			{"apply", 1, "make it writable, or name another folder with --state-dir"},
			{"refresh", 1, "read-only file system"},
			{"rollback", 1, "read-only file system"},
			{"down", 1, "read-only file system"},
			{"up", 0, "nothing to do"},
			{"history", 0, "apply"},
			{"status", 0, "enforce"},
		}},
		{"full disk", func(t *testing.T, s *site) {
			labtest.Must(t, os.MkdirAll(s.state(), 0o750))
			labtest.Must(t, unix.Mount("tmpfs", s.state(), "tmpfs", 0, "size=128k"))
			t.Cleanup(func() { labtest.Must(t, unix.Unmount(s.state(), 0)) })
			applied(t, s)
			fill(t, filepath.Join(s.state(), "ballast"))
		}, []expected{
			{"check", 0, "is valid"},
			{"diff", 2, "mode is monitor, it was enforce"},
			{"apply", 1, "free some space there, and run it again"},
			{"refresh", 1, "no space left on device"},
			{"rollback", 1, "no space left on device"},
			{"down", 1, "no space left on device"},
			{"up", 0, "nothing to do"},
			{"history", 0, "apply"},
			{"status", 0, "enforce"},
		}},
		{"somebody else's files", func(t *testing.T, s *site) {
			applied(t, s)
			for _, name := range []string{"README", ".hidden", "journal/notes.txt", "journal/00000003.json.orig", "journal/3.json"} {
				labtest.Must(t, os.WriteFile(filepath.Join(s.state(), name), []byte("mine"), 0o600))
			}
			labtest.Must(t, os.Mkdir(filepath.Join(s.state(), "folder"), 0o755))
		}, []expected{
			{"diff", 2, "mode is monitor, it was enforce"},
			{"refresh", 4, "Generation 2"},
			{"apply", 0, "Generation 3 is in force"},
			{"rollback", 0, "Generation 4 is in force"},
			{"history", 0, "rollback 2"},
			{"status", 0, "enforce"},
			{"down", 0, "The fence is down"},
			{"up", 0, "Generation 4"},
		}},
		{"folders where files belong", func(t *testing.T, s *site) {
			applied(t, s)
			for _, name := range []string{"addresses.json", "journal/kernel.json", "journal/host.json"} {
				labtest.Must(t, os.Remove(filepath.Join(s.state(), name)))
				labtest.Must(t, os.Mkdir(filepath.Join(s.state(), name), 0o755))
			}
		}, []expected{
			{"diff", 1, "addresses.json: is a directory"},
			{"apply", 1, "addresses.json: is a directory"},
			{"refresh", 1, "addresses.json: is a directory"},
			{"rollback", 1, "addresses.json: is a directory"},
			{"up", 1, "addresses.json: is a directory"},
			{"status", 1, "addresses.json: is a directory"},
			{"history", 0, "apply"},
			{"down", 0, "The fence is down"},
		}},
		{"the state folder is a file", func(t *testing.T, s *site) {
			labtest.Must(t, os.WriteFile(s.state(), []byte("mine"), 0o600))
		}, []expected{
			{"check", 0, "is valid"},
			{"diff", 1, "not a directory"},
			{"apply", 1, "not a directory"},
			{"refresh", 1, "not a directory"},
			{"rollback", 1, "not a directory"},
			{"up", 1, "not a directory"},
			{"down", 1, "not a directory"},
			{"status", 1, "not a directory"},
			{"history", 1, "not a directory"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
			if test.prepare != nil {
				test.prepare(t, s)
			}
			for _, want := range test.want {
				rules, files := s.ruleset(t), contents(t, s.state())
				o := s.run(t, strings.Fields(want.command)...)
				if all := o.stdout + o.stderr; !strings.Contains(all, want.says) {
					t.Errorf("%s does not say %q:\n%s", want.command, want.says, all)
				}
				reportsClearly(t, o, want.status, nil)
				if t.Failed() {
					t.Fatalf("%s: %s", want.command, o.stderr)
				}
				if o.status != 1 {
					continue
				}
				if after := s.ruleset(t); after != rules {
					t.Errorf("%s failed, and changed the kernel: %s", want.command, cmp.Diff(rules, after))
				}
				for path, content := range files {
					if now := contents(t, s.state())[path]; now != content && !strings.HasPrefix(filepath.Base(path), "addresses.json") {
						t.Errorf("%s failed, and changed %s", want.command, path)
					}
				}
			}
			for _, name := range []string{"README", ".hidden", "journal/notes.txt", "journal/00000003.json.orig", "journal/3.json"} {
				if content, err := os.ReadFile(filepath.Join(s.state(), name)); err == nil && string(content) != "mine" {
					t.Errorf("somebody else's file %s is now %q", name, content)
				}
			}
		})
	}
}

// stateFiles are all files of the state folder.
func stateFiles(t *testing.T, s *site) []string {
	t.Helper()
	var paths []string
	labtest.Must(t, filepath.WalkDir(s.state(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

// contents are the contents of all files below a folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	_ = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasSuffix(path, "ballast") {
			content, err := os.ReadFile(path)
			labtest.Must(t, err)
			all[path] = string(content)
		}
		return nil
	})
	return all
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	labtest.Must(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
}

// TestTableOfAnother: a table of ringfence's name that another program has made
// is described and left alone, until the admin says otherwise.
func TestTableOfAnother(t *testing.T) {
	t.Parallel()
	const theirs = `table inet ringfence {
	set friends {
		type ipv4_addr
		elements = { 192.0.2.1 }
	}

	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr @friends accept
	}
}
`
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	labtest.Rules(t, s.host, theirs)
	refused := []string{
		"refused by guard foreign-table: another program has made a table inet ringfence (chains: input; sets: friends; rules: 1), which ringfence would remove",
		"nft list table inet ringfence", "or use --adopt if you are sure",
	}
	for _, command := range []string{"apply", "down"} {
		reportsClearly(t, s.run(t, command), 3, refused)
	}
	if o := s.must(t, 2, "diff"); !strings.Contains(o.stderr, "apply would be refused by guard foreign-table") {
		t.Errorf("diff does not say that apply would be refused:\n%s", o.stderr)
	}
	if o := s.must(t, 0, "status"); !strings.Contains(o.stdout, "not ringfence's, but there is a table inet ringfence") {
		t.Errorf("status takes the table for a fence:\n%s", o.stdout)
	}
	if diff := cmp.Diff(theirs, s.ruleset(t)); diff != "" {
		t.Errorf("the table was changed: %s", diff)
	}
	s.must(t, 0, "apply", "--adopt")
	if rules := s.ruleset(t); strings.Contains(rules, "friends") || !strings.Contains(rules, "dropped_unknown") {
		t.Errorf("after --adopt there is\n%s", rules)
	}

	// A fence whose state was lost is ringfence's own.
	labtest.Must(t, os.RemoveAll(s.state()))
	s.write(t, otherPolicy)
	s.must(t, 0, "apply")
	labtest.Must(t, os.RemoveAll(s.state()))
	s.must(t, 0, "down")
	if rules := s.ruleset(t); rules != "" {
		t.Errorf("down left\n%s", rules)
	}
	// A table of theirs again, and no state: down --adopt is possible.
	labtest.Rules(t, s.host, theirs)
	s.must(t, 0, "down", "--adopt")
	if rules := s.ruleset(t); rules != "" {
		t.Errorf("down --adopt left\n%s", rules)
	}
}

// TestLockedOut: a command that does not get the lock says which process has it; refresh
// leaves the work to the next run of cron.
func TestLockedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, labtest.Host(t, "pbx"), staticPolicy)
	s.must(t, 0, "apply")
	path := filepath.Join(s.runFolder(), "lock")
	holder, err := os.OpenFile(path, os.O_RDWR, 0)
	labtest.Must(t, err)
	defer holder.Close()
	labtest.Must(t, unix.Flock(int(holder.Fd()), unix.LOCK_EX))
	labtest.Must(t, os.WriteFile(path, fmt.Appendf(nil, "pid %d, ringfence apply\n", os.Getpid()), 0o640))
	who := fmt.Sprintf("another ringfence process is running: pid %d, ringfence apply", os.Getpid())
	type ended struct {
		command string
		outcome outcome
		err     error
	}
	ends := make(chan ended)
	commands := map[string]int{"refresh": 0, "apply": 1, "rollback": 1, "up": 1, "down": 1}
	for command := range commands {
		go func() {
			o, err := s.try(t, command)
			ends <- ended{command, o, err}
		}()
	}
	for range commands {
		e := <-ends
		labtest.Must(t, e.err)
		if all := e.outcome.stdout + e.outcome.stderr; e.outcome.status != commands[e.command] || !strings.Contains(all, who) {
			t.Errorf("%s: exit status %d, want %d, and %q:\n%s", e.command, e.outcome.status, commands[e.command], who, all)
		}
	}
	for _, command := range []string{"status", "diff", "history", "check"} {
		s.must(t, 0, command) // who only looks waits for nobody
	}
}
