package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ringfence/ringfence/pkg/notice"
)

// DefaultPolicy is where the policy is if nothing else is said.
const DefaultPolicy = "/etc/ringfence/policy.yaml"

// check needs no root: the policy is for everybody to read.
const (
	policyMode   = 0o644
	policyFolder = 0o755
)

// makePolicyFolder makes the folder of the usual policy. Any other one has to be there:
// a path with a mistake in it makes no folders.
func makePolicyFolder(path string) error {
	folder := filepath.Dir(path)
	if path != DefaultPolicy {
		return nil
	}
	err := os.Mkdir(folder, policyFolder)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(folder, policyFolder)
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// WritePolicy writes a policy to a file that must not exist yet, completely or not at
// all.
func WritePolicy(path, text string) error {
	if err := makePolicyFolder(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, policyMode)
	if errors.Is(err, fs.ErrExist) {
		return alreadyThere(path)
	}
	if folder := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) {
		return notice.WithHint(fmt.Errorf("write policy: there is no folder %s", folder), "to make it: mkdir -p %s", folder)
	}
	if err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	// Whatever root's umask is.
	err = f.Chmod(policyMode)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write policy: %w", err), os.Remove(path))
	}
	return nil
}

// NoPolicy returns an error if there is a policy file already, before anybody waits for a
// draft.
func NoPolicy(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	return alreadyThere(path)
}

func alreadyThere(path string) error {
	return notice.WithHint(fmt.Errorf("%s exists already: nothing was written", path),
		"to write a draft to another file: ringfence --policy FILE init")
}
