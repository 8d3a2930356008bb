package classifier_test

import (
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ringfence/ringfence/pkg/classifier"
	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestBefore: the filters and programs that see packets first are named, in their order;
// those behind the classifier are not.
func TestBefore(t *testing.T) {
	h := host(t, "eth0", "eth1")
	labtest.Run(t, h, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	foreign(t, h, "eth0", "shaper", "ingress", "2", "1")
	foreign(t, h, "eth0", "later", "ingress", "7", "1")
	want := []string{"tc filter pref 2 (bpf)"}
	labtest.In(t, h, func() error {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "other", Type: ebpf.SchedCLS, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return err
		}
		defer program.Close()
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		attached, err := link.AttachTCX(link.TCXOptions{Interface: eth0.Index, Program: program, Attach: ebpf.AttachTCXIngress})
		switch {
		case err == nil:
			defer attached.Close()
			want = slices.Insert(want, 0, `tcx program "other"`)
		case !errors.Is(err, ebpf.ErrNotSupported): // before Linux 6.6
			return err
		}
		before := classifier.Before([]string{"eth0", "eth1", "eth2"})
		if len(before) != 1 || !slices.Equal(before["eth0"], want) {
			t.Errorf("%q, want %q", before, want)
		}
		return nil
	})
}
