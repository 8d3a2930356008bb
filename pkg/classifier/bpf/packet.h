/* SPDX-License-Identifier: GPL-2.0 */

/* The way from a packet to its payload. */

#pragma once

#include <stddef.h>

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>

#include "text.h"

static __always_inline int is_fenced(__u8 protocol, __be16 port)
{
	__u16 p = bpf_ntohs(port);
	__u32 index = p / 8;

	if (protocol != IPPROTO_UDP)
		index += sizeof(ports[0]);
	in_register(index);
	return ((const __u8 *)ports)[index & (sizeof(ports) - 1)] >> p % 8 & 1;
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
	__u32 network; /* where the network header begins */
	__be16 kind;   /* of that header */
	__u32 offset, end;
	__u32 length;
	__u8 protocol;
	__u8 partly; /* more of it comes in another packet */
	__u8 urgent; /* of TCP: an urgent byte is in it, or comes */
	struct transport transport;
};

/* The protocols that carry SIP, or could, and have their ports at the same place. */
static __always_inline int has_ports(__u32 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE;
}

static __always_inline int find_transport4(struct __sk_buff *skb, struct part *p)
{
	struct {
		struct iphdr ip;
		struct transport transport;
	} h;

	if (!load(skb, p->network, &h, sizeof(h)))
		return 0;
	if (!has_ports(h.ip.protocol))
		return 0;
	/* Only the first fragment has ports. */
	if (h.ip.frag_off & bpf_htons(0x1fff))
		return 0;
	p->partly = !!(h.ip.frag_off & bpf_htons(0x2000));
	p->protocol = h.ip.protocol;
	p->offset = p->network + h.ip.ihl * 4;
	p->end = bpf_ntohs(h.ip.tot_len);
	if (p->end)
		p->end += p->network;
	p->transport = h.transport;
	return h.ip.ihl * 4 == sizeof(h.ip) || load(skb, p->offset, &p->transport, sizeof(p->transport));
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

/* In what skip_extension returns: more of the packet comes in another one. */
#define MORE_FRAGMENTS (1ULL << 62)

/*
 * Passes over the extension header at an offset. Returns the offset of what is behind it,
 * with its protocol in the low byte, perhaps with MORE_FRAGMENTS; 0 if this is no extension header, or what is behind it
 * has no port.
 */
__noinline __u64 skip_extension(struct __sk_buff *skb, __u32 offset, __u32 protocol)
{
	struct extension e;
	__u64 more = 0;
	__u32 length;

	if (!load(skb, offset, &e, sizeof(e)))
		return 0;
	length = (e.length + 1) * 8;
	switch (protocol) {
	case IPPROTO_FRAGMENT:
		if (e.fragment & bpf_htons(0xfff8))
			return 0;
		length = 8;
		if (e.fragment & bpf_htons(1))
			more = MORE_FRAGMENTS;
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
	return (__u64)(offset + length) << 8 | e.next | more;
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
	__u64 next = 0, more = 0;

	for (int i = 0; i < EXTENSIONS; i++) {
		next = skip_extension(skb, offset, protocol);
		offset = next >> 8;
		protocol = next & 0xff;
		more |= next & MORE_FRAGMENTS;
		if (!next || has_ports(protocol))
			break;
	}
	return next ? next | more : 0;
}

static __always_inline int find_transport6(struct __sk_buff *skb, struct part *p)
{
	struct {
		struct ipv6hdr ip;
		struct transport transport;
	} h;
	__u64 next;

	if (!load(skb, p->network, &h, sizeof(h)))
		return 0;
	p->protocol = h.ip.nexthdr;
	p->offset = p->network + sizeof(h.ip);
	p->end = p->offset + bpf_ntohs(h.ip.payload_len);
	if (!h.ip.payload_len)
		p->end = 0;
	p->transport = h.transport;
	p->partly = 0;
	if (has_ports(p->protocol))
		return 1;
	next = skip_extensions(skb, p->offset, p->protocol);
	p->protocol = next;
	p->offset = next >> 8;
	p->partly = !!(next & MORE_FRAGMENTS);
	return has_ports(p->protocol) && load(skb, p->offset, &p->transport, sizeof(p->transport));
}

static __always_inline int is_tag(__u32 kind)
{
	return kind == bpf_htons(ETH_P_8021Q) || kind == bpf_htons(ETH_P_8021AD);
}

/* The kernel takes any number of tags off a packet, if they are of VLAN 0. */
#define TAGS 32

/*
 * Passes over the tag at an offset, if what is there is one. Returns the offset of what is
 * behind it, with its kind in the low half; 0 if this is no tag.
 */
__noinline __u64 skip_tag(struct __sk_buff *skb, __u32 offset, __u32 kind)
{
	struct {
		__be16 tag, kind;
	} h;

	if (!is_tag(kind) || !load(skb, offset, &h, sizeof(h)))
		return 0;
	return (__u64)(offset + sizeof(h)) << 16 | h.kind;
}

/*
 * Passes over the tags of VLANs (802.1Q, 802.1ad) that are still in a packet: the first
 * has been taken out of it. Returns as skip_tag does.
 */
__noinline __u64 skip_tags(struct __sk_buff *skb, __u32 kind)
{
	__u64 next = kind & 0xffff, behind;

	for (int i = 0; i < TAGS; i++) {
		behind = skip_tag(skb, next >> 16, next & 0xffff);
		if (!behind)
			break;
		next = behind;
	}
	return next;
}

/* Finds the ports of a packet. Returns whether there are any. */
static __always_inline int find_transport(struct __sk_buff *skb, struct part *p)
{
	p->network = 0;
	p->kind = skb->protocol;
	if (is_tag(p->kind)) {
		__u64 behind = skip_tags(skb, p->kind);

		p->network = behind >> 16;
		p->kind = behind;
	}
	if (p->kind == bpf_htons(ETH_P_IP))
		return find_transport4(skb, p);
	if (p->kind == bpf_htons(ETH_P_IPV6))
		return find_transport6(skb, p);
	return 0;
}

/* Finds the payload behind the transport header. Returns whether it can be read. */
static __always_inline int find_payload(struct __sk_buff *skb, struct part *p)
{
	p->length = 0;
	p->urgent = 0;
	if (p->protocol == IPPROTO_TCP) {
		__u8 header[2];

		/* RFC 9293 section 3.1: words, in the upper nibble of byte 12, and the flag URG. */
		if (!load(skb, p->offset + 12, header, sizeof(header)))
			return 0;
		p->offset += header[0] / 16 * 4;
		p->urgent = !!(header[1] & 0x20);
	} else if (p->protocol == IPPROTO_UDP) {
		p->offset += sizeof(struct transport);
	} else {
		return 0;
	}
	/* Segments joined to more than 64 KiB (BIG TCP) have no length; of those there is always enough. */
	if (!p->end)
		p->length = MAX_LENGTH;
	else if (p->end > p->offset)
		p->length = p->end - p->offset;
	if (p->protocol == IPPROTO_UDP && p->transport.length) {
		__u32 datagram = bpf_ntohs(p->transport.length);

		datagram = datagram > sizeof(struct transport) ? datagram - sizeof(struct transport) : 0;
		/* The socket gets no more than this. */
		if (datagram < p->length)
			p->length = datagram;
		else if (datagram > p->length)
			p->partly = 1;
	}
	return 1;
}

/* Loads a part of the packet as the message. Returns where its text begins, length if there is none; NOT_THERE. */
#define NOT_THERE (1 << 16)

__noinline __u32 load_part(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	struct message *m = message();

	if (!m || !load_message(skb, offset, m, length))
		return NOT_THERE;
	return begin_of_text(m, length);
}

/* A payload has at most 64 KiB, and a part that has to be loaded again from its text on. */
#define PARTS (65536 / MAX_LENGTH + 1)

/*
 * Loads the text of a payload, from where it begins, as much of it as is read. Returns how
 * much that is, 0 if there is none; NOT_THERE if the packet has less than its headers say.
 */
__noinline __u32 load_text(struct __sk_buff *skb, __u32 offset, __u32 left)
{
	for (int i = 0; i < PARTS; i++) {
		__u32 length = left < MAX_LENGTH ? left : MAX_LENGTH, begin;

		if (!left)
			break;
		begin = load_part(skb, offset, length);
		if (begin == NOT_THERE)
			return NOT_THERE;
		if (!begin)
			return length;
		offset += begin;
		left = begin < left ? left - begin : 0;
	}
	return 0;
}

/* Which connection of TCP a packet belongs to. Returns whether that can be known. */
static __always_inline int find_flow(struct __sk_buff *skb, const struct part *p, struct flow *f)
{
	__builtin_memset(f, 0, sizeof(*f));
	f->source_port = p->transport.source;
	f->destination_port = p->transport.destination;
	if (p->kind == bpf_htons(ETH_P_IP))
		return load(skb, p->network + offsetof(struct iphdr, saddr), f->source, 4) &&
		       load(skb, p->network + offsetof(struct iphdr, daddr), f->destination, 4);
	return load(skb, p->network + offsetof(struct ipv6hdr, saddr), f->source, 16) &&
	       load(skb, p->network + offsetof(struct ipv6hdr, daddr), f->destination, 16);
}
