package labtest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/lab"
)

// The messages and attributes of NFLOG, linux/netfilter/nfnetlink_log.h.
const (
	nflogConfig  = unix.NFNL_SUBSYS_ULOG<<8 | 1
	nflogCommand = 1
	nflogMode    = 2
	nflogQueue   = 5 // how many packets the kernel gathers before it sends them
	nflogPayload = 9
	nflogPrefix  = 10

	nflogBind        = 1
	nflogCopyPackets = 2
)

// Reported is a packet that rules have reported.
type Reported struct {
	Prefix string
	Packet []byte
}

// Reports listens on a group of NFLOG.
type Reports struct {
	conn    *netlink.Conn
	pending []Reported
}

// NewReports listens on a group in a host until the test ends.
func NewReports(t testing.TB, h *lab.Namespace, group uint16) *Reports {
	t.Helper()
	r := &Reports{}
	Must(t, h.Do(func() (err error) {
		r.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}))
	t.Cleanup(func() { r.conn.Close() })
	mode := append(binary.BigEndian.AppendUint32(nil, 1<<16), nflogCopyPackets, 0)
	for _, attribute := range []netlink.Attribute{
		{Type: nflogCommand, Data: []byte{nflogBind}},
		{Type: nflogMode, Data: mode},
		{Type: nflogQueue, Data: binary.BigEndian.AppendUint32(nil, 1)},
	} {
		data, err := netlink.MarshalAttributes([]netlink.Attribute{attribute})
		Must(t, err)
		head := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, group)
		_, err = r.conn.Execute(netlink.Message{
			Header: netlink.Header{Type: nflogConfig, Flags: netlink.Request | netlink.Acknowledge}, Data: append(head, data...),
		})
		Must(t, err)
	}
	return r
}

// Next waits for the next packet.
func (r *Reports) Next(t testing.TB) Reported {
	t.Helper()
	for len(r.pending) == 0 {
		Must(t, r.conn.SetReadDeadline(Deadline()))
		messages, err := r.conn.Receive()
		if err != nil {
			Must(t, fmt.Errorf("wait for a report: %w", err))
		}
		for _, m := range messages {
			r.pending = append(r.pending, reportedBy(t, m))
		}
	}
	first := r.pending[0]
	r.pending = r.pending[1:]
	return first
}

func reportedBy(t testing.TB, m netlink.Message) (r Reported) {
	t.Helper()
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	Must(t, err)
	for d.Next() {
		switch d.Type() {
		case nflogPayload:
			r.Packet = d.Bytes()
		case nflogPrefix:
			r.Prefix = d.String()
		}
	}
	return r
}
