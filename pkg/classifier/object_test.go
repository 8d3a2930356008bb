package classifier_test

import (
	"bytes"
	"embed"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// files are in the test binary, so that it can run far from its source.
//
//go:embed bpf program_bpfel.o program_bpfeb.o
var files embed.FS

// TestObjectsAreOfThisSource holds the lines that the committed objects were
// compiled from against the source: after a change of one, run scripts/generate.
func TestObjectsAreOfThisSource(t *testing.T) {
	source := map[string][]string{}
	entries, err := files.ReadDir("bpf")
	labtest.Must(t, err)
	for _, entry := range entries {
		text, err := files.ReadFile("bpf/" + entry.Name())
		labtest.Must(t, err)
		source[entry.Name()] = strings.Split(string(text), "\n")
	}
	for _, object := range []string{"program_bpfel.o", "program_bpfeb.o"} {
		code, err := files.ReadFile(object)
		labtest.Must(t, err)
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(code))
		labtest.Must(t, err)
		compared := map[string]bool{}
		for _, instruction := range spec.Programs["ringfence"].Instructions {
			line, ok := instruction.Source().(*btf.Line)
			if !ok || line.LineNumber() == 0 {
				continue
			}
			file, n := filepath.Base(line.FileName()), int(line.LineNumber())
			place := fmt.Sprintf("%s:%d", file, n)
			if n > len(source[file]) || source[file][n-1] != line.Line() {
				t.Fatalf("%s was compiled from another bpf/%s, in which this was %q: run scripts/generate", object, place, line.Line())
			}
			compared[place] = true
		}
		if len(compared) < 100 {
			t.Errorf("%s says of %d lines only that it was compiled from them", object, len(compared))
		}
	}
}

// TestLoadsEverywhere: the verifier content with aligned accesses only is content
// on all machines, and with so few steps on all kernels.
func TestLoadsEverywhere(t *testing.T) {
	needBPF(t)
	for _, required := range [][]string{nil, {"Yealink"}} {
		labtest.Must(t, program(t, signaturetest.Few(), required...).LoadAligned())
		labtest.Must(t, program(t, signaturetest.Short(), required...).LoadAligned())
	}
	steps, took, err := program(t, signaturetest.Few(), "Yealink").VerifiedSteps()
	labtest.Must(t, err)
	t.Logf("%d instructions verified, loaded in %d ms", steps, took.Milliseconds())
	// A million is the limit since 5.2; older verifiers see less that is the same.
	if steps > 250_000 {
		t.Errorf("the verifier takes %d steps", steps)
	}
}
