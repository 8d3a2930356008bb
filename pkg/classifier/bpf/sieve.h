/* SPDX-License-Identifier: GPL-2.0 */

/* The sieve: where in a message it is worth while to walk the automaton. */

#pragma once

#include "automaton.h"

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
static __always_inline __u64 sieve(struct message *m, __u32 at, __u32 length)
{
	__u32 multiplier = configuration.multiplier, shift = configuration.shift, g;
	const __u8 *table = (const __u8 *)groups;

	in_register(table);
	in_register(multiplier);
	in_register(shift);
	for (int i = 0; i < MAX_LENGTH / BLOCK + 1; i++) {
		if (at >= length)
			return length;
		SAMPLE(0); SAMPLE(1); SAMPLE(2); SAMPLE(3); SAMPLE(4); SAMPLE(5); SAMPLE(6); SAMPLE(7);
		at += BLOCK;
	}
	return length;
hit:
	g = group_at(m, at, 0);
	return at | (__u64)names[(g * multiplier >> shift) / 4 & (SLOTS - 1)] << 32;
}

/* How many bytes of a header are read without a call, up to each shortcut. */
#define GLANCE 32
/* How many shortcuts are taken. */
#define GLANCES 4
/* How far back the beginning of a header is looked for without one. */
#define NEAR 128

/* Takes a state's shortcut, if it is what the message goes on with. Returns its length, else 0. */
static __always_inline __u32 take_shortcut(struct message *m, __u32 at, __u32 *state)
{
	__u32 place = (*state - configuration.shortcut) * (sizeof(struct shortcut) / 4);
	const struct shortcut *s =
		(const void *)((const __u8 *)shortcuts + (place & (SHORTCUTS - 1) * sizeof(*s)));

	if ((((eight_at(m, at) | s->fold[0]) ^ s->text[0]) & s->keep[0]) |
	    (((eight_at(m, at + WORD) | s->fold[1]) ^ s->text[1]) & s->keep[1]))
		return 0;
	*state = s->to;
	return s->length;
}

/*
 * Reads what begins at a byte, from a state on, until that is below the state stop
 * or says something. Returns the state, and where that is in at.
 */
static __always_inline __u32 glance(struct message *m, __u32 *at, __u32 state, __u32 stop)
{
	__u32 width = configuration.shortcut - stop;
	const __u8 *table = (const __u8 *)next, *column = classes;

	in_register(table);
	in_register(column);
	for (int n = 0; n < GLANCES; n++) {
		__u32 i = 0, length;

		do {
			state = next_state(table, column, state, byte_at(m, *at + i));
			i++;
		} while (state - stop < width && i < GLANCE);
		*at = anything(m, *at + i);
		state = anything(m, state);
		if (state < configuration.shortcut || state >= configuration.event)
			break;
		length = take_shortcut(m, *at, &state);
		*at = anything(m, *at + length);
		if (state >= configuration.event)
			break;
	}
	return anything(m, state);
}

/* Where the line begins that a byte is in, 0 for the first one and if that is too far away. */
static __always_inline __u32 line_start(struct message *m, __u32 at)
{
	__u64 keep = ~(~0ULL << (at % WORD * 8));
	__u32 word = at & ~(WORD - 1), start = 0;

	for (int i = 0; i < NEAR / WORD; i++) {
		__u64 found = line_breaks(word_at(m, word)) & keep;

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

/* Reads the header in which the sieve finds something next. Returns an outcome. */
__noinline int read_next(void)
{
	struct message *m = message();
	__u32 at, name, start, end, state, stop, length, walked;
	__u64 hit;

	if (!m)
		return JUDGED;
	length = m->length;
	walked = m->walked;
	hit = sieve(m, m->sieved, length);
	at = hit;
	name = hit >> 32;
	if (at >= length)
		return JUDGED;
	m->sieved = at + GROUP;
	if (name) {
		/* What the sieve finds in the value is not read with this. */
		stop = configuration.resting;
		start = at - name + 2;
		if (start < m->headers || start >= length || !is_break(byte_at(m, start - 1)))
			return GO_ON;
	} else {
		if (at < walked)
			return GO_ON;
		stop = ASKED;
		start = line_start(m, at);
		if (start < m->headers || is_blank(byte_at(m, start)) || is_break(byte_at(m, start)))
			return read_header(at);
		/* Behind a carriage return alone, a header may go on. */
		if (byte_at(m, start - 1) == '\r')
			return TOO_MUCH;
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
			return GO_ON;
	}
	m->walked = walked;
	return GO_ON;
}

/* How many hits of the sieve are worth while. */
#define HITS 16

/* Reads what the sieve finds. Returns an outcome. */
static __always_inline int read_hits(struct message *m)
{
	m->sieved = 0;
	for (int i = 0; i < HITS; i++) {
		int outcome = read_next();

		if (outcome != GO_ON)
			return outcome;
	}
	return TOO_MUCH;
}

/* Reads what of the request line the sieve does not know. Returns whether the message is judged. */
static __always_inline int read_request(struct message *m)
{
	__u32 at = 0;

	return glance(m, &at, configuration.request, configuration.resting) >= configuration.resting &&
	       walk(0, configuration.request, configuration.resting);
}

/* Reads all headers one after the other. */
static __always_inline void read_all(struct message *m)
{
	m->every = 1;
	m->signature = m->allowed = 0;
	m->found = 0;
	walk(0, configuration.request, ASKED);
}
