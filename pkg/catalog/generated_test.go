package catalog_test

import (
	"bytes"
	"compress/flate"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/signature"
	"github.com/ringfence/ringfence/rules"
)

var generate = flag.Bool("generate", false, "write the generated files")

// TestGenerated: the embedded files are those that scripts/generate makes of the lists
// as they are now.
func TestGenerated(t *testing.T) {
	files, err := catalog.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		path := filepath.Join("generated", name)
		if *generate {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(unpacked(t, name, got), unpacked(t, name, want)) {
			t.Errorf("%s is not what rules/signatures and pkg/signature make now (%v): run scripts/generate", path, err)
		}
	}
}

// unpacked is what a generated file holds. Two versions of Go compress it differently.
func unpacked(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	if filepath.Ext(name) == ".json" {
		return data
	}
	plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// TestGeneratedIsCompiled: a policy gets from the embedded files what it would get from
// the lists.
func TestGeneratedIsCompiled(t *testing.T) {
	for name, text := range map[string]string{
		"as shipped":              "",
		"without one":             "signatures: {except: [sipsak]}",
		"with one of its own":     "signatures: {deny: [{name: own, header: user-agent, contains: BadDialer}]}",
		"with a User-Agent":       "unknown: {action: accept, require_user_agent: [Yealink]}",
		"without any of the list": "signatures: {presets: []}",
	} {
		t.Run(name, func(t *testing.T) {
			p, err := catalog.Parse("policy.yaml", []byte("version: 1\n"+text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := catalog.AutomatonOf(p)
			if err != nil {
				t.Fatal(err)
			}
			list, err := catalog.SignaturesOf(p)
			if err != nil {
				t.Fatal(err)
			}
			var signatures []signature.Signature
			for _, s := range list {
				signatures = append(signatures, s.Signature)
			}
			want, err := signature.Compile(signatures, p.Unknown.RequireUserAgent)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Table(), want.Table()) || !reflect.DeepEqual(got.Sieve(), want.Sieve()) {
				t.Error("the automaton is another one than that of its signatures")
			}
		})
	}
	lists, err := rules.SignatureLists()
	if err != nil {
		t.Fatal(err)
	}
	all, err := catalog.Signatures()
	n := 0
	for _, list := range lists {
		n += len(list.Signatures)
	}
	if err != nil || len(all) != n {
		t.Errorf("%d signatures (%v), want %d", len(all), err, n)
	}
}
