/* SPDX-License-Identifier: GPL-2.0 */

/* What a REGISTER is, where unknown sources may send nothing else. As in pkg/signature (register.go). */

#pragma once

#include "packet.h"
#include "text.h"

/* A line ends as none should, or there is a NUL. */
#define BROKEN (1 << 28)

/* How many blanks may be before a value. */
#define BLANKS 8

/* Whether a header's value, from a byte on, is one character. */
__noinline int is_value(__u32 at, __u32 value)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < BLANKS; i++) {
		if (!is_blank(byte_at(m, at)))
			break;
		at++;
	}
	return byte_at(m, at) == (value & 0xff) && is_break(byte_at(m, at + 1));
}

/* What is known of a contact when the next one begins: it stays, or it ends by itself. */
static __always_inline void close_contact(struct message *m)
{
	if (m->contact && m->ended)
		m->ends = 1;
	else if (m->contact)
		m->stays = 1;
	m->ended = 0;
}

/* Notes what a header that begins at a byte is: "Expires: 0" and "Contact: *" end a registration. */
__noinline int begin_header(__u32 at)
{
	struct message *m = message();
	__u64 name;

	if (!m)
		return 0;
	close_contact(m);
	m->contact = 0;
	m->quoted = 0;
	name = eight_at(m, at) | 0x20 * ONES;
	if (name == 0x3a73657269707865) {
		if (is_value(at + 8, '0'))
			m->every = 1;
		return 0;
	}
	if (name == 0x3a746361746e6f63)
		at += 8;
	else if ((name & 0xffff) == 0x3a6d)
		at += 2;
	else
		return 0;
	m->contact = 1;
	if (is_value(at, '*'))
		m->every = 1;
	return 0;
}

/*
 * Notes what a byte of a contact header means: another contact follows, what was before
 * belonged to the URI, or this contact ends by itself ("expires=0"). Quoted texts mean nothing.
 */
__noinline int read_contact(__u32 at)
{
	struct message *m = message();
	__u8 c, behind;

	if (!m)
		return 0;
	c = byte_at(m, at);
	if (c == '"') {
		if (byte_at(m, at - 1) != '\\')
			m->quoted ^= 1;
		return 0;
	}
	if (m->quoted)
		return 0;
	if (c == ',') {
		close_contact(m);
		return 0;
	}
	if (c == '>') {
		m->ended = 0;
		return 0;
	}
	if ((eight_at(m, at + 1) | 0x20 * ONES) != 0x3d73657269707865 || byte_at(m, at + 9) != '0')
		return 0;
	behind = byte_at(m, at + 10);
	if (behind == ';' || behind == ',' || is_blank(behind) || is_break(behind))
		m->ended = 1;
	return 0;
}

/*
 * Looks at bytes from one on, as far as SOME, and notes what ends a registration.
 * Returns where the headers end, with FOUND; BROKEN; else where to go on.
 */
__noinline __u32 some_headers(__u32 at, __u32 length)
{
	struct message *m = message();

	if (!m)
		return BROKEN;
	for (int i = 0; i < SOME; i++) {
		__u8 c, before;

		if (at >= length)
			break;
		c = byte_at(m, at);
		before = byte_at(m, at - 1);
		if (!c || (before == '\r' && c != '\n'))
			return BROKEN;
		if (before == '\n' && !is_blank(c))
			begin_header(at);
		else if (m->contact && (c == ';' || c == ',' || c == '>' || c == '"' || is_blank(c)))
			read_contact(at);
		if (c == '\n' && (before == '\n' || (before == '\r' && byte_at(m, at - 2) == '\n')))
			return at | FOUND;
		at++;
	}
	return at;
}

/* Where the headers end, with FOUND; without, they do not end. */
__noinline __u32 end_of_headers(__u32 at, __u32 length)
{
	for (int i = 0; i < MAX_LENGTH / SOME + 1; i++) {
		at = some_headers(at, length);
		if (at & (FOUND | BROKEN) || at >= length)
			break;
	}
	return at;
}

/*
 * Looks for a version of SIP, as far as SOME bytes: one that ends a line, so that this could
 * be a request line, or one with no slash behind it, as in a status line. In Via there is
 * one. Takes and returns the state of the line, as version_from does, VERSION_FOUND if there is one.
 */
__noinline __u32 some_version(__u32 at, __u32 length, __u32 state)
{
	struct message *m = message();

	if (!m)
		return VERSION_FOUND;
	for (int i = 0; i < SOME; i++) {
		__u32 class, index;
		__u64 text;

		if (at >= length)
			break;
		class = version_classes[byte_at(m, at)];
		index = state * VERSION_CLASSES + class;
		in_register(index);
		state = version_next[index & (VERSION_STATES * VERSION_CLASSES - 1)];
		if (state == VERSION_FOUND)
			break;
		if (state > VERSION_FOUND) {
			/* Another line begins with this byte. */
			in_register(class);
			state = version_next[class & (VERSION_CLASSES - 1)];
		}
		if (byte_at(m, at) == '/') {
			text = eight_at(m, at - 3);
			if ((text | 0x00202020) << 8 == 0x302e322f70697300 && text >> 56 != '/') {
				state = VERSION_FOUND;
				break;
			}
		}
		at++;
	}
	return anything(m, state);
}

/* Whether there is such a version from a byte on. */
__noinline int holds_version(__u32 at, __u32 length)
{
	__u32 state = 0;

	for (int i = 0; i < MAX_LENGTH / SOME + 1; i++) {
		if (at >= length)
			break;
		state = some_version(at, length, state);
		if (state == VERSION_FOUND)
			return 1;
		at += SOME;
	}
	return 0;
}

/* How far a URI of REGISTER goes. */
#define METHOD 9
#define URIS (STEP * WORD + WORD)

/* Where the first blank behind the method is, 0 if it is too far away. */
__noinline __u32 end_of_uri(void)
{
	struct message *m = message();
	__u64 keep = ~0ULL << (METHOD % WORD * 8);

	if (!m)
		return 0;
	for (__u32 at = METHOD & ~(WORD - 1); at < URIS; at += WORD) {
		__u64 word = word_at(m, at), found = (bytes_equal(word, ' ') | bytes_equal(word, '\t')) & keep;

		if (found)
			return at + below_lowest(found);
		keep = ~0ULL;
	}
	return 0;
}

/*
 * Whether a REGISTER by TCP is one however it is read. Servers repeat parts of it when they
 * refuse it, and of segments that overlap they read the end of the second one alone.
 */
static __always_inline int is_plain(struct message *m, __u32 length)
{
	__u32 headers = again(m->headers);

	/* A blank, "SIP/2.0" and the line's end. */
	return end_of_uri() + 9 == headers && !holds_version(headers, length);
}

/* Whether a message begins with "REGISTER " to the letter. */
static __always_inline int is_register(struct message *m)
{
	return eight_at(m, 0) == 0x5245545349474552 && byte_at(m, 8) == ' ';
}
