package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lockWait is how long a run waits for another one.
const lockWait = 10 * time.Second

// lockPoll is how often it looks whether the other one is done: a run holds the
// lock for some milliseconds.
const lockPoll = 10 * time.Millisecond

// ErrLocked says that another run holds the lock.
var ErrLocked = errors.New("another ringfence is at work")

// Lock makes sure that only one run at a time changes the fence. It waits up to
// lockWait and then returns an error that wraps ErrLocked and says who holds
// it. The lock is gone when its process is. Nobody asks DNS while holding it.
func Lock(ctx context.Context, runFolder, command string) (unlock func(), err error) {
	if err := makeFolder(runFolder); err != nil {
		return nil, err
	}
	path := filepath.Join(runFolder, "lock")
	f := flock.New(path, flock.SetPermissions(fileMode))
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	locked, err := f.TryLockContext(wait, lockPoll)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || err == nil && !locked:
		holder, readErr := os.ReadFile(path)
		if who := strings.TrimSpace(string(holder)); readErr == nil && who != "" {
			return nil, fmt.Errorf("%w: %s", ErrLocked, who)
		}
		return nil, ErrLocked
	case err != nil:
		return nil, fmt.Errorf("take lock: %w", err)
	}
	// Who holds the lock is only told to those who wait for it: on a full disk they
	// do not hear it.
	_ = os.WriteFile(path, fmt.Appendf(nil, "pid %d, ringfence %s\n", os.Getpid(), command), fileMode)
	_ = os.Chmod(path, fileMode)
	return func() { f.Close() }, nil
}
