package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
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
// writes. That takes at most 100 ms where up to 2,000 addresses change at once, on a machine
// that is not busy, and where few addresses of a policy of any size do. Where 100,000 change
// at once it takes about 2 s: a set that has outgrown the size that it was made for is
// written twice, in transactions that nobody can divide without letting packets slip
// through. nft, too, takes 0.5 s and more to write one set of so many. What may take longer
// for other reasons comes before: questions to name servers, the agreement of a user,
// loading the classifier, reading what a policy lists, and reading other programs' rules.
//
// What must not wait does without the lock: fence.Restorer, which puts back a table that
// another program has removed, and all commands that only read.
func Lock(ctx context.Context, runFolder, command string) (unlock func(), err error) {
	if err := errors.Join(ownFolder(runFolder), makeFolder(runFolder)); err != nil {
		return nil, err
	}
	path := filepath.Join(runFolder, "lock")
	f := flock.New(path, flock.SetPermissions(fileMode), flock.SetFlag(os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK))
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	locked, err := f.TryLockContext(wait, lockPoll)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || err == nil && !locked:
		return nil, lockedBy(path)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("take lock: %s is a symbolic link: remove it", path)
	case err != nil:
		return nil, fmt.Errorf("take lock: %w", err)
	}
	// The content only informs those who wait. If it cannot be written, as on a full
	// disk, the lock works all the same.
	if file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err == nil {
		// Shortened afterwards: a file that was emptied is written to the disk when it is closed.
		n, _ := fmt.Fprintf(file, "pid %d, ringfence %s\n", os.Getpid(), command)
		_ = file.Truncate(int64(n))
		_ = file.Chmod(fileMode)
		_ = file.Close()
	}
	return func() { f.Close() }, nil
}

// ReadNote reads a small file of the run folder, which any run can do without: "" is none.
func ReadNote(path string) string {
	data, err := read(path)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(data), "\n")
}

// WriteNote writes one.
func WriteNote(path, text string) error { return write(path, []byte(text)) }

// lockedBy is the error of a lock that another process holds. The file says which, unless
// that was not able to write to it, or is no ringfence.
func lockedBy(path string) error {
	content, _ := os.ReadFile(path)
	who := strings.TrimSpace(string(content))
	holder := holderOf(path)
	if who != "" && (holder == 0 || strings.HasPrefix(who, fmt.Sprintf("pid %d,", holder))) {
		return fmt.Errorf("%w: %s", ErrLocked, who)
	}
	if holder == 0 {
		return ErrLocked
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", holder))
	return fmt.Errorf("%w: pid %d (%s) holds %s", ErrLocked, holder, strings.TrimSpace(string(name)), path)
}

// holderOf finds the process that holds a lock in the kernel's list, 0 if it is not
// listed, as one of another PID namespace is not.
func holderOf(path string) (process int) {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	list, _ := os.ReadFile("/proc/locks") // a line: 1: FLOCK  ADVISORY  WRITE 1234 00:2f:567 0 EOF
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line)
		if len(words) > 5 && words[1] == "FLOCK" && strings.HasSuffix(words[5], fmt.Sprintf(":%d", status.Ino)) {
			if _, err := fmt.Sscan(words[4], &process); err == nil && process > 0 {
				return process
			}
		}
	}
	return 0
}
