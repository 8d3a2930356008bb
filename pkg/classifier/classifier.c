// SPDX-License-Identifier: GPL-2.0
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_LENGTH 2048
#define MAX_LINE_BREAKS 64
#define MAX_TRAILING 64
#define WORD 8
#define GROUP 4
#define SLOTS 16384
#define BLOCK 64

struct event {
	__u16 signature;
	__u8 ends, ban, allowed, unused[3];
};

/* states by 4 */
#define ENDED 0
#define UNASKED 4
#define UNASKED_REQUEST 8

__u16 next[(1 << 20) + 256];
struct event events[1 << 14];
__u8 classes[256];
__u32 groups[SLOTS];
__u8 names[SLOTS];
__u8 ports[2][1 << 13];

const volatile struct {
	__u32 multiplier;
	__u32 shift;
	__u16 line, request;
	__u16 resting, event, judging, sink;
	__u8 every_header, request_line, require;
} configuration;

struct message {
	__u8 bytes[MAX_LENGTH];
	__u8 behind[BLOCK];
	__u32 length;
	__u32 request;	/* where the request line begins */
	__u32 headers;	/* where the first header does */
	__u32 sieved;	/* up to where */
	__u32 walked;	/* up to where */
	__u16 signature;
	__u8 ban;
	__u8 allowed;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct message);
} messages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

/* Keep the compiler from knowing what is in a register, so that it stays there. */
#define keep_in_register(x) asm volatile("" : "+r"(x))

static __always_inline struct message *message(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&messages, &zero);
}

static __always_inline __u8 byte_at(const struct message *m, __u32 at)
{
	return m->bytes[at & (MAX_LENGTH - 1)];
}

/* The aligned word that the byte at is in, its first byte the lowest. */
static __always_inline __u64 word_at(const struct message *m, __u32 at)
{
	__u64 word = *(const __u64 *)(m->bytes + (at & (MAX_LENGTH - WORD)));

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return word;
#else
	return __builtin_bswap64(word);
#endif
}

static __always_inline int is_blank(__u8 c)
{
	return c == ' ' || c == '\t';
}

/* 0x80 in each byte that is a line feed; no other bit. */
static __always_inline __u64 line_feeds(__u64 word)
{
	const __u64 low = 0x7f7f7f7f7f7f7f7fULL;
	__u64 x = word ^ 0x0a0a0a0a0a0a0a0aULL;

	return ~(((x & low) + low) | x | low);
}

#define ONES 0x0101010101010101ULL

/* How many bytes there are below the lowest one in which bit 0x80 is set; no other bits are. */
static __always_inline __u32 below_lowest(__u64 bits)
{
	bits >>= 7;
	return ((((bits & -bits) - 1) & ONES) * ONES) >> 56;
}

/* How many bytes there are up to the highest one in which bit 0x80 is set; no other bits are. */
static __always_inline __u32 up_to_highest(__u64 bits)
{
	bits |= bits >> 8;
	bits |= bits >> 16;
	bits |= bits >> 32;
	return (bits >> 7) * ONES >> 56;
}

/* Where the next line feed is, from at on; at least length if there is none. */
__noinline __u32 line_feed(__u32 at, __u32 length)
{
	struct message *m = message();
	__u64 keep = ~0ULL << (at % WORD * 8);

	if (!m)
		return length;
	at &= ~(WORD - 1);
	for (int i = 0; i < MAX_LENGTH / WORD; i++) {
		if (at >= length)
			break;
		__u64 found = line_feeds(word_at(m, at)) & keep;
		if (found)
			return at + below_lowest(found);
		keep = ~0ULL;
		at += WORD;
	}
	return length;
}

__noinline int empty_line_in(__u32 word, __u32 from, __u32 at)
{
	struct message *m = message();
	int found = 0;

	if (!m)
		return 0;
	for (int k = 0; k < WORD; k++) {
		__u32 place = word + k;
		if (place >= at || place < from)
			continue;
		if (byte_at(m, place) != '\n')
			continue;
		if (byte_at(m, place - 1) == '\n')
			found = 1;
		if (byte_at(m, place - 1) == '\r' && place - 1 >= from && byte_at(m, place - 2) == '\n')
			found = 1;
	}
	return found;
}

/* Whether the headers, which begin at from, end before the byte at. */
__noinline int headers_end(__u32 from, __u32 at)
{
	struct message *m = message();
	__u64 before = 0;

	if (!m)
		return 0;
	__u32 word = (from - 1) & ~(WORD - 1);
	for (int i = 0; i < MAX_LENGTH / WORD; i++) {
		if (word >= at)
			return 0;
		__u64 lf = line_feeds(word_at(m, word));

		if (lf & (lf << 8 | before >> 56 | lf << 16 | before >> 48) && empty_line_in(word, from, at))
			return 1;
		before = lf;
		word += WORD;
	}
	return 0;
}

