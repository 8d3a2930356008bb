package classifier

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Probe finds out whether the kernel lets this process load a classifier. It tries a
// small program that uses what old or locked-down kernels, or processes without the
// right capabilities, do not allow: reading packets relative to the network header
// (4.18), loops (5.3), and adding numbers to pointers (CAP_PERFMON). Its error says why
// it is not possible, and wraps ErrPermission or ErrUnsupported where that is the
// cause.
func Probe() error {
	memlock := raiseMemlock()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "probe", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: 1})
	if err != nil {
		return kernelError(err, memlock)
	}
	defer m.Close()
	const networkHeader = 1 // BPF_HDR_START_NET
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, 0),
			asm.Mov.Reg(asm.R3, asm.R7),
			asm.Mov.Imm(asm.R4, 20),
			asm.Mov.Imm(asm.R5, networkHeader),
			asm.FnSkbLoadBytesRelative.Call(),
			asm.Mov.Imm(asm.R8, 0),
			asm.LoadMem(asm.R9, asm.R7, 0, asm.Byte).WithSymbol("loop"),
			asm.And.Imm(asm.R9, 31),
			asm.Mov.Reg(asm.R1, asm.R7),
			asm.Add.Reg(asm.R1, asm.R9),
			asm.LoadMem(asm.R9, asm.R1, 0, asm.Byte),
			asm.Add.Imm(asm.R8, 1),
			asm.JLT.Imm32(asm.R8, 8, "loop"),
			asm.Mov.Imm(asm.R0, -1).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		return kernelError(err, nil)
	}
	if lacking := missing(); lacking != "" {
		// Otherwise the kernel would only report it when the program is attached.
		err = fmt.Errorf("%w: %s", ErrPermission, reason(nil))
	}
	return errors.Join(err, p.Close())
}

// raiseMemlock raises the limit of locked memory, as which kernels before 5.11 count maps.
// What the library has for that makes a map whenever the program starts, even if that only
// prints its version.
func raiseMemlock() error {
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		return fmt.Errorf("read version of the kernel: %w", err)
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(system.Release[:]), "%d.%d", &major, &minor)
	if err == nil && (major > 5 || major == 5 && minor >= 11) {
		return nil
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unlimited, nil); err != nil {
		return fmt.Errorf("raise limit of locked memory: %w", err)
	}
	return nil
}
