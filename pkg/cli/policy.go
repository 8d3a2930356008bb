package cli

import (
	"context"
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
func readPolicy(ctx context.Context, path string) (fence.Policy, error) {
	text, err := readFile(ctx, path, policy.MaxSize+1)
	if errors.Is(err, fs.ErrNotExist) {
		return fence.Policy{}, notice.WithHint(fmt.Errorf("there is no policy %q (%w)", path, fs.ErrNotExist),
			"ringfence init writes one for this host; --policy names another file")
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

// readFile reads at most so many bytes of a file. A pipe may have nobody at its other
// end: an interrupted command does not wait for it.
func readFile(ctx context.Context, path string, most int64) ([]byte, error) {
	type content struct {
		text []byte
		err  error
	}
	read := make(chan content, 1)
	go func() {
		file, err := os.Open(path)
		if err != nil {
			read <- content{nil, err}
			return
		}
		defer file.Close()
		text, err := io.ReadAll(io.LimitReader(file, most))
		read <- content{text, err}
	}()
	select {
	case c := <-read:
		return c.text, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