__noinline __u64 stretch(__u32 at, __u32 length, __u32 state, __u32 stop)
{
	struct message *m = message();
	const __u8 *table = (const __u8 *)next, *class = classes;

	if (!m)
		return 0;
	__u32 width = (m->signature ? configuration.judging : configuration.event) - stop;
	keep_in_register(table);
	keep_in_register(class);
	state &= 0xffff;
	for (int i = 0; i < MAX_LENGTH; i++) {
		if (at >= length)
			break;
		state = *(const __u16 *)(table + (state << 5) + class[byte_at(m, at)]);
		at++;
		if (state - stop >= width)
			break;
	}
	return at | (__u64)state << 32;
}

/* returns whether the message is judged */
__noinline int take(__u32 at, __u32 state)
{
	struct message *m = message();

	if (!m)
		return 1;
	if (at > m->headers && headers_end(m->headers, at - 1))
		return 1;
	if (state >= configuration.sink) {
		m->signature = ((state - configuration.sink) >> 2) + 1;
		m->ban = 1;
		return 1;
	}
	struct event *e = &events[(state >> 2) & ((1 << 14) - 1)];
	if (e->allowed)
		m->allowed = 1;
	if (!e->signature)
		return 0;
	if (e->ends && at < m->length && is_blank(byte_at(m, at)))
		return 0;
	if (e->ban || !m->signature)
		m->signature = e->signature;
	m->ban = e->ban;
	return e->ban;
}

__noinline int walk(__u32 at, __u32 state, __u32 stop, __u32 every)
{
	struct message *m = message();

	if (!m)
		return 1;
	__u32 length = m->length;
	for (int i = 0; i < 1024; i++) {
		__u64 r = stretch(at, length, state, stop);
		at = r;
		state = r >> 32;
		m->walked = at;
		if (at >= length && state < configuration.event)
			return 0;
		if (state < stop) {
			if (!every || state == ENDED)
				return 0;
			at = line_feed(at, length);
			continue;
		}
		if (take(at, state))
			return 1;
	}
	return 0;
}

/* The first byte of the header that the byte at is in, 0 if it begins before floor. */
__noinline __u32 header_of(__u32 at, __u32 floor)
{
	struct message *m = message();
	__u64 keep = ~(~0ULL << (at % WORD * 8));

	if (!m)
		return 0;
	at &= ~(WORD - 1);
	for (int i = 0; i < MAX_LENGTH; i++) {
		__u64 lf = line_feeds(word_at(m, at)) & keep;

		if (lf) {
			__u32 bytes = up_to_highest(lf), start = at + bytes;
			if (start < floor)
				return 0;
			if (!is_blank(byte_at(m, start)))
				return start;
			keep = ~(~0ULL << (bytes - 1) * 8);
			continue;
		}
		if (!at || at < floor)
			return 0;
		at -= WORD;
		keep = ~0ULL;
	}
	return 0;
}

__noinline __u32 line_breaks(void)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int at = 0; at < MAX_LINE_BREAKS; at++)
		if (byte_at(m, at) != '\r' && byte_at(m, at) != '\n')
			return at;
	return MAX_LINE_BREAKS;
}

__noinline __u32 trim(__u32 end)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < MAX_TRAILING; i++) {
		__u8 c = byte_at(m, end - 1);
		if (!is_blank(c) && c != '\r')
			break;
		end--;
	}
	return end;
}

/* Where the first header begins; 0 if it is no request. */
static __always_inline __u32 request(struct message *m, __u32 length)
{
	__u32 at = 0;

	if (byte_at(m, 0) == '\r' || byte_at(m, 0) == '\n')
		at = line_breaks();
	m->request = at;
	__u32 end = line_feed(at, length);
	if (end >= length)
		return 0;
	__u32 last = end - 1;
	if (byte_at(m, last) == '\r')
		last--;
	if (byte_at(m, last) != '0')
		last = trim(end) - 1;
	if ((__s32)(last - at) < 10)
		return 0;
	__u8 c = byte_at(m, at);
	if (is_blank(c) || c == '\r')
		return 0;
	if ((c | 0x20) == 's' && (byte_at(m, at + 1) | 0x20) == 'i' && (byte_at(m, at + 2) | 0x20) == 'p' && byte_at(m, at + 3) == '/')
		return 0;
	if (byte_at(m, last) != '0' || byte_at(m, last - 1) != '.' || byte_at(m, last - 2) != '2' || byte_at(m, last - 3) != '/' ||
	    (byte_at(m, last - 4) | 0x20) != 'p' || (byte_at(m, last - 5) | 0x20) != 'i' || (byte_at(m, last - 6) | 0x20) != 's' ||
	    !is_blank(byte_at(m, last - 7)))
		return 0;
	return end + 1;
}

static __always_inline __u32 group_at(const struct message *m, __u32 at, int i)
{
	return *(const __u32 *)(m->bytes + (at & (MAX_LENGTH - GROUP)) + i * GROUP);
}

#define SAMPLE(i) do { \
		__u32 g = group_at(m, at, i) | fold; \
		if (*(const __u32 *)(table + ((g * multiplier >> shift) & ((SLOTS - 1) * 4))) == g) { \
			*(volatile __u32 *)&m->sieved = at + (i) * GROUP; \
			goto found; \
		} \
	} while (0)

