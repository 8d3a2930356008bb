package iptables

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Exists reports whether chains of ringfence's are in the kernel, in this flavour. It
// runs no program.
func (k *Kernel) Exists(ctx context.Context) (bool, error) {
	switch k.Flavour {
	case Legacy:
		return legacyExists()
	case NFT:
		return nftExists(ctx)
	}
	t, err := k.tool()
	if err != nil {
		return false, err
	}
	return (&Kernel{Flavour: t.flavour}).Exists(ctx)
}

// otherFlavour reports whether the other flavour has a fence too, with the same sets.
func otherFlavour(ctx context.Context, k *Kernel) bool {
	other := Legacy
	if t, err := k.tool(); err == nil && t.flavour == Legacy {
		other = NFT
	}
	exists, err := (&Kernel{Flavour: other}).Exists(ctx)
	return err == nil && exists
}

func legacyExists() (bool, error) {
	for _, v6 := range []bool{false, true} {
		names := legacyTables(v6)
		if len(names) == 0 {
			continue
		}
		fd, err := tableSocket(v6)
		if err != nil {
			return false, err
		}
		defer unix.Close(fd)
		for _, table := range tables {
			blob, err := readTable(fd, v6, table)
			if err == nil && bytes.Contains(blob, []byte(chainPrefix)) {
				return true, nil
			}
		}
	}
	return false, nil
}

func nftExists(ctx context.Context) (bool, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return false, fmt.Errorf("open netfilter socket: %w", kernelError(err))
	}
	defer conn.Close()
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, Flags: netlink.Request | netlink.Dump},
			Data:   []byte{family, unix.NFNETLINK_V0, 0, 0},
		})
		if err != nil {
			return false, fmt.Errorf("list chains: %w", kernelError(err))
		}
		for _, m := range answers {
			if name, table := chainName(m); strings.HasPrefix(name, chainPrefix) && strings.Contains(" raw mangle filter ", " "+table+" ") {
				return true, nil
			}
		}
	}
	return false, nil
}

func chainName(m netlink.Message) (name, table string) {
	if len(m.Data) < 4 {
		return "", ""
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return "", ""
	}
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_CHAIN_NAME:
			name = d.String()
		case unix.NFTA_CHAIN_TABLE:
			table = d.String()
		}
	}
	return name, table
}
