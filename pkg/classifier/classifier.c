//go:build ignore

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
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The nibble of the mark. */
#define MARK 0x0f000000
#define MARK_SHIFT 24

enum class {
	NONE = 0,
	SCANNER = 1,
	ALLOWED = 2,
	NOT_ALLOWED = 3,
};

/* As in pkg/signature. */
#define MAX_LENGTH 2048
#define MAX_LINE_BREAKS 64
#define MAX_TRAILING 64
#define SHORTEST 12 /* "A b SIP/2.0" and a line feed */

#define WORD 8
#define GROUP 4
#define BLOCK 64 /* the sieve's step */

/*
 * A state is four times its number in pkg/signature: a row of the table has 64
 * columns of two bytes, so the row begins at 32 times the state, and no state
 * that fits into two bytes leads out of the table.
 */
#define ROW_SHIFT 5
#define UNASKED 4	  /* in a header that nobody asks about */
#define UNASKED_REQUEST 8 /* the same of the request line */
#define ASKED 12	  /* the least state in which there is something to find */

struct event {
	__u16 signature; /* from 1, 0 is none */
	__u8 ends, ban, allowed, unused[3];
};

__u16 next[(1 << 20) + 256];
__u8 classes[256]; /* twice the class: a column's place in its row */
struct event events[1 << 14];

#define SLOTS (1 << 14)
__u32 groups[SLOTS];
__u8 names[SLOTS]; /* of the group in the same slot */

__u8 ports[2][1 << 13]; /* a bit for each port, by UDP and by TCP */

struct configuration {
	__u32 multiplier, shift; /* of groups; the shift gives bytes */
	__u16 line, request;
	__u16 resting, event, judging, sink;
	__u8 every_header, request_line, require_user_agent, unused;
};

const volatile struct configuration configuration;

struct message {
	__u8 bytes[MAX_LENGTH]; /* behind length stands what the messages before have left */
	__u8 behind[BLOCK];
	__u32 length;
	__u32 request; /* where the request line begins */
	__u32 headers; /* where the first header begins */
	__u32 sieved;  /* up to where the sieve has been */
	__u32 walked;  /* up to where whole headers have been read */
	__u32 kept;    /* for anything() */
	__u16 signature;
	__u8 ban, allowed, every;
};

/* A processor receives one packet at a time: bottom halves are off while it does. */
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
} hits SEC(".maps"); /* by signature */

/* What hits are of. The program does not need it; whoever reads hits does. */
struct name {
	__u8 text[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct name);
} signatures SEC(".maps");

/* Keeps the compiler from knowing what is in a variable, so that it stays in its register. */
#define in_register(x) asm volatile("" : "+r"(x))

/*
 * Reads a field of the message again: it can be anything then. Else the verifier
 * looks at all that follows once for each thing that it has found out about it.
 */
#define again(field) (*(volatile __u32 *)&(field))

/* The same for a number that is in no field. */
static __always_inline __u32 anything(struct message *m, __u32 number)
{
	again(m->kept) = number;
	return again(m->kept);
}

static __always_inline struct message *message(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&messages, &zero);
}

static __always_inline __u8 byte_at(const struct message *m, __u32 at)
{
	return m->bytes[at & (MAX_LENGTH - 1)];
}

