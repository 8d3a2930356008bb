// Package catalog provides the data that ringfence ships: presets of providers, lists
// of signatures and settings of phones. It reads the embedded files once per process
// and returns them in the form that policies and programs need.
//
// How a policy uses a preset, how a signature is matched and which settings a phone
// gets is decided in pkg/policy, pkg/signature and pkg/phone.
package catalog

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ringfence/ringfence/pkg/phone"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/rules"
)

// The embedded files do not change while a program runs, so each kind is read when it
// is first needed. Callers must not change what they get.
var (
	providers = sync.OnceValues(rules.Providers)
	lists     = sync.OnceValues(readLists)
	makers    = sync.OnceValues(readMakers)
	available = sync.OnceValues(readAvailable)
)

// Providers returns the presets by name.
func Providers() (map[string]rules.Provider, error) { return providers() }

// Makers returns what is known about the makers of phones.
func Makers() ([]phone.Maker, error) { return makers() }

func readMakers() ([]phone.Maker, error) {
	files, err := rules.Phones()
	if err != nil {
		return nil, err
	}
	return phone.Read(files)
}

// Available returns what this version offers to policies.
func Available() (policy.Available, error) { return available() }

func readAvailable() (policy.Available, error) {
	presets, err := rules.ProviderNames()
	if err != nil {
		return policy.Available{}, err
	}
	known, err := lists()
	if err != nil {
		return policy.Available{}, err
	}
	var signatures []string
	for _, list := range known {
		for _, s := range list.Signatures {
			signatures = append(signatures, s.Name)
		}
	}
	return policy.Available{
		Presets:        shippedPresets(presets),
		Signatures:     signatures,
		SignatureLists: slices.Sorted(maps.Keys(known)),
		Backends: []policy.Backend{
			policy.BackendNFTables, policy.BackendIPTables, policy.BackendIPTablesLegacy, policy.BackendIPTablesNFT,
		},
		Engines: []policy.Engine{policy.EngineBPF, policy.EngineString},
	}, nil
}

// shippedPresets are the names of the shipped providers, each of which is read when a
// policy names it.
type shippedPresets []string

// Names are the names of the presets.
func (s shippedPresets) Names() []string { return s }

// Preset reads a preset.
func (shippedPresets) Preset(name string) (policy.Preset, error) {
	p, err := provided(name)
	if err != nil {
		return policy.Preset{}, err
	}
	return Preset(p)
}

// read holds the shipped providers that have been read one by one.
var read sync.Map

func provided(name string) (rules.Provider, error) {
	if p, ok := read.Load(name); ok {
		return p.(rules.Provider), nil
	}
	p, err := rules.ProviderNamed(name)
	if err == nil {
		read.Store(name, p)
	}
	return p, err
}

// Preset converts a shipped provider to what a policy needs.
func Preset(p rules.Provider) (policy.Preset, error) {
	prefixes, err := p.Prefixes()
	if err != nil {
		return policy.Preset{}, err
	}
	return policy.Preset{Registrars: p.Registrars, Addresses: prefixes, List: p.List, Parameters: p.Parameters}, nil
}

// Parse reads and checks a policy, with what this version offers. name is the file's
// name, for messages.
func Parse(name string, text []byte) (*policy.Policy, error) {
	offered, err := Available()
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(name, bytes.NewReader(text), offered)
	if err != nil || p.Signatures.Engine != policy.EngineString {
		return p, err
	}
	texts, err := TextsOf(p)
	p.Signatures.Texts = texts.Texts
	return p, err
}

// PresetWarnings reports which of the policy's presets are old or weak.
func PresetWarnings(p *policy.Policy, now time.Time) ([]string, error) {
	var warnings []string
	seen := map[string]bool{"": true}
	for _, provider := range p.Providers {
		if seen[provider.Preset] {
			continue
		}
		seen[provider.Preset] = true
		known, err := provided(provider.Preset)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, known.Warnings(now)...)
	}
	return warnings, nil
}
