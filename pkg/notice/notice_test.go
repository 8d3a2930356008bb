package notice_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ringfence/ringfence/pkg/notice"
)

func TestFunc(t *testing.T) {
	notice.Func(nil).Warn(notice.StateDamaged, "nobody hears it")
	var got []notice.Notice
	f := notice.Func(func(n notice.Notice) { got = append(got, n) })
	f.Warn(notice.StateDamaged, "%s is damaged", "a file")
	f.Note(notice.NothingDone, "nothing was done")
	want := []notice.Notice{
		{Severity: notice.Warning, Code: notice.StateDamaged, Text: "a file is damaged"},
		{Severity: notice.Note, Code: notice.NothingDone, Text: "nothing was done"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestHint: a hint survives wrapping and is not part of the error's text.
func TestHint(t *testing.T) {
	cause := errors.New("no room")
	err := fmt.Errorf("save: %w", notice.WithHint(cause, "free %d bytes", 5))
	if !errors.Is(err, cause) || err.Error() != "save: no room" || notice.Hint(err) != "free 5 bytes" || notice.Hint(cause) != "" {
		t.Errorf("%v with the hint %q", err, notice.Hint(err))
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 name": notice.Count(1, "name"), "0 names": notice.Count(0, "name"),
		"2 addresses": notice.Count(2, "address"), "3 prefixes": notice.Count(3, "prefix"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
