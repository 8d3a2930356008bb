package system

import (
	"bytes"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// isProxy reports whether a message is about a new rule that may hand packets to a server on
// another port: by TPROXY, or because it writes into them. Who wants to know whether it
// does, and whose packets, reads the rules.
func isProxy(m netlink.Message) bool {
	if uint16(m.Header.Type) != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE {
		return false
	}
	if bytes.Contains(m.Data, []byte("tproxy\x00")) || bytes.Contains(m.Data, []byte("TPROXY\x00")) {
		return true
	}
	return len(m.Data) >= 4 && bytes.Contains(m.Data, []byte("payload\x00")) && writes(m.Data[4:])
}

// writes reports whether a rule writes into packets.
func writes(rule []byte) (found bool) {
	const listElement = 1 // NFTA_LIST_ELEM
	attributes, err := netlink.NewAttributeDecoder(rule)
	if err != nil {
		return false
	}
	for attributes.Next() {
		if attributes.Type() != unix.NFTA_RULE_EXPRESSIONS {
			continue
		}
		attributes.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				if list.Type() == listElement {
					list.Nested(func(expression *netlink.AttributeDecoder) error {
						found = isWriting(expression) || found
						return nil
					})
				}
			}
			return nil
		})
	}
	return found
}

// isWriting reports whether an expression writes a register into packets.
func isWriting(expression *netlink.AttributeDecoder) (found bool) {
	name := ""
	for expression.Next() {
		switch expression.Type() {
		case unix.NFTA_EXPR_NAME:
			name = expression.String()
		case unix.NFTA_EXPR_DATA:
			expression.Nested(func(data *netlink.AttributeDecoder) error {
				for data.Next() {
					found = found || name == "payload" && data.Type() == unix.NFTA_PAYLOAD_SREG
				}
				return nil
			})
		}
	}
	return found
}
