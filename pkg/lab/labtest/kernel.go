package labtest

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// LinuxBefore reports whether the running kernel is older than a version, for features
// that came with that version.
func LinuxBefore(t testing.TB, major, minor int) bool {
	t.Helper()
	var name unix.Utsname
	Must(t, unix.Uname(&name))
	var haveMajor, haveMinor int
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &haveMajor, &haveMinor); err != nil {
		t.Fatalf("read the version of Linux %s: %v", release, err)
	}
	return haveMajor < major || haveMajor == major && haveMinor < minor
}
