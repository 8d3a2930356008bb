// Package demo shows the whole product on a private lab of network namespaces: a
// provider, a scanner, a PBX and a phone behind a router. It decides what is sent,
// which commands are run, and whether the outcome is right.
//
// The caller says how to run a command and how to colour text.
package demo

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/lab"
)

// Options are the parameters of a demo.
type Options struct {
	// WithoutClassifier runs the demo without the classifier.
	WithoutClassifier bool
	// Backend is that of the policies, "" for auto.
	Backend string
	// Wait is how long a packet may take until it counts as lost; 0 means 3 s.
	Wait time.Duration
	// Out receives what the demo prints, Progress messages about steps that take some
	// time.
	Out      io.Writer
	Progress func(format string, args ...any)
	// Good, Bad and Wrong colour an outcome.
	Good, Bad, Wrong func(text string) string
	// Run runs a ringfence command on a host, with its files in a folder, and returns
	// its output. An alarm is a part of it, every other exit status but 0 an error.
	Run func(ctx context.Context, h *lab.Namespace, folder string, args []string) (output string, err error)

	Counters   backend.Counters
	Classifier backend.Classifier
}

// Demo is a network in which the demo runs.
type Demo struct {
	*network
	Options
	report Report
	// unrecognised is why the classifier is not part of the demo although it should be.
	unrecognised error
}

// New builds the network. The caller must close the demo, even after an error.
func New(o Options) (*Demo, error) {
	if o.Wait == 0 {
		o.Wait = 3 * time.Second
	}
	n, err := newNetwork()
	return &Demo{network: n, Options: o, report: Report{OK: true, Probes: []Probe{}, Steps: []Action{}}}, err
}

// Close stops everything and leaves nothing behind.
func (d *Demo) Close() error { return d.close() }

// PBX returns the host of the PBX.
func (d *Demo) PBX() *lab.Namespace { return d.pbx }

// The errors of a demo that ran to its end.
var (
	// ErrWrong says that at least one outcome was wrong.
	ErrWrong = errors.New("the demo had a wrong outcome")
	// ErrWithoutClassifier says that the classifier should have been part of the demo.
	ErrWithoutClassifier = errors.New("the demo ran without the classifier")
)

// Play runs all acts and returns what was observed. If it ran to its end but an outcome
// was wrong, the report is complete and not OK.
func (d *Demo) Play(ctx context.Context) (*Report, error) {
	for _, act := range []func(context.Context) error{d.fencing, d.recognising, d.moving, d.mistake, d.roaming} {
		if err := act(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case d.unrecognised != nil:
		return &d.report, d.unrecognised
	case !d.report.OK:
		return &d.report, ErrWrong
	}
	return &d.report, nil
}

// Report is what a demo has observed.
type Report struct {
	OK     bool     `json:"ok"`
	Probes []Probe  `json:"probes"`
	Steps  []Action `json:"steps"`
}

// Probe is one message and what happened to it.
type Probe struct {
	To      string `json:"to"`
	From    string `json:"from"`
	Message string `json:"message"`
	By      string `json:"by"`
	Without string `json:"without_fence"`
	With    string `json:"with_fence"`
	OK      bool   `json:"ok"`
}

// Action is a step, followed by one message that shows its effect.
type Action struct {
	Step string `json:"step"`
	From string `json:"from"`
	Is   string `json:"is"`
	OK   bool   `json:"ok"`
}

func (r *Report) add(row Probe) {
	r.Probes = append(r.Probes, row)
	r.OK = r.OK && row.OK
}
