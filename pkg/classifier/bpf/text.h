/* SPDX-License-Identifier: GPL-2.0 */

/* Bytes and lines of a message. */

#pragma once

#include "tables.h"

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

/* How many bytes of white space are passed over at a time: the verifier follows no more of them at once. */
#define SPACES 256

static __always_inline int is_space(__u8 c)
{
	return is_blank(c) || c == '\r';
}

/* How many bytes from one on are line breaks and white space, up to SPACES. */
__noinline __u32 space_from(__u32 at)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < SPACES; i++) {
		__u8 c = byte_at(m, at + i);

		if (!is_space(c) && c != '\n')
			return i;
	}
	return SPACES;
}

/* How many bytes before one are white space, up to SPACES. */
__noinline __u32 space_before(__u32 at)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < SPACES; i++)
		if (!is_space(byte_at(m, at - 1 - i)))
			return i;
	return SPACES;
}

/* Where something else than line breaks and white space begins. */
__noinline __u32 first_text(void)
{
	__u32 at = 0;

	for (int i = 0; i < MAX_LENGTH / SPACES; i++) {
		__u32 space = space_from(at);

		at += space;
		if (space < SPACES)
			break;
	}
	return at;
}

/* The end of a line without the white space there; the line has something else. */
__noinline __u32 trim(__u32 end)
{
	for (int i = 0; i < MAX_LENGTH / SPACES; i++) {
		__u32 space = space_before(end);

		end -= space;
		if (space < SPACES)
			break;
	}
	return end;
}

/* Finds the request line. Returns where the first header begins, 0 if it is no request. */
static __always_inline __u32 find_request(struct message *m, __u32 length)
{
	__u32 start = 0, end, last;
	__u64 text = eight_at(m, 0);
	__u8 c = text;

	if (is_blank(c) || c == '\r' || c == '\n') {
		start = first_text();
		text = eight_at(m, start);
	}
	/* "SIP/", the beginning of a response. */
	if ((__u32)(text | 0x00202020) == 0x2f706973)
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

/*
 * Whether a word may hold a line feed: always if it does, and hardly ever if it
 * holds nothing else than letters, digits and signs. With 0x60 added to them,
 * these have their bit 0x80 set.
 */
static __always_inline int may_feed(__u64 word)
{
	return ((word + 0x60 * ONES) & 0x80 * ONES) != 0x80 * ONES;
}

/* Whether the headers end before a byte. */
static __always_inline int headers_end(struct message *m, __u32 headers, __u32 before)
{
	__u32 word = (headers - 1) & ~(WORD - 1);
	__u64 last = 0;

	for (int i = 0; i < MAX_LENGTH / WORD; i++) {
		__u64 text, found = 0;

		if (word >= before)
			break;
		text = word_at(m, word);
		if (may_feed(text)) {
			found = line_feeds(text);
			/* Two line feeds with nothing between them, or one byte. */
			if (found & (found << 8 | last >> 56 | found << 16 | last >> 48) && ends_in(word, headers, before))
				return 1;
		}
		last = found;
		word += WORD;
	}
	return 0;
}
