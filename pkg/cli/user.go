package cli

import (
	"fmt"
	"os"
	"os/user"
	"unicode"
)

// userName is who runs the program, the one behind sudo if there is one.
func userName() string {
	if name := plainText(os.Getenv("SUDO_USER")); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// plainText is a text from the environment without what could do harm where it is
// shown, and no longer than a comment in the kernel may be.
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
