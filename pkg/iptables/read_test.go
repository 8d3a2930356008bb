package iptables_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ringfence/ringfence/pkg/iptables"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestReadWhileRulesChange: iptables-save fails if a set of a rule goes while it reads. Here
// the program does so every second time.
func TestReadWhileRulesChange(t *testing.T) {
	h := labtest.Host(t, "pbx")
	want := compiled(t, "providers: [{name: a, addresses: [192.0.2.1]}]", hosts()["plain"])
	apply(t, h, iptables.NFT, want)
	folder := t.TempDir()
	for _, name := range []string{"iptables-nft", "ip6tables-nft"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(name + suffix)
			labtest.Must(t, err)
			program := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", path)
			if suffix == "-save" {
				mark := filepath.Join(folder, name+".failed")
				program = fmt.Sprintf("#!/bin/sh\n[ -e %[1]s ] && rm %[1]s && exec %[2]s \"$@\"\n: >%[1]s\necho 'Set with index 21 in kernel does not exist.' >&2\nexit 2\n", mark, path)
			}
			labtest.Must(t, os.WriteFile(filepath.Join(folder, name+suffix), []byte(program), 0o755))
		}
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	labtest.In(t, h, func() error {
		k := &iptables.Kernel{Flavour: iptables.NFT}
		have, err := k.Observe(t.Context())
		if err == nil && !have.Exists {
			err = fmt.Errorf("there is no fence")
		}
		return err
	})
}
