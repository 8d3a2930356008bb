package classifier

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Run runs the program on a frame (BPF_PROG_TEST_RUN) whose mark was set to
// before, and returns the mark after it.
func (l *Loaded) Run(frame []byte, before uint32) (after uint32, err error) {
	// struct __sk_buff; the mark is its third number.
	in, out := make([]byte, 192), make([]byte, 192)
	binary.NativeEndian.PutUint32(in[8:], before)
	_, err = l.program().Run(&ebpf.RunOptions{Data: frame, Context: in, ContextOut: out})
	return binary.NativeEndian.Uint32(out[8:]), err
}

// Counts are the program's hits by the signatures' names.
func (l *Loaded) Counts() (map[string]uint64, error) {
	return read(l.objects.Maps[programMapHits], l.objects.Maps[programMapSignatures])
}

// Time is what one run of the program on a frame takes.
func (l *Loaded) Time(frame []byte, runs int) (time.Duration, error) {
	_, took, err := l.program().Benchmark(frame, runs, nil)
	return took, err
}

// LoadAligned loads the program as on a machine on which every access has to be
// aligned.
func (p *Program) LoadAligned() error {
	spec, err := loadProgram()
	if err != nil {
		return err
	}
	if err := p.fill(spec); err != nil {
		return err
	}
	const strictAlignment = 1 // BPF_F_STRICT_ALIGNMENT
	spec.Programs[programProgRingfence].Flags |= strictAlignment
	objects, err := ebpf.NewCollection(spec)
	if err == nil {
		objects.Close()
	}
	return err
}

// LoadRefused loads a program that no verifier takes: it returns a register that nothing
// was written to.
func LoadRefused() error {
	_, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Return()}})
	return kernelError(err, nil)
}

// VerifiedSteps loads the program and returns how many instructions the verifier has
// looked at, and how long that took.
func (p *Program) VerifiedSteps() (steps int, took time.Duration, err error) {
	spec, err := loadProgram()
	if err != nil {
		return 0, 0, err
	}
	if err := p.fill(spec); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	objects, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	if err != nil {
		return 0, 0, err
	}
	defer objects.Close()
	took = time.Since(start)
	log := objects.Programs[programProgRingfence].VerifierLog
	_, stats, _ := strings.Cut(log, "processed ")
	_, err = fmt.Sscanf(stats, "%d insns", &steps)
	return steps, took, err
}
