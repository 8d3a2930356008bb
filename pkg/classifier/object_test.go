package classifier_test

import (
	"os"
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
	text, err := os.ReadFile("classifier.c")
	labtest.Must(t, err)
	source := strings.Split(string(text), "\n")
	for _, object := range []string{"program_bpfel.o", "program_bpfeb.o"} {
		spec, err := ebpf.LoadCollectionSpec(object)
		labtest.Must(t, err)
		compared := map[uint32]bool{}
		for _, instruction := range spec.Programs["ringfence"].Instructions {
			line, ok := instruction.Source().(*btf.Line)
			if !ok || line.LineNumber() == 0 || compared[line.LineNumber()] {
				continue
			}
			compared[line.LineNumber()] = true
			if n := int(line.LineNumber()); n > len(source) || source[n-1] != line.Line() {
				t.Fatalf("%s was compiled from another classifier.c: line %d was %q there; run scripts/generate", object, n, line.Line())
			}
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
