package nft

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMalformedMessages: a batch that ends within a message is no complete answer.
func TestMalformedMessages(t *testing.T) {
	whole := make([]byte, unix.NLMSG_HDRLEN+4)
	binary.NativeEndian.PutUint32(whole, uint32(len(whole)))
	for _, test := range []struct {
		name             string
		batch            []byte
		whole, malformed int
	}{
		{"one message", whole, 1, 0},
		{"two messages", append(append([]byte{}, whole...), whole...), 2, 0},
		{"the second one is cut", append(append([]byte{}, whole...), whole[:len(whole)-2]...), 1, 1},
		{"a length of zero", make([]byte, 64), 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			complete, malformed := 0, 0
			for m := range messages(test.batch) {
				if m.malformed {
					malformed++
				} else {
					complete++
				}
			}
			if complete != test.whole || malformed != test.malformed {
				t.Errorf("%d messages and %d malformed ones, want %d and %d", complete, malformed, test.whole, test.malformed)
			}
		})
	}
}
