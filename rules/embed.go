// Package rules holds the data that ringfence ships: what is known of providers
// and of scanners. It decides nothing; every datum names its source.
package rules

import (
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"
)

//go:embed providers/*.yaml signatures/*.yaml
var files embed.FS

// Provider is one file of providers/: a preset that a policy can name.
type Provider struct {
	Name       string   `yaml:"-"` // the file's name
	Title      string   `yaml:"title"`
	Registrars []string `yaml:"registrars"`
	Addresses  []string `yaml:"addresses"`
	// Source is where the data stands, Checked when it was last read there.
	Source     string `yaml:"source"`
	Checked    string `yaml:"checked"`
	Confidence string `yaml:"confidence"` // high, medium or low
	Note       string `yaml:"note"`
}

// Prefixes are the provider's addresses.
func (p Provider) Prefixes() ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range p.Addresses {
		a, err := netip.ParseAddr(text)
		prefix := netip.PrefixFrom(a, a.BitLen())
		if err != nil {
			prefix, err = netip.ParsePrefix(text)
		}
		if err != nil {
			return nil, fmt.Errorf("read provider %s: %q is no address", p.Name, text)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// Providers reads all shipped providers, by name.
func Providers() (map[string]Provider, error) {
	found, err := fs.Glob(files, "providers/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list providers: %w", err)
	}
	providers := map[string]Provider{}
	for _, file := range found {
		data, err := files.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read provider: %w", err)
		}
		p := Provider{Name: strings.TrimSuffix(path.Base(file), ".yaml")}
		if err := yaml.Load(data, &p, yaml.WithKnownFields()); err != nil {
			return nil, fmt.Errorf("read provider %s: %w", p.Name, err)
		}
		providers[p.Name] = p
	}
	return providers, nil
}
