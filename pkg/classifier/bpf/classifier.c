// SPDX-License-Identifier: GPL-2.0

/*
 * Marks SIP requests of scanners.
 *
 * The program runs on every packet that comes in on an interface. It decides
 * nothing about the packet's fate: it writes one nibble of the packet's mark and
 * leaves the verdict to others.
 *
 * What it looks for is in the tables that pkg/signature makes: an automaton that
 * reads headers byte by byte, and a sieve that tells from groups of four bytes
 * where it is worth while to do so. pkg/signature says what they mean, and has a
 * slow program to the same effect.
 *
 * Functions that are not static are verified once each, whatever calls them, and
 * what they return or leave in the message is anything to the verifier. That
 * keeps loops from multiplying. Functions that are static are inlined: a call
 * costs more than most of them do.
 */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "packet.h"
#include "sieve.h"

/* The nibble of the mark. */
#define MARK 0x0f000000
#define MARK_SHIFT 24

enum class {
	NONE = 0,
	SCANNER = 1,
	ALLOWED = 2,
	NOT_ALLOWED = 3,
};

static __always_inline enum class judge(struct message *m, __u32 length)
{
	__u32 headers = find_request(m, length);

	if (!headers)
		return NONE;
	m->length = length;
	m->headers = headers;
	m->walked = 0;
	m->every = m->signature = m->ban = m->allowed = 0;
	if (configuration.every_header) {
		read_all(m);
	} else if (!configuration.request_line || !read_request(m)) {
		m->walked = 0;
		if (read_hits(m) == TOO_MUCH)
			read_all(m);
	}
	if (m->signature) {
		__u32 index = m->signature - 1;
		__u64 *count = bpf_map_lookup_elem(&hits, &index);

		if (count)
			++*count;
	}
	if (m->ban)
		return SCANNER;
	if (!configuration.require_user_agent)
		return NONE;
	return m->allowed ? ALLOWED : NOT_ALLOWED;
}

SEC("classifier")
int ringfence(struct __sk_buff *skb)
{
	struct part part;
	__u32 class = NONE, length = find_payload(skb, &part);

	if (length >= SHORTEST && length <= MAX_LENGTH) {
		struct message *m = message();

		if (m && load_message(skb, part.offset, m, length))
			class = judge(m, length);
	}
	/* Whatever stood in the nibble before is not ours. */
	skb->mark = (skb->mark & ~MARK) | class << MARK_SHIFT;
	return TC_ACT_UNSPEC;
}

char __license[] SEC("license") = "GPL";
