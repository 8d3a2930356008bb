package system

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/ruleset"
)

// stateEstablished is the state of a connected socket (include/net/tcp_states.h).
const stateEstablished = 1

// connectedSockets returns what comes in by connected sockets.
func connectedSockets() ([]ruleset.Flow, error) {
	var list []ruleset.Flow
	add := func(p ruleset.Protocol, far []byte, port uint16) {
		from, ok := netip.AddrFromSlice(far)
		if from = from.Unmap(); ok && !from.IsLoopback() {
			list = append(list, ruleset.Flow{From: from, Protocol: p, Port: port})
		}
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := socketsOf(ruleset.UDP, family)
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if s.State == stateEstablished {
				add(ruleset.UDP, s.ID.Destination, s.ID.SourcePort)
			}
		}
	}
	if noTCP() {
		return list, nil
	}
	err := connectedTCP(func(far []byte, port uint16) { add(ruleset.TCP, far, port) })
	return list, err
}

// noTCP reports whether this network namespace has no socket of TCP. To look for them goes
// through a hash table of those of all namespaces, which takes a millisecond or more.
func noTCP() bool {
	for path, none := range map[string]string{
		"/proc/thread-self/net/sockstat":  "TCP: inuse 0 ",
		"/proc/thread-self/net/sockstat6": "TCP6: inuse 0\n",
	} {
		content, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) || err == nil && !strings.Contains(string(content), none) {
			return false
		}
	}
	return true
}

// What the kernel calls this is in linux/inet_diag.h: a question of the first kind, which
// is about the sockets of both families, so that their table is gone through only once.
const (
	questionTCP  = 18 // TCPDIAG_GETSOCK
	questionSize = 60 // struct inet_diag_req
	statesAt     = 52 // in it
	answerSize   = 72 // struct inet_diag_msg
)

// connectedTCP hands over the far address and the near port of each connection.
func connectedTCP(take func(far []byte, port uint16)) error {
	question := make([]byte, questionSize)
	binary.NativeEndian.PutUint32(question[statesAt:], 1<<stateEstablished)
	request := nl.NewNetlinkRequest(questionTCP, unix.NLM_F_DUMP)
	request.AddRawData(question)
	err := request.ExecuteIter(unix.NETLINK_INET_DIAG, questionTCP, func(b []byte) bool {
		if len(b) < answerSize || b[1] != stateEstablished {
			return true
		}
		size := 4
		if b[0] == unix.AF_INET6 {
			size = 16
		}
		take(b[24:24+size], binary.BigEndian.Uint16(b[4:]))
		return true
	})
	if err != nil {
		return fmt.Errorf("read TCP sockets: %w", err)
	}
	return nil
}