/* The next group of four bytes from at on that the sieve knows; its name in the upper half. length if there is none. */
__noinline __u64 sieve(__u32 at, __u32 length)
{
	struct message *m = message();
	__u32 multiplier = configuration.multiplier, shift = configuration.shift, fold = 0x20202020;
	const __u8 *table = (const __u8 *)groups;

	if (!m)
		return length;
	keep_in_register(table);
	keep_in_register(multiplier);
	keep_in_register(shift);
	for (int i = 0; i < MAX_LENGTH / BLOCK; i++) {
		if (at >= length)
			return length;
		SAMPLE(0); SAMPLE(1); SAMPLE(2); SAMPLE(3); SAMPLE(4); SAMPLE(5); SAMPLE(6); SAMPLE(7);
		SAMPLE(8); SAMPLE(9); SAMPLE(10); SAMPLE(11); SAMPLE(12); SAMPLE(13); SAMPLE(14); SAMPLE(15);
		at += BLOCK;
	}
	return length;
found:
	at = *(volatile __u32 *)&m->sieved;
	fold |= group_at(m, at, 0);
	return at | (__u64)names[(fold * multiplier >> shift >> 2) & (SLOTS - 1)] << 32;
}

#define MAX_HITS 32

/* whether there is nothing more to judge */
__noinline int next_hit(void)
{
	struct message *m = message();

	if (!m)
		return 1;
	__u32 length = m->length, headers = m->headers;
	__u64 hit = sieve(m->sieved, length);
	__u32 at = hit, start;
	if (at >= length)
		return 1;
	m->sieved = at + GROUP;
	__u32 name = hit >> 32, walked = m->walked;
	if (name) {
		start = at - (name - 1) + 1;
		if (start < headers || start >= length || byte_at(m, start - 1) != '\n')
			return 0;
		int judged = walk(start, configuration.line, configuration.resting, 0);
		m->walked = walked;
		return judged;
	}
	if (at < walked)
		return 0;
	start = header_of(at, walked);
	if (start >= headers)
		return walk(start, configuration.line, 12, 0);
	if (at >= headers)
		return 0;
	return walk(m->request, configuration.request, 12, 0);
}

__noinline int judge(void)
{
	struct message *m = message();

	if (!m)
		return 0;
	__u32 length = m->length;
	if (length > MAX_LENGTH)
		return 0;
	for (int i = 0; i < WORD; i++)
		m->bytes[length + i] = 0;

	__u32 headers = request(m, length);
	if (!headers)
		return 0;
	m->headers = headers;
	m->sieved = m->walked = 0;
	m->signature = m->ban = m->allowed = 0;
	__u32 begin = m->request;
	if (configuration.request_line && *(__u16 *)((__u8 *)next + (configuration.request << 5) + classes[byte_at(m, begin)]) >= configuration.resting) {
		if (walk(begin, configuration.request, configuration.every_header ? 12 : configuration.resting, configuration.every_header))
			goto done;
		m->walked = 0;
	}
	if (configuration.every_header)
		goto done;
	for (int i = 0; i < MAX_HITS; i++)
		if (next_hit())
			break;
done:
	if (m->signature) {
		__u32 index = m->signature - 1;
		__u64 *hit = bpf_map_lookup_elem(&hits, &index);
		if (hit)
			(*hit)++;
	}
	if (m->ban)
		return 1;
	if (configuration.require)
		return m->allowed ? 2 : 3;
	return 0;
}

static __always_inline __u32 load(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	struct message *m = message();
	if (!m)
		return 0;
	if (length > MAX_LENGTH)
		length = MAX_LENGTH;
	if (length < 12)
		return 0;
	if (bpf_skb_load_bytes_relative(skb, offset, m->bytes, length, BPF_HDR_START_NET))
		return 0;
	m->length = length;
	return judge();
}

struct l4 {
	__be16 source, destination, length, checksum;
};

SEC("classifier")
int ringfence(struct __sk_buff *skb)
{
	__u32 class = 0, offset, end;
	__u8 protocol, tcp;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct { struct iphdr ip; struct l4 l4; } h;
		if (bpf_skb_load_bytes_relative(skb, 0, &h, sizeof(h), BPF_HDR_START_NET))
			goto out;
		if (h.ip.frag_off & bpf_htons(0x1fff))
			goto out;
		protocol = h.ip.protocol;
		offset = h.ip.ihl * 4;
		end = bpf_ntohs(h.ip.tot_len);
		tcp = protocol == IPPROTO_TCP;
		if (!tcp && protocol != IPPROTO_UDP)
			goto out;
		if (offset != 20)
			goto out;
		__u16 port = bpf_ntohs(h.l4.destination);
		if (!(ports[tcp][port >> 3] & 1 << (port & 7)))
			goto out;
		if (tcp)
			goto out;
		offset += 8;
		if (end <= offset)
			goto out;
		class = load(skb, offset, end - offset) & 3;
	}
out:
	skb->mark = (skb->mark & ~0x0f000000) | class << 24;
	return TC_ACT_UNSPEC;
}

char __license[] SEC("license") = "GPL";
