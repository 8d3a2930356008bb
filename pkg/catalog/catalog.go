// Package catalog offers what ringfence ships: presets of providers, lists of
// signatures and settings of phones. It reads the embedded files once in the life
// of a process and hands them out in the form that policies and programs need.
//
// What a policy makes of a preset, how a signature is matched and which lines a
// phone gets is decided in pkg/policy, pkg/signature and pkg/phone.
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

// The embedded files do not change while a program runs, so each kind is read
// when it is first asked for. Callers do not change what they get.
var (
	providers = sync.OnceValues(rules.Providers)
	lists     = sync.OnceValues(rules.SignatureLists)
	makers    = sync.OnceValues(readMakers)
	available = sync.OnceValues(readAvailable)
)

// Providers returns the presets by name.
func Providers() (map[string]rules.Provider, error) { return providers() }

// Makers returns what is known of the makers of phones.
func Makers() ([]phone.Maker, error) { return makers() }

func readMakers() ([]phone.Maker, error) {
	files, err := rules.Phones()
	if err != nil {
		return nil, err
	}
	return phone.Read(files)
}

// Available is what this version offers a policy.
func Available() (policy.Available, error) { return available() }

func readAvailable() (policy.Available, error) {
	shipped, err := providers()
	if err != nil {
		return policy.Available{}, err
	}
	presets := map[string]policy.Preset{}
	for name, p := range shipped {
		if presets[name], err = Preset(p); err != nil {
			return policy.Available{}, err
		}
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
		Presets:        presets,
		Signatures:     signatures,
		SignatureLists: slices.Sorted(maps.Keys(known)),
		Backends: []policy.Backend{
			policy.BackendNFTables, policy.BackendIPTables, policy.BackendIPTablesLegacy, policy.BackendIPTablesNFT,
		},
		Engines: []policy.Engine{policy.EngineBPF},
	}, nil
}

// Preset is what a policy needs of a provider.
func Preset(p rules.Provider) (policy.Preset, error) {
	prefixes, err := p.Prefixes()
	if err != nil {
		return policy.Preset{}, err
	}
	return policy.Preset{Registrars: p.Registrars, Addresses: prefixes, Parameters: p.Parameters}, nil
}

// Parse reads and checks a policy with what this version offers. The name is the
// file's, for messages.
func Parse(name string, text []byte) (*policy.Policy, error) {
	offered, err := Available()
	if err != nil {
		return nil, err
	}
	return policy.Parse(name, bytes.NewReader(text), offered)
}

// PresetWarnings says which of the policy's presets are old or weak.
func PresetWarnings(p *policy.Policy, now time.Time) ([]string, error) {
	known, err := providers()
	if err != nil {
		return nil, err
	}
	var warnings []string
	seen := map[string]bool{}
	for _, provider := range p.Providers {
		if !seen[provider.Preset] {
			seen[provider.Preset] = true
			warnings = append(warnings, known[provider.Preset].Warnings(now)...)
		}
	}
	return warnings, nil
}
