package dump_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/ringfence/ringfence/pkg/host/dump"
)

func TestWhole(t *testing.T) {
	other := errors.New("another error")
	for _, test := range []struct {
		name  string
		fails int // how many times it is interrupted
		then  error
		reads int
		want  error
	}{
		{"at once", 0, nil, 1, nil},
		{"after three interruptions", 3, nil, 4, nil},
		{"always interrupted", 100, nil, 20, netlink.ErrDumpInterrupted},
		{"another error", 1, other, 2, other},
	} {
		t.Run(test.name, func(t *testing.T) {
			reads := 0
			list, err := dump.Whole(func() ([]int, error) {
				if reads++; reads <= test.fails {
					return []int{1}, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
				}
				return []int{1, 2}, test.then
			})
			if reads != test.reads || !errors.Is(err, test.want) {
				t.Errorf("%d reads, %v; want %d, %v", reads, err, test.reads, test.want)
			}
			if err == nil && len(list) != 2 {
				t.Errorf("the list is %v, and lacks what the last read found", list)
			}
		})
	}
}
