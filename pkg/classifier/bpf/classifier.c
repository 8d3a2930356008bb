// SPDX-License-Identifier: GPL-2.0

/*
 * Marks what comes to SIP ports, and tells requests of scanners from others.
 *
 * The program runs on every packet that comes in on an interface. It decides
 * nothing about the packet's fate: it writes four bits of the packet's mark and
 * leaves the verdict to others. All packets to the ports that it reads bear a class,
 * so that one without has not passed here. Others are left as they are.
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
#include "register.h"
#include "sieve.h"

/* As in pkg/signature. */
enum class {
	SCANNER = 1,
	ALLOWED = 2,
	NOT_ALLOWED = 3,
	NONE = 4,
	UNREAD = 5,
	UNREGISTER = 6,
	FOLLOWED = 7,
};

static __always_inline enum class judge(struct message *m, __u32 length, __u32 headers)
{
	m->length = length;
	m->headers = headers;
	m->walked = 0;
	m->every = m->signature = m->ban = m->allowed = 0;
	m->found = 0;
	if (configuration.every_header) {
		read_all(m);
	} else if (!configuration.request_line || !read_request(m)) {
		m->walked = 0;
		if (read_hits(m) == TOO_MUCH)
			read_all(m);
	}
	if (m->found && !m->ban)
		conjoin();
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

/* Remembers a connection of TCP by its last request, with which segments that have no beginning go. */
static __always_inline void remember(struct __sk_buff *skb, const struct part *p, enum class class)
{
	struct flow flow;
	__u32 one = 1;

	if (!find_flow(skb, p, &flow))
		return;
	if (class == ALLOWED)
		bpf_map_update_elem(&flows, &flow, &one, BPF_ANY);
	else
		bpf_map_delete_elem(&flows, &flow);
}

/* What a packet is that is no request, with a text of some length or none. */
static __always_inline enum class other(struct __sk_buff *skb, const struct part *p, __u32 text)
{
	struct flow flow;

	if (!configuration.require_user_agent)
		return NONE;
	if (text == NOT_THERE)
		return NOT_ALLOWED;
	if (text && is_response(text))
		return NONE;
	/* The rest of a request may come in another fragment. */
	if (p->partly)
		return NOT_ALLOWED;
	if (!text)
		return NONE;
	if (p->protocol == IPPROTO_UDP)
		return p->length < SHORT_DATAGRAM ? NONE : NOT_ALLOWED;
	return find_flow(skb, p, &flow) && bpf_map_lookup_elem(&flows, &flow) ? NONE : NOT_ALLOWED;
}

/*
 * The class of a REGISTER that is none of a scanner's. What is behind its headers may be
 * another request, so they have to be the end of what is in the packet.
 */
static __always_inline enum class of_register(struct message *m, const struct part *p, enum class class)
{
	__u32 length = again(m->length), end;

	if (p->partly || p->length != length)
		return FOLLOWED;
	m->every = m->contact = m->ended = m->ends = m->stays = m->quoted = 0;
	end = end_of_headers(again(m->headers), length);
	if (!(end & FOUND) || (end & (FOUND - 1)) + 1 != length)
		return FOLLOWED;
	if (p->protocol == IPPROTO_TCP && !is_plain(m, length))
		return FOLLOWED;
	close_contact(m);
	return m->every || (m->ends && !m->stays) ? UNREGISTER : class;
}

/* Whether this processor may read one more message. */
static __always_inline int may_read(void)
{
	__u64 now, tick, messages;
	struct budget *b;
	__u32 zero = 0;

	if (!configuration.bounded)
		return 1;
	b = bpf_map_lookup_elem(&budgets, &zero);
	if (!b)
		return 0;
	if (b->taken) {
		b->taken--;
		return 1;
	}
	/* Asking for the time costs more than the rest of this: a flood does once a tick. */
	tick = bpf_jiffies64();
	if (b->spent == tick)
		return 0;
	now = bpf_ktime_get_ns();
	messages = (now - b->since) / BUDGET_EACH;
	if (messages >= BUDGET_BURST - b->left) {
		b->left = BUDGET_BURST;
		b->since = now;
	} else {
		b->left += messages;
		b->since += messages * BUDGET_EACH;
	}
	if (!b->left) {
		b->spent = tick;
		return 0;
	}
	b->taken = b->left < BUDGET_TAKEN ? b->left : BUDGET_TAKEN;
	b->left -= b->taken;
	b->taken--;
	return 1;
}

static __always_inline enum class classify(struct __sk_buff *skb, struct part *p)
{
	__u32 text = 0, headers;
	struct message *m;
	enum class class;

	if (!find_payload(skb, p))
		return other(skb, p, NOT_THERE);
	if (p->length) {
		if (!may_read())
			return UNREAD;
		text = load_text(skb, p->offset, p->length);
	}
	m = message();
	if (!m || !text || text > MAX_LENGTH)
		return other(skb, p, text);
	headers = find_request(m, text);
	if (!headers) {
		class = other(skb, p, text);
		/* Servers may find a request behind what is none. */
		return configuration.registers && class == NONE && text >= METHOD && is_register(m) ? FOLLOWED : class;
	}
	class = judge(m, text, headers);
	if (configuration.require_user_agent && p->protocol == IPPROTO_TCP)
		remember(skb, p, class);
	if (configuration.registers && (class == ALLOWED || class == NONE) && is_register(m))
		return of_register(m, p, class);
	return class;
}

SEC("classifier")
int ringfence(struct __sk_buff *skb)
{
	struct part part;
	__u32 shift = configuration.mark_shift & 31;
	enum class class;

	if (!find_transport(skb, &part) || !is_fenced(part.protocol, part.transport.destination))
		return TC_ACT_UNSPEC;
	class = classify(skb, &part);
	/* Servers do not read an urgent byte with the others, so that what they read is another text. */
	if (configuration.registers && part.urgent && (class == NONE || class == ALLOWED || class == UNREGISTER))
		class = FOLLOWED;
	/* Whatever stood in these bits before is not ours. */
	skb->mark = (skb->mark & ~(0xf << shift)) | class << shift;
	return TC_ACT_UNSPEC;
}

char __license[] SEC("license") = "GPL";
