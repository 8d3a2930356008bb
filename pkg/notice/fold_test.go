package notice_test

import (
	"testing"

	"github.com/ringfence/ringfence/pkg/notice"
)

func TestFold(t *testing.T) {
	for _, test := range []struct {
		line  string
		width int
		want  string
	}{
		{"short", 10, "short"},
		{"exactly te", 10, "exactly te"},
		{"one two three four", 10, "one two\n  three\n  four"},
		{"averyveryverylongword", 10, "averyveryverylongword"},
		{"a averyveryverylongword b", 10, "a\n  averyveryverylongword\n  b"},
		{"ä ö ü ä ö ü", 5, "ä ö ü\n  ä ö\n  ü"},
	} {
		if got := notice.Fold(test.line, test.width, "  "); got != test.want {
			t.Errorf("%q at %d is\n%s\nwant\n%s", test.line, test.width, got, test.want)
		}
	}
}
