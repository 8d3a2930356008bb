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

static __always_inline int is_break(__u8 c)
{
	return c == '\r' || c == '\n';
}

#define ONES 0x0101010101010101ULL

/* The bit 0x80 of each byte that is a certain one. */
static __always_inline __u64 bytes_equal(__u64 word, __u8 c)
{
	const __u64 low = 0x7f * ONES;
	__u64 x = word ^ c * ONES;

	return ~(((x & low) + low) | x | low);
}

static __always_inline __u64 line_feeds(__u64 word)
{
	return bytes_equal(word, '\n');
}

static __always_inline __u64 line_breaks(__u64 word)
{
	return bytes_equal(word, '\n') | bytes_equal(word, '\r');
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

/*
 * How many words are looked at at a time. The verifier follows all of them, but a function
 * that is not static only once: so a loop of calls is verified sooner than a long one.
 */
#define STEP 32
#define STEPS (MAX_LENGTH / WORD / (STEP - 1) + 2)

/* In what a step returns: it has found what it looks for, or knows that there is none. */
#define FOUND (1 << 30)
#define NONE_THERE (1 << 29)

/* The first line break from a byte on, with FOUND; without, where to go on; length or more if there is none. */
static __always_inline __u32 some_break(struct message *m, __u32 at, __u32 length)
{
	__u64 keep = ~0ULL << (at % WORD * 8);

	at &= ~(WORD - 1);
	for (int i = 0; i < STEP; i++) {
		__u64 found;

		if (at >= length)
			break;
		found = line_breaks(word_at(m, at)) & keep;
		if (found)
			return anything(m, (at + below_lowest(found)) | FOUND);
		keep = ~0ULL;
		at += WORD;
	}
	return anything(m, at);
}

__noinline __u32 next_break(__u32 at, __u32 length)
{
	struct message *m = message();

	return m ? some_break(m, at, length) : length;
}

/* The first line break from a byte on; length or more if there is none. */
__noinline __u32 line_break(__u32 at, __u32 length)
{
	for (int i = 0; i < STEPS; i++) {
		__u32 found = next_break(at, length);

		at = found & (FOUND - 1);
		if (found & FOUND || at >= length)
			break;
	}
	return at;
}

/* The last byte of a line break before a byte, with FOUND or NONE_THERE; without, where to go on. */
__noinline __u32 previous_break(__u32 at, __u32 floor)
{
	struct message *m = message();
	__u64 keep = ~(~0ULL << (at % WORD * 8));
	__u32 word = at & ~(WORD - 1);

	if (!m)
		return NONE_THERE;
	for (int i = 0; i < STEP; i++) {
		__u64 found = line_breaks(word_at(m, word)) & keep;

		if (found)
			return (word + up_to_highest(found) - 1) | FOUND;
		if (word <= floor)
			return NONE_THERE;
		word -= WORD;
		keep = ~0ULL;
	}
	return word + WORD;
}

/* The last byte of a line break before a byte; the byte itself if there is none from floor on. */
__noinline __u32 line_break_before(__u32 at, __u32 floor)
{
	__u32 from = at;

	for (int i = 0; i < STEPS; i++) {
		__u32 found = previous_break(from, floor);

		from = found & (NONE_THERE - 1);
		if (found & FOUND && from >= floor)
			return from;
		if (found & (FOUND | NONE_THERE))
			break;
	}
	return at;
}

/* How many bytes are looked at at a time: the verifier follows no more of them at once. */
#define SOME 64

/* Whether servers pass over a byte before a request line. */
static __always_inline int is_passed_over(__u8 c)
{
	return is_blank(c) || is_break(c) || !c;
}

/* How many bytes from one on are passed over, up to SOME. */
__noinline __u32 passed_over(__u32 at)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < SOME; i++)
		if (!is_passed_over(byte_at(m, at + i)))
			return i;
	return SOME;
}

/* Where the text begins, length if there is none. */
static __always_inline __u32 begin_of_text(struct message *m, __u32 length)
{
	__u32 at = 0;

	if (!is_passed_over(byte_at(m, 0)))
		return 0;
	for (int i = 0; i < MAX_LENGTH / SOME; i++) {
		__u32 passed = passed_over(at);

		at += passed;
		if (passed < SOME)
			break;
	}
	return at < length ? at : length;
}

/* Looks for the version from a byte on, as far as SOME bytes. Returns the state that it is in. */
__noinline __u32 version_from(__u32 at, __u32 length, __u32 state)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < SOME; i++) {
		__u32 index;

		if (at >= length)
			break;
		/* Linux 6.1 and older follow the bounds only if they are set last. */
		index = state * VERSION_CLASSES + version_classes[byte_at(m, at)];
		in_register(index);
		state = version_next[index & (VERSION_STATES * VERSION_CLASSES - 1)];
		if (state >= VERSION_FOUND)
			break;
		at++;
	}
	return state;
}

/* Whether the first line has a version, as pkg/signature says (request.go). */
__noinline int has_version(__u32 length)
{
	__u32 state = 0, line;

	for (int i = 0; i < MAX_LENGTH / SOME; i++) {
		state = version_from(i * SOME, length, state);
		if (state >= VERSION_FOUND)
			break;
	}
	line = state % 16;
	return state == VERSION_FOUND || (state < VERSION_FOUND && line >= 8 && line <= 10);
}

static __always_inline int is_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

/* Whether a text begins with "SIP/2.0", a blank and a status. */
__noinline int is_response(__u32 length)
{
	struct message *m = message();
	__u64 text;

	if (!m)
		return 0;
	text = eight_at(m, 0);
	return length >= 11 && ((text | 0x00202020) << 8 == 0x302e322f70697300) && is_blank(text >> 56) &&
	       is_digit(byte_at(m, 8)) && is_digit(byte_at(m, 9)) && is_digit(byte_at(m, 10));
}

/* Finds the request line. Returns where it is over, 0 if it is no request. */
static __always_inline __u32 find_request(struct message *m, __u32 length)
{
	__u64 text;
	__u32 end;

	/* "SIP/", the beginning of a response, perhaps. */
	if ((__u32)(eight_at(m, 0) | 0x00202020) == 0x2f706973 && is_response(length))
		return 0;
	end = some_break(m, 0, length);
	if (!(end & FOUND))
		end = line_break(end, length);
	end &= FOUND - 1;
	if (end >= length)
		return 0;
	/* What nearly all have: a blank, and "SIP/2.0". */
	if (end > WORD) {
		text = eight_at(m, end - WORD);
		if (is_blank(text) && (text | 0x20202000) >> 8 == 0x302e322f706973)
			return end + 1;
	}
	return has_version(length) ? end + 1 : 0;
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

/* Whether the headers end in the words of a step from one on, before a byte. */
__noinline int end_in_step(__u32 word, __u32 headers, __u32 before)
{
	struct message *m = message();
	__u64 last = 0;

	if (!m)
		return 0;
	/* The first one may end what the word before has begun. */
	if (word >= headers)
		last = line_feeds(word_at(m, word - WORD));
	for (int i = 0; i < STEP; i++) {
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

/* Whether the headers end before a byte. */
static __always_inline int headers_end(__u32 headers, __u32 before)
{
	__u32 word = (headers - 1) & ~(WORD - 1);

	for (int i = 0; i < STEPS; i++) {
		if (word >= before)
			break;
		if (end_in_step(word, headers, before))
			return 1;
		word += STEP * WORD;
	}
	return 0;
}
