// Package demo shows the whole product on a private lab of network namespaces: a
// provider, a scanner, a PBX and a phone behind a router. It decides what is sent,
// which commands are run, and whether the outcome is right.
//
// How a command is run and how a terminal is coloured is given to it.
package demo

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ringfence/ringfence/pkg/backend"
	"github.com/ringfence/ringfence/pkg/lab"
)

// Options are what a demo needs.
type Options struct {
	// WithoutClassifier shows the fence alone.
	WithoutClassifier bool
	// Wait is how long a packet may be on its way before it is lost; 0 is 3 s.
	Wait time.Duration
	// Out takes what the demo prints, Progress what takes a while.
	Out      io.Writer
	Progress func(format string, args ...any)
	// Good, Bad and Wrong colour an outcome.
	Good, Bad, Wrong func(text string) string
	// Fold breaks a line that is longer than width, and indents what follows.
	Fold func(line string, width int, indent string) string
	// Run runs a command of ringfence on a host, with its files in a folder, and
	// returns what it writes. Any exit status but 0 is an error.
	Run func(ctx context.Context, h *lab.Namespace, folder string, args []string) (output string, err error)

	Counters   backend.Counters
	Classifier backend.Classifier
}

// Demo is a network in which the demo is played.
type Demo struct {
	*network
	Options
	report Report
	// unrecognised is why the classifier is no part of the demo, if it should be.
	unrecognised error
}

// New builds the network. The caller closes the demo, also after an error.
func New(o Options) (*Demo, error) {
	if o.Wait == 0 {
		o.Wait = 3 * time.Second
	}
	n, err := newNetwork()
	return &Demo{network: n, Options: o, report: Report{OK: true, Probes: []Probe{}, Steps: []Action{}}}, err
}

// Close ends everything and leaves nothing behind.
func (d *Demo) Close() error { return d.close() }

// PBX is the host of the PBX.
func (d *Demo) PBX() *lab.Namespace { return d.pbx }

// How a demo fails that was played to the end.
var (
	// ErrWrong says that an outcome was not the right one.
	ErrWrong = errors.New("the demo did not go as it should")
	// ErrWithoutClassifier says that the classifier was to be a part of it.
	ErrWithoutClassifier = errors.New("the demo is without the classifier")
)

// Play plays all acts and returns what was seen. Where it was played to the end
// but was not as it should be, the report is complete and not OK.
func (d *Demo) Play(ctx context.Context) (*Report, error) {
	for _, act := range []func(context.Context) error{d.fencing, d.recognising, d.moving, d.mistake} {
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

// Report is what a demo has seen.
type Report struct {
	OK     bool     `json:"ok"`
	Probes []Probe  `json:"probes"`
	Steps  []Action `json:"steps"`
}

// Probe is one message, with what became of it.
type Probe struct {
	To      string `json:"to"`
	From    string `json:"from"`
	Message string `json:"message"`
	By      string `json:"by"`
	Without string `json:"without_fence"`
	With    string `json:"with_fence"`
	OK      bool   `json:"ok"`
}

// Action is a step after which one message shows the effect.
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
