package system

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host/dump"
	"github.com/ringfence/ringfence/pkg/ruleset"
)

// translates reports whether another program has rules that may change where packets are
// sent to. Who may not read the rules finds none.
func translates() bool {
	if slices.Contains(legacyTables(), "nat") {
		return true
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	c, _ := readChains(conn)
	return c.translating
}

// chains are what matters of the chains of nf_tables.
type chains struct {
	translating bool // one is of type nat at the hook prerouting
	// fences are the tables that have chains of ringfence's.
	fences []string
}

// readChains reads the chains of all families. With rtnetlink.ErrDumpInterrupted it returns
// those that were seen while others changed.
func readChains(conn *netlink.Conn) (c chains, err error) {
	request := netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, 4), // struct nfgenmsg: all families
	}
	list, err := dump.Whole(func() ([]netlink.Message, error) {
		list, err := conn.Execute(request)
		if err == nil && slices.ContainsFunc(list, func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }) {
			err = rtnetlink.ErrDumpInterrupted
		}
		return list, err
	})
	if err != nil && !errors.Is(err, rtnetlink.ErrDumpInterrupted) {
		return c, fmt.Errorf("read chains: %w", err)
	}
	for _, m := range list {
		read := readChain(m.Data)
		c.translating = c.translating || read.nat && read.prerouting
		if read.isFence() && !slices.Contains(c.fences, read.table) {
			c.fences = append(c.fences, read.table)
		}
	}
	slices.Sort(c.fences)
	if err != nil {
		return c, fmt.Errorf("read chains: %w", err)
	}
	return c, nil
}

// chain is what a message says of a chain.
type chain struct {
	table, name     string // the table with the number of its family
	nat, prerouting bool
}

// isFence reports whether the chain is one of ringfence's, over whatever back end.
func (c chain) isFence() bool {
	return c.table == fmt.Sprint(unix.NFPROTO_INET, " ", ruleset.Table) || strings.HasPrefix(c.name, "RINGFENCE-")
}

// readChain reads a message about a chain. What it does not say is left out: that a chain
// is gone comes without its type.
func readChain(data []byte) (c chain) {
	if len(data) < 4 { // struct nfgenmsg
		return c
	}
	attributes, err := netlink.NewAttributeDecoder(data[4:])
	if err != nil {
		return c
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_CHAIN_TABLE:
			c.table = fmt.Sprint(data[0], " ", attributes.String())
		case unix.NFTA_CHAIN_NAME:
			c.name = attributes.String()
		case unix.NFTA_CHAIN_TYPE:
			c.nat = attributes.String() == "nat"
		case unix.NFTA_CHAIN_HOOK:
			attributes.Nested(func(hook *netlink.AttributeDecoder) error {
				hook.ByteOrder = binary.BigEndian
				for hook.Next() {
					if hook.Type() == unix.NFTA_HOOK_HOOKNUM {
						c.prerouting = hook.Uint32() == unix.NF_INET_PRE_ROUTING
					}
				}
				return nil
			})
		}
	}
	return c
}
