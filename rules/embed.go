// Package rules holds the data that ringfence ships: what is known of providers
// and of scanners, and what makes phones refuse strangers' calls. It decides
// nothing; every datum names its source.
package rules

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed providers/*.yaml phones/*.yaml signatures/*.yaml schema/*.json
var files embed.FS

// Providers reads all shipped providers, by name.
func Providers() (map[string]Provider, error) {
	shipped, err := read("providers")
	if err != nil {
		return nil, err
	}
	providers := map[string]Provider{}
	for file, data := range shipped {
		p, err := ReadProvider(file, data)
		if err != nil {
			return nil, fmt.Errorf("read provider: %w", err)
		}
		providers[p.Name] = p
	}
	return providers, nil
}

// ProviderNames returns the names of all shipped providers, sorted.
func ProviderNames() ([]string, error) {
	entries, err := files.ReadDir("providers")
	if err != nil {
		return nil, fmt.Errorf("list providers: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, nameOf(e.Name()))
	}
	slices.Sort(names) // the ending of a file counts in the folder, and not in a name
	return names, nil
}

// ProviderNamed reads one shipped provider.
func ProviderNamed(name string) (Provider, error) {
	file := "providers/" + name + ".yaml"
	data, err := files.ReadFile(file)
	if err != nil {
		return Provider{}, fmt.Errorf("read provider: %w", err)
	}
	p, err := ReadProvider(file, data)
	if err != nil {
		return Provider{}, fmt.Errorf("read provider: %w", err)
	}
	return p, nil
}

// Phones returns the files about makers of phones, by the maker's name.
func Phones() (map[string][]byte, error) {
	shipped, err := read("phones")
	if err != nil {
		return nil, err
	}
	phones := map[string][]byte{}
	for file, data := range shipped {
		phones[nameOf(file)] = data
	}
	return phones, nil
}

// Schemas returns the JSON schemas (draft 2020-12) of the objects that commands print, by
// name.
func Schemas() (map[string][]byte, error) {
	shipped, err := readAll("schema", ".json")
	if err != nil {
		return nil, err
	}
	schemas := map[string][]byte{}
	for file, data := range shipped {
		schemas[strings.TrimSuffix(path.Base(file), ".json")] = data
	}
	return schemas, nil
}

// read returns the shipped files of a folder.
func read(folder string) (map[string][]byte, error) { return readAll(folder, ".yaml") }

func readAll(folder, extension string) (map[string][]byte, error) {
	found, err := fs.Glob(files, folder+"/*"+extension)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	shipped := map[string][]byte{}
	for _, file := range found {
		if shipped[file], err = files.ReadFile(file); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	return shipped, nil
}

// nameOf is the name that a file gives to what it holds.
func nameOf(file string) string { return strings.TrimSuffix(path.Base(file), path.Ext(file)) }
