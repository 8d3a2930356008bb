// Package classifier puts a program into the kernel that recognises SIP scanners by
// their incoming packets and marks these packets. It is the only package that uses
// eBPF.
//
// The program (bpf/classifier.c) runs on the ingress side of a clsact qdisc and drops
// nothing: it writes four bits of each packet's mark, which the rules match. It looks
// for the signatures of an automaton of pkg/signature. Its caller decides to which
// interfaces it is attached and what happens to marked packets.
//
// All functions work in the network namespace of the calling thread.
package classifier

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/pkg/signature"
)

// prefix is the beginning of the names of ringfence's filters.
const prefix = "ringfence:"

// Program is a classifier for certain signatures and ports.
type Program struct {
	automaton *signature.Automaton
	reading   ruleset.Reading
	name      string

	mu       sync.Mutex
	prepared *Loaded // nil if Prepare was not called
}

// New makes a program. It is not in the kernel yet.
func New(automaton *signature.Automaton, reading ruleset.Reading) *Program {
	p := &Program{automaton: automaton, reading: reading}
	hash := sha256.New()
	hash.Write(_ProgramBytes)
	for _, part := range []any{
		*p.configuration(), p.next(), p.events(), p.rows(), p.shortcuts(), automaton.Table().Classes, automaton.Sieve().Groups, automaton.Sieve().Names, p.portBits(), *signature.Versions,
	} {
		// Always little-endian, so that only the code differs between machines.
		if err := binary.Write(hash, binary.LittleEndian, part); err != nil {
			panic("hash a program: " + err.Error())
		}
	}
	for _, s := range automaton.Signatures() {
		fmt.Fprintf(hash, "%s\n", s.Name)
	}
	p.name = fmt.Sprintf("%s%x", prefix, hash.Sum(nil)[:8])
	return p
}

// Name identifies a program: "ringfence:" and 16 hexadecimal digits of a hash over the
// code, the tables and the ports. Filters have this name.
func (p *Program) Name() string { return p.name }

// A state is written as four times its number, so that the program finds its row with
// one shift, and no 16-bit state leads out of the table.
const perState = 4

// mostFlows is how many connections of TCP the program remembers where a User-Agent is
// required.
const mostFlows = 16384

func (p *Program) configuration() *programConfiguration {
	t, s := p.automaton.Table(), p.automaton.Sieve()
	return &programConfiguration{
		Multiplier: s.Multiplier,
		// The program needs the offset of a slot in bytes.
		Shift:            uint32(s.Shift) - 2,
		Line:             t.Line * perState,
		Request:          t.Request * perState,
		Resting:          t.Resting * perState,
		Shortcut:         t.Shortcut * perState,
		Event:            t.Event * perState,
		Judging:          t.Judging * perState,
		Sink:             t.Sink * perState,
		EveryHeader:      number(s.EveryHeader),
		RequestLine:      number(s.RequestLine),
		RequireUserAgent: number(p.automaton.RequiresUserAgent()),
		Bounded:          number(p.reading.Bounded),
		MarkShift:        uint8(p.reading.Mark.Shift()),
		Registers:        number(p.reading.Registers),
	}
}

