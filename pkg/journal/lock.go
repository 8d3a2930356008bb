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
// The lock ends with the process.
//
// The lock protects the files of the state folder: each run reads them, decides by them,
// changes the kernel and writes them, and none of that may be about what another run has
// just changed. It does not protect the kernel, which refuses a change that was made for
// an older generation of its rules.
//
// With the lock held, a run reads those files and the kernel, compiles, commits and
// writes. That takes at most 100 ms for policies of up to some thousand addresses on a
// machine that is not busy; a set of 100,000 addresses takes the kernel longer. What may
// take longer than that for other reasons comes before: questions to name servers, the
// agreement of a user, and loading the classifier.
//
// What must not wait does without the lock: fence.Restorer, which puts back a table that
// another program has removed, and all commands that only read.
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
