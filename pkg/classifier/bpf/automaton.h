/* SPDX-License-Identifier: GPL-2.0 */

/* The automaton: how it is walked, and what comes of it. */

#pragma once

#include "text.h"

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
	if (at > m->headers && headers_end(m->headers, at - 1))
		return 1;
	if (state >= configuration.sink) {
		m->signature = (state - configuration.sink) / 4 + 1;
		m->ban = 1;
		return 1;
	}
	e = &events[state / 4 & ((1 << 14) - 1)];
	if (e->allowed)
		m->allowed = 1;
	if (e->ends && at < m->length) {
		__u8 c = byte_at(m, at);

		if (is_blank(c) || (e->ends == BEHIND_RETURN && is_break(c)))
			return 0;
	}
	m->found |= e->conditions;
	if (!e->signature)
		return 0;
	if (e->ban || !m->signature)
		m->signature = e->signature;
	m->ban = e->ban;
	return e->ban;
}

/* Takes up, at the end of the message, the first signature all of whose conditions were found. */
__noinline int conjoin(void)
{
	struct message *m = message();

	if (!m)
		return 0;
	for (int i = 0; i < ROWS; i++) {
		__u64 need = rows[i].need;

		if (!need)
			break;
		if ((m->found & need) != need)
			continue;
		if (rows[i].ban || !m->signature)
			m->signature = rows[i].signature;
		m->ban = rows[i].ban;
		return 1;
	}
	return 0;
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
#define STRETCHES 16
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
			at = line_break(at, length);
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

/* How many line breaks of one header are looked for; CR and LF are two. */
#define FOLDS 64

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
		return read_from(m, 0, configuration.request);
	for (int i = 0; i < FOLDS; i++) {
		__u32 found = line_break_before(line, m->walked);
		__u8 c;

		/* The header begins where it was read before, or goes on with the request line. */
		if (found == line || found + 1 < m->headers)
			return GO_ON;
		line = found;
		c = byte_at(m, line + 1);
		if (!is_blank(c) && !is_break(c)) {
			/* Behind a carriage return alone, a header may go on. */
			if (byte_at(m, line) == '\r')
				return TOO_MUCH;
			enum outcome outcome = read_from(m, line + 1, configuration.line);

			if (m->walked < at)
				m->walked = at;
			return outcome;
		}
	}
	return TOO_MUCH;
}
