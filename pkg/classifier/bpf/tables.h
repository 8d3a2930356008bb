/* SPDX-License-Identifier: GPL-2.0 */

/* What the program knows, and what it keeps of the message that it reads. */

#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* As in pkg/signature. */
#define MAX_LENGTH 2048
#define SHORT_DATAGRAM 32
#define VERSION_FOUND 62
#define VERSION_STATES 64
#define VERSION_CLASSES 16

#define WORD 8
#define GROUP 4
#define BLOCK 32 /* the sieve's step */

/*
 * A state is four times its number in pkg/signature: a row of the table has 64
 * columns of two bytes, so the row begins at 32 times the state, and no state
 * that fits into two bytes leads out of the table.
 */
#define ROW_SHIFT 5
#define UNASKED 4	  /* in a header that nobody asks about */
#define UNASKED_REQUEST 8 /* the same of the request line */
#define ASKED 12	  /* the least state in which there is something to find */

#define BEHIND_RETURN 2

struct event {
	__u64 conditions; /* a bit for each */
	__u16 signature; /* from 1, 0 is none */
	__u8 ends, /* BEHIND_RETURN: and what it ends with may go on */
	      ban, allowed, unused[3];
};

__u16 next[(1 << 20) + 256];
__u8 classes[256]; /* twice the class: a column's place in its row */
struct event events[1 << 14];

/* A signature that wants several conditions; those of class ban come first. */
#define ROWS 64

struct row {
	__u64 need; /* 0 behind the last one */
	__u16 signature;
	__u8 ban, unused[5];
};

struct row rows[ROWS];

/* A text that leads from one state to another. */
#define SHORTCUTS (1 << 12)

struct shortcut {
	__u64 text[2]; /* the first byte the lowest, in lower case */
	__u64 fold[2]; /* 0x20 where the text has a letter */
	__u64 keep[2]; /* 0xff for each byte of the text */
	__u32 length;
	__u16 to, unused[5];
};

struct shortcut shortcuts[SHORTCUTS]; /* of the states from configuration.shortcut on */

#define SLOTS (1 << 14)
__u32 groups[SLOTS];
__u8 names[SLOTS]; /* of the group in the same slot */

/* Finds the version in a request line. */
__u8 version_classes[256];
__u8 version_next[VERSION_STATES * VERSION_CLASSES];

__u8 ports[2][1 << 13]; /* a bit for each port, by UDP and by all others */

struct configuration {
	__u32 multiplier, shift; /* of groups; the shift gives bytes */
	__u16 line, request;
	__u16 resting, shortcut, event, judging, sink;
	__u8 every_header, request_line, require_user_agent;
	__u8 bounded;	 /* what is read is bounded by a budget */
	__u8 mark_shift; /* of the lowest bit of the mark that is ours */
	__u8 registers;	 /* REGISTERs have classes of their own */
};

const volatile struct configuration configuration;

struct message {
	__u8 bytes[MAX_LENGTH]; /* behind length stands what the messages before have left */
	__u8 behind[BLOCK];
	__u32 length;
	__u32 headers; /* where the first header begins */
	__u32 sieved;  /* up to where the sieve has been */
	__u32 walked;  /* up to where whole headers have been read */
	__u32 kept;    /* for anything() */
	__u64 found;   /* conditions */
	__u16 signature;
	__u8 ban, allowed, every;
	__u8 contact, ended; /* the header is one of contacts; the contact ends by itself */
	__u8 ends, stays;    /* some contact of the message */
	__u8 quoted;         /* inside a quoted text of a contact */
};

/* How many messages a processor reads where that is bounded: one each millisecond. */
#define BUDGET_EACH 1000000
#define BUDGET_BURST 1000
#define BUDGET_TAKEN 16 /* at a time */

struct budget {
	__u64 since;
	__u64 left;
	__u64 taken;
	__u64 spent; /* the tick in which nothing was left */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

/* Connections of TCP whose last request was allowed: segments that begin in the middle belong to it. */
struct flow {
	__u32 source[4], destination[4];
	__be16 source_port, destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct flow);
	__type(value, __u32);
} flows SEC(".maps");

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

/* What hits are of. The program does not need it; the reader of the hits does. */
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
