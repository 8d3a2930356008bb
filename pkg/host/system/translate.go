package system

import (
	"encoding/binary"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/pkg/host/dump"
)

// translates reports whether another program has rules that may change where packets are
// sent to. Who may not read the rules finds none.
func translates() bool {
	return slices.Contains(legacyTables(), "nat") || translatingChain()
}

// translatingChain reports whether there is a chain of type nat at the hook prerouting.
func translatingChain() bool {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return false
	}
	defer conn.Close()
	request := netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, 4), // struct nfgenmsg: all families
	}
	chains, err := dump.Whole(func() ([]netlink.Message, error) { return conn.Execute(request) })
	if err != nil {
		return false
	}
	return slices.ContainsFunc(chains, func(m netlink.Message) bool { return len(m.Data) > 4 && isTranslating(m.Data[4:]) })
}

// isTranslating reports whether the attributes of a chain are of type nat and hook
// prerouting.
func isTranslating(data []byte) bool {
	attributes, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return false
	}
	attributes.ByteOrder = binary.BigEndian
	nat, prerouting := false, false
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_CHAIN_TYPE:
			nat = attributes.String() == "nat"
		case unix.NFTA_CHAIN_HOOK:
			attributes.Nested(func(hook *netlink.AttributeDecoder) error {
				hook.ByteOrder = binary.BigEndian
				for hook.Next() {
					if hook.Type() == unix.NFTA_HOOK_HOOKNUM {
						prerouting = hook.Uint32() == unix.NF_INET_PRE_ROUTING
					}
				}
				return nil
			})
		}
	}
	return nat && prerouting
}
