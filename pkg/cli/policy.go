package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ringfence/ringfence/pkg/catalog"
	"github.com/ringfence/ringfence/pkg/fence"
	"github.com/ringfence/ringfence/pkg/notice"
	"github.com/ringfence/ringfence/pkg/policy"
)

// readPolicy reads and checks the policy file.
func readPolicy(path string) (fence.Policy, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fence.Policy{}, notice.WithHint(fmt.Errorf("there is no policy %q (%w)", path, fs.ErrNotExist),
			"write one (the examples show how), or name another file with --policy")
	}
	var text []byte
	if err == nil {
		defer file.Close()
		text, err = io.ReadAll(io.LimitReader(file, policy.MaxSize+1))
	}
	if err != nil {
		return fence.Policy{}, fmt.Errorf("read policy: %w", err)
	}
	p, err := catalog.Parse(path, text)
	return fence.Policy{Policy: p, Text: string(text), Source: absolute(path)}, err
}

// absolute returns a path that does not depend on the working directory.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}