/* The aligned word that a byte is in, its first byte the lowest. */
static __always_inline __u64 word_at(const struct message *m, __u32 at)
{
	__u64 word = *(const __u64 *)(m->bytes + (at & (MAX_LENGTH - WORD)));

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* Eight bytes from any byte on, the first the lowest. */
static __always_inline __u64 eight_at(const struct message *m, __u32 at)
{
	__u32 shift = at % WORD * 8;

	return word_at(m, at) >> shift | word_at(m, at + WORD) << 1 << (63 - shift);
}

/* One of the aligned groups from a byte on, in lower case, its first byte the lowest. */
static __always_inline __u32 group_at(const struct message *m, __u32 at, int i)
{
	__u32 group = *(const __u32 *)(m->bytes + (at & (MAX_LENGTH - GROUP)) + i * GROUP);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	group = __builtin_bswap32(group);
#endif
	return group | 0x20202020;
}

static __always_inline int is_blank(__u8 c)
{
	return c == ' ' || c == '\t';
}

#define ONES 0x0101010101010101ULL

/* The bit 0x80 of each byte that is a line feed. */
static __always_inline __u64 line_feeds(__u64 word)
{
	const __u64 low = 0x7f * ONES;
	__u64 x = word ^ '\n' * ONES;

	return ~(((x & low) + low) | x | low);
}

/* How many bytes are below the lowest one whose bit 0x80 is set. */
static __always_inline __u32 below_lowest(__u64 bits)
{
	bits >>= 7;
	return (((bits & -bits) - 1) & ONES) * ONES >> 56;
}

/* How many bytes there are up to the highest one whose bit 0x80 is set. */
static __always_inline __u32 up_to_highest(__u64 bits)
{
	bits |= bits >> 8;
	bits |= bits >> 16;
	bits |= bits >> 32;
	return (bits >> 7) * ONES >> 56;
}

/* The first line feed from a byte on; length or more if there is none. */
static __always_inline __u32 first_line_feed(struct message *m, __u32 at, __u32 length)
{
	__u64 keep = ~0ULL << (at % WORD * 8);

	at &= ~(WORD - 1);
	for (int i = 0; i < MAX_LENGTH / WORD; i++) {
		__u64 found;

		if (at >= length)
			break;
		found = line_feeds(word_at(m, at)) & keep;
		if (found) {
			at += below_lowest(found);
			break;
		}
		keep = ~0ULL;
		at += WORD;
	}
	return anything(m, at);
}

__noinline __u32 line_feed(__u32 at, __u32 length)
{
	struct message *m = message();

	return m ? first_line_feed(m, at, length) : length;
}

/* The last line feed before a byte; the byte itself if there is none from floor on. */
__noinline __u32 line_feed_before(__u32 at, __u32 floor)
{
	struct message *m = message();
	__u64 keep = ~(~0ULL << (at % WORD * 8));
	__u32 word = at & ~(WORD - 1);

	if (!m)
		return at;
	for (int i = 0; i < MAX_LENGTH / WORD; i++) {
		__u64 found = line_feeds(word_at(m, word)) & keep;

		if (found) {
			word += up_to_highest(found) - 1;
			return word < floor ? at : word;
		}
		if (word <= floor)
			return at;
		word -= WORD;
		keep = ~0ULL;
	}
	return at;
}

/* Whether an empty line ends in a word. */
__noinline int ends_in(__u32 word, __u32 headers, __u32 before)
{
	struct message *m = message();
	int ends = 0;

	if (!m)
		return 0;
	for (int i = 0; i < WORD; i++) {
		__u32 at = word + i;

		if (at < headers || at >= before || byte_at(m, at) != '\n')
			continue;
		if (byte_at(m, at - 1) == '\n')
			ends = 1;
		else if (byte_at(m, at - 1) == '\r' && at > headers && byte_at(m, at - 2) == '\n')
			ends = 1;
	}
	return ends;
}

/* Whether the headers end before a byte. */
static __always_inline int headers_end(struct message *m, __u32 headers, __u32 before)
{
	__u32 word = (headers - 1) & ~(WORD - 1);
	__u64 last = 0;

	for (int i = 0; i < MAX_LENGTH / WORD; i++) {
		__u64 found;

		if (word >= before)
			break;
		found = line_feeds(word_at(m, word));
		/* Two line feeds with nothing between them, or one byte. */
		if (found & (found << 8 | last >> 56 | found << 16 | last >> 48) && ends_in(word, headers, before))
			return 1;
		last = found;
		word += WORD;
	}
	return 0;
}

/*
 * Takes up what a state says that the byte before at led to. Returns whether the
 * message is judged.
 */
__noinline int take(__u32 at, __u32 state)
{
	struct message *m = message();
	struct event *e;

	if (!m)
		return 1;
	/* What looks like a header behind an empty line is none. */
	if (at > m->headers && headers_end(m, m->headers, at - 1))
		return 1;
	if (state >= configuration.sink) {
		m->signature = (state - configuration.sink) / 4 + 1;
		m->ban = 1;
		return 1;
	}
	e = &events[state / 4 & ((1 << 14) - 1)];
	if (e->allowed)
		m->allowed = 1;
	if (!e->signature || (e->ends && at < m->length && is_blank(byte_at(m, at))))
		return 0;
	if (e->ban || !m->signature)
		m->signature = e->signature;
	m->ban = e->ban;
	return e->ban;
}

/*
 * One step of the automaton. Each needs the one before, so what does not is done
 * first: there is only a shift and an addition between two states. Columns are
 * even; where alignment matters the verifier wants to see it.
 */
static __always_inline __u32 next_state(const __u8 *table, const __u8 *column, __u32 state, __u8 c)
{
	const __u8 *row = table + (column[c] & 0x7e);

	in_register(row);
	return *(const __u16 *)(row + (state << ROW_SHIFT));
}

#define STRETCH 256

/*
 * Walks the automaton from a byte and a state on, until it is below the state
 * stop or says something. Returns where that is, and the state in the upper half.
 */
__noinline __u64 stretch(__u32 at, __u32 length, __u32 state, __u32 stop)
{
	struct message *m = message();
	const __u8 *table = (const __u8 *)next, *column = classes;
	__u32 width;

	if (!m)
		return 0;
	width = (m->signature ? configuration.judging : configuration.event) - stop;
	in_register(table);
	in_register(column);
	state &= 0xffff;
	for (int i = 0; i < STRETCH; i++) {
		if (at >= length)
			break;
		state = next_state(table, column, state, byte_at(m, at));
		at++;
		if (state - stop >= width)
			break;
	}
	return at | (__u64)state << 32;
}

/*
 * A walk is at most one stretch for each 256 bytes, and one for each two: for each
 * line that nobody asks about, and for each state that says something.
 */
#define STRETCHES 64
#define WALKS (MAX_LENGTH / 2 / STRETCHES + 2)

/* A part of a walk. Returns 0 for the end of it, 1 if there is more, 2 if the message is judged. */
__noinline __u64 walk_on(__u32 at, __u32 state, __u32 stop)
{
	struct message *m = message();
	__u32 every;

	if (!m)
		return 2;
	every = m->every;
	for (int i = 0; i < STRETCHES; i++) {
		__u32 length = m->length;
		__u64 r;

		if (at >= length)
			return 0;
		r = stretch(at, length, state, stop);
		at = r;
		state = r >> 32;
		m->walked = at;
		if (state < stop) {
			if (!every || !state)
				return 0;
			at = line_feed(at, length);
		} else if (state >= configuration.event && take(at, state)) {
			return 2;
		}
	}
	return 1 | (__u64)at << 8 | (__u64)state << 32;
}

/*
 * Walks the automaton from a byte and a state on to where it is below the state
 * stop. Returns whether the message is judged.
 */
__noinline int walk(__u32 at, __u32 state, __u32 stop)
{
	for (int i = 0; i < WALKS; i++) {
		__u64 r = walk_on(at, state, stop);

		if ((r & 3) != 1)
			return r >> 1;
		at = r >> 8 & 0xffff;
		state = r >> 32;
	}
	return 1;
}

/* What comes of reading a part of the message. */
enum outcome {
	GO_ON = 0,
	JUDGED = 1,
	TOO_MUCH = 2, /* all headers have to be read, one after the other */
};

/* Reads what begins at a byte, a header or the request line. */
static __always_inline enum outcome read_from(struct message *m, __u32 at, __u32 state)
{
	__u64 r = stretch(at, m->length, state, ASKED);

	at = r;
	state = r >> 32;
	m->walked = at;
	if (state < ASKED)
		return GO_ON;
	if (state >= configuration.event && take(at, state))
		return JUDGED;
	return walk(at, state, ASKED) ? JUDGED : GO_ON;
}

/* How many lines of one header are looked for. */
#define FOLDS 32

/* Reads the whole header that a byte is in, or the request line. Returns an outcome. */
__noinline int read_header(__u32 at)
{
	struct message *m = message();
	__u32 line = at;

	if (!m)
		return JUDGED;
	if (at < m->walked)
		return GO_ON;
	if (at < m->headers)
		return read_from(m, m->request, configuration.request);
	for (int i = 0; i < FOLDS; i++) {
		__u32 found = line_feed_before(line, m->walked);

		/* The header begins where it was read before, or goes on with the request line. */
		if (found == line || found + 1 < m->headers)
			return GO_ON;
		line = found;
		if (!is_blank(byte_at(m, line + 1))) {
			enum outcome outcome = read_from(m, line + 1, configuration.line);

			if (m->walked < at)
				m->walked = at;
			return outcome;
		}
	}
	return TOO_MUCH;
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

/* The end of a line without the white space there. */
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

/* Finds the request line. Returns where the first header begins, 0 if it is no request. */
static __always_inline __u32 find_request(struct message *m, __u32 length)
{
	__u32 start = 0, end, last;
	__u64 text = eight_at(m, 0);
	__u8 c = text;

	if (c == '\r' || c == '\n') {
		start = line_breaks();
		text = eight_at(m, start);
		c = text;
	}
	/* "SIP/", the beginning of a response. */
	if (is_blank(c) || c == '\r' || (__u32)(text | 0x00202020) == 0x2f706973)
		return 0;
	m->request = start;
	end = first_line_feed(m, start, length);
	if (end >= length)
		return 0;
	last = end - 1;
	if (byte_at(m, last) == '\r')
		last--;
	if (byte_at(m, last) != '0')
		last = trim(end) - 1;
	if ((__s32)(last - start) < 10)
		return 0;
	/* A blank, and "SIP/2.0". */
	text = eight_at(m, last - 7);
	if (!is_blank(text) || (text | 0x20202000) >> 8 != 0x302e322f706973)
		return 0;
	return end + 1;
}

#define SAMPLE(i)                                                                                      \
	do {                                                                                           \
		__u32 g = group_at(m, at, i), slot = (g * multiplier >> shift) & (SLOTS - 1) * GROUP;  \
		if (*(const __u32 *)(table + slot) == g) {                                             \
			at = anything(m, at + (i) * GROUP);                                            \
			goto hit;                                                                      \
		}                                                                                      \
	} while (0)

/*
 * Finds the next group from a byte on that the sieve knows. Returns where that
 * is, and its name in the upper half; length or more if there is none.
 */
__noinline __u64 sieve(__u32 at, __u32 length)
{
	struct message *m = message();
	__u32 multiplier = configuration.multiplier, shift = configuration.shift, g;
	const __u8 *table = (const __u8 *)groups;

	if (!m)
		return length;
	in_register(table);
	in_register(multiplier);
	in_register(shift);
	for (int i = 0; i < MAX_LENGTH / BLOCK + 1; i++) {
		if (at >= length)
			return length;
		SAMPLE(0); SAMPLE(1); SAMPLE(2); SAMPLE(3); SAMPLE(4); SAMPLE(5); SAMPLE(6); SAMPLE(7);
		SAMPLE(8); SAMPLE(9); SAMPLE(10); SAMPLE(11); SAMPLE(12); SAMPLE(13); SAMPLE(14); SAMPLE(15);
		at += BLOCK;
	}
	return length;
hit:
	g = group_at(m, at, 0);
	return at | (__u64)names[(g * multiplier >> shift) / 4 & (SLOTS - 1)] << 32;
}

/* How many bytes of a header are read without a call. */
#define GLANCE 32
/* How far back the beginning of a header is looked for without one. */
#define NEAR 128

/*
 * Reads what begins at a byte, from a state on, until that is below the state stop
 * or says something. Returns the state, and where that is in at.
 */
static __always_inline __u32 glance(struct message *m, __u32 *at, __u32 state, __u32 stop)
{
	__u32 width = configuration.event - stop, i = 0;
	const __u8 *table = (const __u8 *)next, *column = classes;

	in_register(table);
	in_register(column);
	do {
		state = next_state(table, column, state, byte_at(m, *at + i));
		i++;
	} while (state - stop < width && i < GLANCE);
	*at = anything(m, *at + i);
	return anything(m, state);
}

/* Where the line begins that a byte is in, 0 for the first one and if that is too far away. */
static __always_inline __u32 line_start(struct message *m, __u32 at)
{
	__u64 keep = ~(~0ULL << (at % WORD * 8));
	__u32 word = at & ~(WORD - 1), start = 0;

	for (int i = 0; i < NEAR / WORD; i++) {
		__u64 found = line_feeds(word_at(m, word)) & keep;

		if (found) {
			start = word + up_to_highest(found);
			break;
		}
		if (!word)
			break;
		word -= WORD;
		keep = ~0ULL;
	}
	return anything(m, start);
}

/* How many hits of the sieve are worth while. */
#define HITS 16

/* Reads what the sieve finds. Returns an outcome. */
static __always_inline int read_hits(struct message *m)
{
	m->sieved = 0;
	for (int i = 0; i < HITS; i++) {
		__u32 length = again(m->length), headers = again(m->headers);
		__u64 hit = sieve(m->sieved, length);
		__u32 at = hit, name = hit >> 32, start, end, state, stop, walked = m->walked;

		if (at >= length)
			return JUDGED;
		m->sieved = at + GROUP;
		if (name) {
			/* What the sieve finds in the value is not read with this. */
			stop = configuration.resting;
			start = at - name + 2;
			if (start < headers || start >= length || byte_at(m, start - 1) != '\n')
				continue;
		} else {
			if (at < walked)
				continue;
			stop = ASKED;
			start = line_start(m, at);
			if (start < headers || is_blank(byte_at(m, start))) {
				int outcome = read_header(at);

				if (outcome != GO_ON)
					return outcome;
				continue;
			}
			walked = at;
		}
		end = start;
		state = glance(m, &end, configuration.line, stop);
		if (state >= stop) {
			if (end > length) {
				/* Behind the message stands the one before it. */
				end = start;
				state = configuration.line;
			} else if (state >= configuration.event && take(end, state)) {
				return JUDGED;
			}
			if (walk(end, state, stop))
				return JUDGED;
			if (!name && m->walked > walked)
				continue;
		}
		m->walked = walked;
	}
	return TOO_MUCH;
}

/* Reads what of the request line the sieve does not know. Returns whether the message is judged. */
static __always_inline int read_request(struct message *m)
{
	__u32 at = m->request;

	return glance(m, &at, configuration.request, configuration.resting) >= configuration.resting &&
	       walk(m->request, configuration.request, configuration.resting);
}

/* Reads all headers one after the other. */
static __always_inline void read_all(struct message *m)
{
	m->every = 1;
	m->signature = m->allowed = 0;
	walk(m->request, configuration.request, ASKED);
}

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

/* How many extension headers a packet may have. */
#define EXTENSIONS 8

struct extension {
	__u8 next, length;
	__be16 fragment;
	__be32 more;
};

static __always_inline int find_transport6(struct __sk_buff *skb, struct part *p)
{
	struct {
		struct ipv6hdr ip;
		union {
			struct transport transport;
			struct extension extension;
		};
	} h;

	if (!load(skb, 0, &h, sizeof(h)))
		return 0;
	p->protocol = h.ip.nexthdr;
	p->offset = sizeof(h.ip);
	p->end = sizeof(h.ip) + bpf_ntohs(h.ip.payload_len);
	if (!h.ip.payload_len)
		p->end = 0;
	for (int i = 0; i < EXTENSIONS; i++) {
		__u32 length = (h.extension.length + 1) * 8;

		switch (p->protocol) {
		case IPPROTO_UDP:
		case IPPROTO_TCP:
			p->transport = h.transport;
			return 1;
		case IPPROTO_FRAGMENT:
			if (h.extension.fragment & bpf_htons(0xfff8))
				return 0;
			length = 8;
			break;
		case IPPROTO_AH:
			length = (h.extension.length + 2) * 4;
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
		p->protocol = h.extension.next;
		p->offset += length;
		if (!load(skb, p->offset, &h.extension, sizeof(h.extension)))
			return 0;
	}
	return 0;
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

SEC("classifier")
int ringfence(struct __sk_buff *skb)
{
	struct part part;
	__u32 class = NONE, length = find_payload(skb, &part);

	if (length >= SHORTEST && length <= MAX_LENGTH) {
		struct message *m = message();

		if (m && load(skb, part.offset, m->bytes, length))
			class = judge(m, length);
	}
	/* Whatever stood in the nibble before is not ours. */
	skb->mark = (skb->mark & ~MARK) | class << MARK_SHIFT;
	return TC_ACT_UNSPEC;
}

char __license[] SEC("license") = "GPL";
