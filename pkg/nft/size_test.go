package nft_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ringfence/ringfence/pkg/lab/labtest"
)

// TestSetsHoldWhatTheySay: a set that packets fill takes as many elements as the policy
// says, and no more, however large it was when it was made. They all survive another size.
func TestSetsHoldWhatTheySay(t *testing.T) {
	const size = 3000
	h := labtest.Host(t, "pbx")
	withSize := func(n int) string {
		return fmt.Sprintf("unknown: {action: accept}\nbans: {size: %d}\n", n)
	}
	apply(t, h, compiled(t, withSize(size)))
	addresses := make([]string, 0, size)
	for a := netip.MustParseAddr("198.18.0.1"); len(addresses) < size; a = a.Next() {
		addresses = append(addresses, a.String()+" timeout 1h")
	}
	ban := func(list string) error {
		_, err := labtest.TryInput(t, h, "add element inet ringfence banned4 { "+list+" }\n", "nft", "-f", "-")
		return err
	}
	labtest.Must(t, ban(strings.Join(addresses, ", ")))
	if err := ban("192.0.2.1 timeout 1h"); err == nil {
		t.Errorf("the set took more than %d addresses", size)
	}
	apply(t, h, compiled(t, withSize(2*size)))
	if n := strings.Count(labtest.Run(t, h, "nft", "list", "set", "inet", "ringfence", "banned4"), "expires"); n != size {
		t.Errorf("of %d bans %d are left", size, n)
	}
	labtest.Must(t, ban("192.0.2.1 timeout 1h"))
}
