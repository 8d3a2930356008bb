/* SPDX-License-Identifier: GPL-2.0 */

/* The way from a packet to its payload. */

#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>

#include "tables.h"

static __always_inline int is_fenced(__u8 protocol, __be16 port)
{
	__u16 p = bpf_ntohs(port);

	return ports[protocol == IPPROTO_TCP][p / 8] >> p % 8 & 1;
}

/* More than the link header of any packet is long. */
#define MAX_LINK_HEADER 64

/*
 * Loads bytes of a packet, by their place behind the beginning of the network
 * header: so it does not matter what link header there is, or whether there is
 * one. The helper only sees the linear part of the packet; where bytes lie in
 * fragments, as TCP's do, they are pulled into it first.
 */
static __always_inline int load(struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	__u32 linear = MAX_LINK_HEADER + offset + length;

	if (!bpf_skb_load_bytes_relative(skb, offset, to, length, BPF_HDR_START_NET))
		return 1;
	if (linear > skb->len)
		linear = skb->len;
	if (bpf_skb_pull_data(skb, linear))
		return 0;
	return !bpf_skb_load_bytes_relative(skb, offset, to, length, BPF_HDR_START_NET);
}

/*
 * Loads a message. Its length is brought between 1 and MAX_LENGTH by arithmetic, which
 * changes nothing here and which the verifier of every kernel can follow. Of a comparison
 * it may learn nothing: the compiler is free to compare a copy, and Linux 6.12 and 6.18 then
 * say that the register "invalid zero-sized read".
 */
static __always_inline int load_message(struct __sk_buff *skb, __u32 offset, struct message *m, __u32 length)
{
	in_register(length); /* the compiler knows the range, too, and would leave this out */
	length = ((length - 1) & (MAX_LENGTH - 1)) + 1;
	return load(skb, offset, m->bytes, length);
}

/* What TCP and UDP have at the same place; length and checksum are UDP's. */
struct transport {
	__be16 source, destination, length, checksum;
};

/* A payload, and for the way to it the transport header. */
struct part {
	__u32 offset, end;
	__u8 protocol;
	struct transport transport;
};

static __always_inline int find_transport4(struct __sk_buff *skb, struct part *p)
{
	struct {
		struct iphdr ip;
		struct transport transport;
	} h;

	if (!load(skb, 0, &h, sizeof(h)))
		return 0;
	if (h.ip.protocol != IPPROTO_UDP && h.ip.protocol != IPPROTO_TCP)
		return 0;
	/* Only the first fragment has ports. */
	if (h.ip.frag_off & bpf_htons(0x1fff))
		return 0;
	p->protocol = h.ip.protocol;
	p->offset = h.ip.ihl * 4;
	p->end = bpf_ntohs(h.ip.tot_len);
	p->transport = h.transport;
	return p->offset == sizeof(h.ip) || load(skb, p->offset, &p->transport, sizeof(p->transport));
}

static __always_inline int has_ports(__u32 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_TCP;
}

/*
 * How many extension headers a packet may have. RFC 8200 section 4.1 has no use for
 * more than eight of them; receivers take any number.
 */
#define EXTENSIONS 64

struct extension {
	__u8 next, length;
	__be16 fragment;
	__be32 more;
};

/*
 * Passes over the extension header at an offset. Returns the offset of what is behind it,
 * with its protocol in the low byte; 0 if this is no extension header, or what is behind it
 * has no port.
 */
__noinline __u64 skip_extension(struct __sk_buff *skb, __u32 offset, __u32 protocol)
{
	struct extension e;
	__u32 length;

	if (!load(skb, offset, &e, sizeof(e)))
		return 0;
	length = (e.length + 1) * 8;
	switch (protocol) {
	case IPPROTO_FRAGMENT:
		if (e.fragment & bpf_htons(0xfff8))
			return 0;
		length = 8;
		break;
	case IPPROTO_AH:
		length = (e.length + 2) * 4;
		break;
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case 139: /* host identity, RFC 7401 */
	case 140: /* shim6, RFC 5533 */
		break;
	default:
		return 0;
	}
	return (__u64)(offset + length) << 8 | e.next;
}

/*
 * Passes over all extension headers. Returns as skip_extension does.
 *
 * The loop has nothing but a call and one way back. Before Linux 6.3 the verifier takes a
 * loop only if a jump leads back ("back-edge from insn"), and where a body has several
 * ways to its next round the compiler may let the last of them fall through to it.
 */
__noinline __u64 skip_extensions(struct __sk_buff *skb, __u32 offset, __u32 protocol)
{
	__u64 next = 0;

	for (int i = 0; i < EXTENSIONS; i++) {
		next = skip_extension(skb, offset, protocol);
		offset = next >> 8;
		protocol = next & 0xff;
		if (!next || has_ports(protocol))
			break;
	}
	return next;
}

static __always_inline int find_transport6(struct __sk_buff *skb, struct part *p)
{
	struct {
		struct ipv6hdr ip;
		struct transport transport;
	} h;
	__u64 next;

	if (!load(skb, 0, &h, sizeof(h)))
		return 0;
	p->protocol = h.ip.nexthdr;
	p->offset = sizeof(h.ip);
	p->end = sizeof(h.ip) + bpf_ntohs(h.ip.payload_len);
	if (!h.ip.payload_len)
		p->end = 0;
	p->transport = h.transport;
	if (has_ports(p->protocol))
		return 1;
	next = skip_extensions(skb, p->offset, p->protocol);
	p->protocol = next;
	p->offset = next >> 8;
	return has_ports(p->protocol) && load(skb, p->offset, &p->transport, sizeof(p->transport));
}

/* Finds the payload of a packet for a fenced port. Returns its length, as far as it is read; 0 for no request. */
static __always_inline __u32 find_payload(struct __sk_buff *skb, struct part *p)
{
	__u32 length;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!find_transport4(skb, p))
			return 0;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (!find_transport6(skb, p))
			return 0;
	} else {
		return 0;
	}
	if (!is_fenced(p->protocol, p->transport.destination))
		return 0;
	if (p->protocol == IPPROTO_TCP) {
		__u8 data_offset;

		/* RFC 9293 section 3.1: words, in the upper nibble of byte 12. */
		if (!load(skb, p->offset + 12, &data_offset, sizeof(data_offset)))
			return 0;
		p->offset += data_offset / 16 * 4;
	} else {
		p->offset += sizeof(struct transport);
	}
	/* Segments joined to more than 64 KiB (BIG TCP) have no length; of those there is always enough. */
	if (!p->end)
		return MAX_LENGTH;
	if (p->end < p->offset + SHORTEST)
		return 0;
	length = p->end - p->offset;
	if (p->protocol == IPPROTO_UDP) {
		__u32 datagram = bpf_ntohs(p->transport.length);

		/* The socket gets no more than this. */
		if (datagram && datagram < length + sizeof(struct transport))
			length = datagram - sizeof(struct transport);
		if (datagram && datagram < SHORTEST + sizeof(struct transport))
			return 0;
	}
	return length < MAX_LENGTH ? length : MAX_LENGTH;
}
