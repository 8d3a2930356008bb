package policy

import (
	"fmt"
	"strconv"
	"time"
)

// days are whole days at the beginning of a time, such as those of 30d or 1d12h.
var days = expression(`^([0-9]{1,6})d(.*)$`)

// ParseDuration reads a time with its units, which are d, h, m, s and ms.
func ParseDuration(text string) (time.Duration, error) {
	var whole time.Duration
	rest := text
	if found := days().FindStringSubmatch(text); found != nil {
		n, err := strconv.Atoi(found[1])
		if err != nil || n > mostDays {
			return 0, fmt.Errorf("%q: write at most %dd", text, mostDays)
		}
		if whole, rest = time.Duration(n)*24*time.Hour, found[2]; rest == "" {
			return whole, nil
		}
	}
	d, err := time.ParseDuration(rest)
	// A sign behind days is none of the whole time.
	if err != nil || rest != text && d < 0 {
		return 0, fmt.Errorf("%q: write a time with its unit, such as 60s, 5m, 24h or 30d", text)
	}
	return whole + d, nil
}

// mostDays is about the longest time that fits, less what may stand behind the days.
const mostDays = 100_000
