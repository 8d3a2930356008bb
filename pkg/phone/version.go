package phone

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// version is a firmware version, the most significant number first. The zero version is
// not known.
type version []int

var numbers = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9}){0,5}$`) })

// parse reads a version as people write it: 86, V86, v2.12.3, 66.86.0.15.
func (f Firmware) parse(text string) (version, error) {
	if text == "" {
		return nil, nil
	}
	plain := strings.TrimLeft(strings.TrimSpace(text), "vV")
	if !numbers().MatchString(plain) {
		return nil, fmt.Errorf("firmware %q is not a version: write it like %s", text, f.Example)
	}
	var v version
	for part := range strings.SplitSeq(plain, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("firmware %q is not a version: %w", text, err)
		}
		v = append(v, n)
	}
	if f.Part > 0 && len(v) >= 4 {
		v = v[f.Part-1:]
	}
	return v, nil
}

// within reports whether a version is in a range. Either end of the range may be "". A
// version that is not known is in all ranges.
func (v version) within(from, before string) bool {
	if v == nil {
		return true
	}
	low, err := Firmware{}.parse(from)
	if err != nil || low != nil && slices.Compare(v, low) < 0 {
		return false
	}
	high, err := Firmware{}.parse(before)
	return err == nil && (high == nil || slices.Compare(v, high) < 0)
}
