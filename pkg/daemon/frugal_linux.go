package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// slack is by how much waiting may take longer, in ns: then the system can wake up the
// process for several things at once, and the runtime looks less often after threads while
// some work is done.
const slack = 10_000_000

// Frugal makes the whole process one that costs little while it waits.
func Frugal() {
	// One thread at a time runs: what has to be done is short, and each further thread
	// would be woken up for nothing.
	runtime.GOMAXPROCS(1)
	// Threads get the value of the one that makes them, so all that there are need it. The
	// system may refuse it: then a unit of systemd sets TimerSlackNSec.
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, t := range threads {
		_ = os.WriteFile(filepath.Join("/proc", filepath.Base(t), "timerslack_ns"), fmt.Append(nil, slack), 0)
	}
}
