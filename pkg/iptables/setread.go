package iptables

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
)

// decodeSet reads an answer about a set: its header, some of its elements, or both.
func decodeSet(m netlink.Message) (setHeader, []entry, error) {
	var h setHeader
	var entries []entry
	if len(m.Data) < 4 {
		return h, nil, fmt.Errorf("a message of %d bytes is too short", len(m.Data))
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return h, nil, err
	}
	for d.Next() {
		switch d.Type() {
		case attrSetName:
			h.name = d.String()
		case attrTypeName:
			h.typeName = d.String()
		case attrFamily:
			h.family = d.Uint8()
		case attrRevision:
			h.revision = d.Uint8()
		case attrData:
			d.Nested(h.decode)
		case attrElements:
			d.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					var x entry
					list.Nested(x.decode)
					entries = append(entries, x)
				}
				return nil
			})
		}
	}
	return h, entries, d.Err()
}

// elementsIn are the elements in an answer about a set as the kernel writes them.
func elementsIn(m netlink.Message) []byte {
	if len(m.Data) < 4 {
		return nil
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return nil
	}
	for d.Next() {
		if d.Type() == attrElements {
			return d.Bytes()
		}
	}
	return nil
}

func (h *setHeader) decode(d *netlink.AttributeDecoder) error {
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch d.Type() {
		case dataMaxElem:
			h.maxElem = d.Uint32()
		case dataTimeout:
			h.timeout, h.defaultTimeout = true, d.Uint32()
		case dataFlags:
			flags := d.Uint32()
			h.comment, h.counters = flags&flagWithComment != 0, flags&flagWithCounters != 0
			if flags &^= h.flags(); flags != 0 {
				h.foreign = append(h.foreign, fmt.Sprintf("flags 0x%x", flags))
			}
		case dataCount:
			h.count = d.Uint32()
		case dataHashSize, dataInitVal, dataBucketSize, dataReferences, dataMemSize:
			// The kernel's own business: how large the table is that holds the elements.
		default:
			h.foreign = append(h.foreign, fmt.Sprintf("attribute %d = 0x%x", d.Type(), d.Bytes()))
		}
	}
	return nil
}

func (x *entry) decode(d *netlink.AttributeDecoder) error {
	d.ByteOrder = binary.BigEndian
	var address netip.Addr
	bits := -1
	var foreign []string
	for d.Next() {
		switch d.Type() {
		case dataIP:
			d.Nested(func(ip *netlink.AttributeDecoder) error {
				for ip.Next() {
					address, _ = netip.AddrFromSlice(ip.Bytes())
				}
				return nil
			})
		case dataPrefix:
			bits = int(d.Uint8())
		case dataPort:
			x.port = d.Uint16()
		case dataProtocol:
			x.protocol = d.Uint8()
		case dataTimeout:
			x.timeout, x.hasTimeout = d.Uint32(), true
		case dataComment:
			x.comment = d.String()
		case dataBytes:
			x.bytes = d.Uint64()
		case dataPackets:
			x.packets = d.Uint64()
		case dataPadding:
		case dataFlags:
			flags := d.Uint32()
			if flags&flagNoMatch != 0 {
				foreign = append(foreign, "nomatch")
			}
			if flags &^= flagNoMatch; flags != 0 {
				foreign = append(foreign, fmt.Sprintf("flags 0x%x", flags))
			}
		default:
			foreign = append(foreign, fmt.Sprintf("attribute %d = 0x%x", d.Type(), d.Bytes()))
		}
	}
	if bits < 0 {
		bits = address.BitLen()
	}
	x.prefix, x.foreign = netip.PrefixFrom(address, bits), strings.Join(foreign, ", ")
	return nil
}