func number(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func (p *Program) next() []uint16 {
	next := make([]uint16, len(p.automaton.Table().Next))
	for i, state := range p.automaton.Table().Next {
		next[i] = state * perState
	}
	return next
}

func (p *Program) events() []programEvent {
	t := p.automaton.Table()
	events := make([]programEvent, t.Sink)
	for i, e := range t.Events {
		events[int(t.Event)+i] = programEvent{
			Conditions: e.Conditions, Signature: e.Signature, Ends: number(e.Ends) + number(e.Return), Ban: number(e.Ban), Allowed: number(e.Allowed),
		}
	}
	return events
}

func (p *Program) rows() []programRow {
	var rows []programRow
	for _, r := range p.automaton.Table().Rows {
		rows = append(rows, programRow{Need: r.Need, Signature: r.Signature, Ban: number(r.Ban)})
	}
	return rows
}

func (p *Program) shortcuts() []programShortcut {
	shortcuts := make([]programShortcut, len(p.automaton.Table().Shortcuts))
	for i, s := range p.automaton.Table().Shortcuts {
		var text, fold, keep [signature.MaxShortcut]byte
		for j := range copy(text[:], s.Text) {
			keep[j] = 0xff
			if c := s.Text[j]; 'a' <= c && c <= 'z' {
				fold[j] = 0x20
			}
		}
		to := &shortcuts[i]
		to.Length, to.To = uint32(len(s.Text)), s.To*perState
		for j := range to.Text {
			to.Text[j], to.Fold[j], to.Keep[j] = word(text, j), word(fold, j), word(keep, j)
		}
	}
	return shortcuts
}

// word returns one of the two words of a text, with its first byte the lowest.
func word(text [signature.MaxShortcut]byte, i int) uint64 {
	return binary.LittleEndian.Uint64(text[8*i:])
}

func (p *Program) classes() [256]uint8 {
	classes := p.automaton.Table().Classes
	for i := range classes {
		classes[i] *= 2 // a column has two bytes
	}
	return classes
}

func (p *Program) portBits() [2][1 << 13]uint8 {
	var bits [2][1 << 13]uint8
	for i, list := range [][]uint16{p.reading.UDP, p.reading.TCP} {
		for _, port := range list {
			bits[i][port/8] |= 1 << (port % 8)
		}
	}
	return bits
}

// Loaded is a program in the kernel. It stays there until it is closed and no interface
// has it attached.
type Loaded struct {
	*Program
	objects *ebpf.Collection
	shared  bool // with others, so that it is not closed
}

// Prepare loads the program into the kernel and keeps it there for as long as p is in use:
// then Load costs nothing.
func (p *Program) Prepare() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prepared != nil {
		return nil
	}
	l, err := p.load()
	p.prepared = l
	return err
}

// Load loads the program into the kernel. It marks nothing until it is attached. The
// error wraps ErrPermission or ErrUnsupported where that is the cause.
func (p *Program) Load() (*Loaded, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.prepared != nil {
		return &Loaded{p, p.prepared.objects, true}, nil
	}
	return p.load()
}

func (p *Program) load() (*Loaded, error) {
	spec, err := loadProgram()
	if err != nil {
		return nil, fmt.Errorf("read classifier: %w", err)
	}
	if err := p.fill(spec); err != nil {
		return nil, fmt.Errorf("fill in classifier: %w", err)
	}
	// If the limit cannot be raised, loading reports it.
	memlock := raiseMemlock()
	objects, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load classifier: %w", kernelError(err, memlock))
	}
	l := &Loaded{p, objects, false}
	// This keeps the names as long as the program.
	if err := l.program().BindMap(objects.Maps[programMapSignatures]); err != nil {
		l.Close()
		return nil, fmt.Errorf("load classifier: keep the signatures' names: %w", kernelError(err, nil))
	}
	return l, nil
}

func (p *Program) fill(spec *ebpf.CollectionSpec) error {
	s := p.automaton.Sieve()
	for name, value := range map[string]any{
		programVarConfiguration:  p.configuration(),
		programVarNext:           p.next(),
		programVarEvents:         p.events(),
		programVarRows:           p.rows(),
		programVarShortcuts:      p.shortcuts(),
		programVarClasses:        p.classes(),
		programVarGroups:         s.Groups,
		programVarNames:          s.Names,
		programVarPorts:          p.portBits(),
		programVarVersionClasses: signature.Versions.Classes,
		programVarVersionNext:    signature.Versions.Next,
	} {
		variable := spec.Variables[name]
		data, err := binary.Append(nil, binary.NativeEndian, value)
		if err != nil || variable == nil || uint64(len(data)) > uint64(len(variable.Value)) {
			return fmt.Errorf("%s has no room for %d bytes: %w", name, len(data), err)
		}
		variable.Value = slices.Concat(data, make([]byte, len(variable.Value)-len(data)))
	}
	if p.automaton.RequiresUserAgent() {
		spec.Maps[programMapFlows].MaxEntries = mostFlows
	}
	signatures := p.automaton.Signatures()
	for _, name := range []string{programMapHits, programMapSignatures} {
		spec.Maps[name].MaxEntries = uint32(max(len(signatures), 1))
	}
	for i, s := range signatures {
		var name programName
		copy(name.Text[:], s.Name)
		spec.Maps[programMapSignatures].Contents = append(spec.Maps[programMapSignatures].Contents, ebpf.MapKV{Key: uint32(i), Value: name})
	}
	return nil
}

func (l *Loaded) program() *ebpf.Program { return l.objects.Programs[programProgRingfence] }

// Close closes the program. Where it is attached, it stays.
func (l *Loaded) Close() {
	if !l.shared {
		l.objects.Close()
	}
}
