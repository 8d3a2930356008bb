package iptables_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// TestReadWhileRulesChange: iptables-save fails if a set of a rule goes while it reads. Here
// the program does so every second time.
func TestReadWhileRulesChange(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := compiled(t, "providers: [{name: a, addresses: [192.0.2.1]}]", hosts()["plain"])
	apply(t, h, iptables.NFT, want)
	programs(t, func(name, path string) string {
		if !strings.HasSuffix(name, "-save") {
			return "exec " + path + ` "$@"`
		}
		mark := filepath.Join(t.TempDir(), name+".failed")
		return fmt.Sprintf("[ -e %[1]s ] && rm %[1]s && exec %[2]s \"$@\"\n: >%[1]s\necho 'Set with index 21 in kernel does not exist.' >&2\nexit 2", mark, path)
	})
	labtest.In(t, h, func() error {
		k := &iptables.Kernel{Flavour: iptables.NFT}
		have, err := k.Observe(t.Context())
		if err == nil && !have.Exists {
			err = fmt.Errorf("there is no fence")
		}
		return err
	})
}

// programs puts others in the place of iptables' programs: script says what that of a name
// does, with the path of the real one.
func programs(t *testing.T, script func(name, path string) string) {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"iptables-nft", "ip6tables-nft"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(name + suffix)
			labtest.Must(t, err)
			labtest.Must(t, os.WriteFile(filepath.Join(folder, name+suffix), []byte("#!/bin/sh\n"+script(name+suffix, path)+"\n"), 0o755))
		}
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
}

// TestProgramsThatEndWell: a program of iptables that was refused an answer by the kernel may
// end well all the same, with a part of the list, or with rules that are listed otherwise than
// they were written. Each time that one is called, it does so once: the fence is as it should
// be at the end, and nothing is left of the one before.
func TestProgramsThatEndWell(t *testing.T) {
	for name, change := range map[string]struct{ suffix, filter string }{
		"a part of the list": {"-save", `%s "$@" | grep -v 'RINGFENCE-[AB]'`},
		"another rule":       {"-restore", `sed 's/^\(.*\) -j SET .*--timeout 86400/\1/' | %s "$@"`},
	} {
		t.Run(name, func(t *testing.T) {
			h := labtest.Host(t, "pbx")
			states := []*ruleset.State{
				compiled(t, "providers: [{name: a, addresses: [192.0.2.1]}]", hosts()["plain"]),
				compiled(t, "mode: monitor\nproviders: [{name: a, addresses: [192.0.2.1]}]", hosts()["plain"]),
			}
			apply(t, h, iptables.NFT, states[0])
			turn := filepath.Join(t.TempDir(), "turn") // how many calls of the program are still as always
			programs(t, func(name, path string) string {
				if name != "iptables-nft"+change.suffix {
					return "exec " + path + ` "$@"`
				}
				return fmt.Sprintf("n=$(cat %[1]s); echo $((n - 1)) >%[1]s; [ $n = 0 ] || exec %[2]s \"$@\"\n", turn, path) + fmt.Sprintf(change.filter, path)
			})
			calls := 0
			for n := 0; ; n++ {
				want := states[(n+1)%2]
				labtest.Must(t, os.WriteFile(turn, fmt.Append(nil, n), 0o644))
				apply(t, h, iptables.NFT, want)
				left, err := os.ReadFile(turn)
				labtest.Must(t, err)
				labtest.Must(t, os.WriteFile(turn, []byte("-1"), 0o644))
				if p := difference(t, h, iptables.NFT, want); !p.Empty() {
					t.Errorf("after call %d did so: %+v", n, p.Changes)
				}
				if fences := strings.Count(labtest.Run(t, h, "iptables-nft-save", "-t", "raw"), "-prerouting - ["); fences != 1 {
					t.Errorf("after call %d did so there are the chains of %d fences", n, fences)
				}
				if !strings.HasPrefix(string(left), "-") {
					break // there was no such call
				}
				calls++
			}
			if calls < 2 {
				t.Errorf("the program was called %d times", calls)
			}
		})
	}
}
