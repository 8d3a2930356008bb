package fence

import (
	"fmt"
	"os"
	"os/user"
	"unicode"
)

// CallingUser returns the user who runs the program: with sudo, the user who called sudo.
func CallingUser() string {
	if name := plainText(os.Getenv("SUDO_USER")); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// plainText returns a text from the environment without characters that could do harm
// where it is shown, shortened to the length of a comment in the kernel.
func plainText(text string) string {
	const most = 64
	var plain []rune
	for _, r := range text {
		if unicode.IsPrint(r) && len(plain) < most {
			plain = append(plain, r)
		}
	}
	return string(plain)
}
