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

// lockWait is how long a run waits for the lock.
const lockWait = 10 * time.Second

// lockPoll is how often a waiting run tries again: the lock is usually held for some
// milliseconds.
const lockPoll = 10 * time.Millisecond

// ErrLocked says that another run holds the lock.
var ErrLocked = errors.New("another ringfence process is running")

// Lock makes sure that only one run at a time changes the fence. It waits up to
// lockWait and then returns an error that wraps ErrLocked and says who holds the lock.
// The lock ends with the process. No DNS question is asked while it is held.
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
	// The content only informs those who wait. If it cannot be written, as on a full
	// disk, the lock works all the same.
	_ = os.WriteFile(path, fmt.Appendf(nil, "pid %d, ringfence %s\n", os.Getpid(), command), fileMode)
	_ = os.Chmod(path, fileMode)
	return func() { f.Close() }, nil
}
