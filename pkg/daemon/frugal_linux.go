package daemon

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
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

// release gives memory back to the system: what is free, and the pages of the program
// itself, of which a part is needed again and read again then.
func release() {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		words := strings.Fields(lines.Text())
		var from, to uintptr
		if len(words) < 6 || words[5] != program || strings.Contains(words[1], "w") {
			continue
		}
		if _, err := fmt.Sscanf(words[0], "%x-%x", &from, &to); err == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
