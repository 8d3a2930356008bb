package notice_test

import (
	"errors"
	"fmt"

	"github.com/ringfence/ringfence/pkg/notice"
)

// An error is printed with its way out below it.
func ExampleWithHint() {
	err := notice.WithHint(errors.New("there is no policy"), "name another file with %s", "--policy")
	fmt.Println(err)
	fmt.Println(notice.Hint(err))
	// Output:
	// there is no policy
	// name another file with --policy
}

// A Func decides what becomes of a notice.
func ExampleFunc() {
	hear := notice.Func(func(n notice.Notice) { fmt.Printf("%s (%s): %s\n", n.Severity, n.Code, n.Text) })
	hear.Warn(notice.StateDamaged, "addresses.json cannot be read")
	// Output:
	// warning (state-damaged): addresses.json cannot be read
}
