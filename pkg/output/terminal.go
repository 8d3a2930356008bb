package output

import (
	"os"

	"golang.org/x/sys/unix"
)

// narrowest is what a terminal is taken to have if it says less.
const narrowest = 40

// width is how many columns a terminal has, 0 if it does not say so.
func width(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 0
	}
	return max(int(size.Col), narrowest)
}
