package fence

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/compile"
	"github.com/ringfence/ringfence/pkg/policy"
	"github.com/ringfence/ringfence/pkg/ruleset"
	"github.com/ringfence/ringfence/rules"
)

// largestProvider is the largest size of a file about a provider in bytes.
const largestProvider = 1 << 20

// CheckProvider checks a user's file about a provider: its form, and that a policy with it
// compiles.
func CheckProvider(path string) (rules.Provider, error) {
	data, err := readProvider(path)
	if err != nil {
		return rules.Provider{}, fmt.Errorf("read provider: %w", err)
	}
	p, err := rules.ReadProvider(path, data)
	if err != nil {
		return rules.Provider{}, err
	}
	preset, err := catalog.Preset(p)
	if err != nil {
		return rules.Provider{}, err
	}
	text := "version: 1\nproviders:\n" + strings.Join(p.PolicyLines(p.Examples()), "\n") + "\n"
	checked, err := policy.Parse("a policy with "+filepath.Base(path), strings.NewReader(text),
		policy.Available{Presets: policy.PresetMap{p.Name: preset}, SignatureLists: []string{"scanners"}})
	if err != nil {
		return rules.Provider{}, err
	}
	compile.State(checked, nil, ruleset.Host{})
	return p, nil
}

func readProvider(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestProvider+1))
	if err == nil && len(data) > largestProvider {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return data, err
}
