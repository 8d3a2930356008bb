package classifier_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
	"github.com/ringfence/ringfence/pkg/signature/signaturetest"
)

// TestObjectsAreOfThisSource holds the lines that the committed objects were
// compiled from against the source: whoever changes one must run scripts/generate.
func TestObjectsAreOfThisSource(t *testing.T) {
	source := map[string][]string{}
	files, err := filepath.Glob("bpf/*")
	labtest.Must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		labtest.Must(t, err)
		source[filepath.Base(file)] = strings.Split(string(text), "\n")
	}
	for _, object := range []string{"program_bpfel.o", "program_bpfeb.o"} {
		spec, err := ebpf.LoadCollectionSpec(object)
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
	steps, err := loaded(t, signaturetest.Few(), "Yealink").VerifiedSteps()
	labtest.Must(t, err)
	t.Logf("%d instructions verified", steps)
	// A million is the limit since 5.2; older verifiers see less that is the same.
	if steps > 250_000 {
		t.Errorf("the verifier takes %d steps", steps)
	}
}
