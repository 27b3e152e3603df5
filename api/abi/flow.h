/*
 * The flow table: which backend a flow goes to, and how its packets are rewritten in both directions.
 *
 * One table per family, an array of buckets. A flow is two halves, one keyed by the tuple its client sends
 * and one keyed by the tuple its backend answers with, so that one look-up finds a packet of either
 * direction; each half holds the rewritten tuple and points at the other. bpf/lib/README.md has the protocol of
 * claim, publish and evict.
 *
 * Addresses and ports are in network order; a tuple's ports lie in one word as in the packet, source first.
 */
#ifndef SLUICE_ABI_FLOW_H
#define SLUICE_ABI_FLOW_H

#include "api/abi/types.h"

#define SLUICE_FLOW_WAYS 8

/* A slot's word: state in bits 0-3, generation in 4-15, tag of the key in 16-31. All but the state is its id. */
#define SLUICE_FLOW_STATE_MASK 0xfU
#define SLUICE_FLOW_GENERATION_ONE 0x10U
#define SLUICE_FLOW_GENERATION_MASK 0xfff0U
#define SLUICE_FLOW_ID_MASK 0xfffffff0U

/* In the order of eviction, but for the first two. */
enum sluice_flow_state {
	SLUICE_FLOW_FREE = 0,
	SLUICE_FLOW_BUSY = 1,        /* claimed, not yet readable */
	SLUICE_FLOW_CLOSED = 2,      /* TCP: reset, or both sides sent FIN */
	SLUICE_FLOW_NEW = 3,         /* nothing came back yet */
	SLUICE_FLOW_ANSWERED = 4,    /* the backend answered, the client has sent nothing since */
	SLUICE_FLOW_CLOSING = 5,     /* TCP: one side sent FIN */
	SLUICE_FLOW_ESTABLISHED = 6, /* the client goes on after an answer */
};

/* meta.flags */
#define SLUICE_FLOW_REVERSE 0x1 /* keyed by what the backend sends */
#define SLUICE_FLOW_FIN 0x2     /* this direction sent FIN */
#define SLUICE_FLOW_SNAT 0x4    /* the client's address is hidden from the backend */
#define SLUICE_FLOW_DIRECT 0x8  /* no service's: only its source port was changed, for a flow had claimed it */
/* Direct server return: nothing comes back through here, so there is one half, which is its own peer. */
#define SLUICE_FLOW_TUNNEL 0x10
#define SLUICE_FLOW_OPTION 0x20
#define SLUICE_FLOW_LINK 0x80 /* goes on to the frontend as it came, in a frame to the backend's node */
#define SLUICE_FLOW_ONE_WAY (SLUICE_FLOW_TUNNEL | SLUICE_FLOW_OPTION | SLUICE_FLOW_LINK)
/* Those whose packets say which backend was chosen, and grow by it. */
#define SLUICE_FLOW_NAMED (SLUICE_FLOW_TUNNEL | SLUICE_FLOW_OPTION)
/* The backend's node of a flow by option: of the client only packets with the option are seen under its key. */
#define SLUICE_FLOW_RETURN 0x40

/*
 * In `evicted`: a half that belongs into this bucket may be in its second one, for here all were in use. Set by who has
 * the claim, and never taken back.
 */
#define SLUICE_FLOW_SPILLED 0x80000000U

/* One cache line at the head of each bucket: all that a miss reads. */
struct sluice_flow_set {
	__u32 claim; /* 1 while someone inserts into the bucket */
	__u32 evicted; /* flows displaced before their time; approximate, for people; and SLUICE_FLOW_SPILLED */
	__u8 protocol[SLUICE_FLOW_WAYS]; /* of the records, for eviction; may be 0 in tables of older releases */
	__u32 word[SLUICE_FLOW_WAYS];
	__u16 seen[SLUICE_FLOW_WAYS]; /* tick of the last packet, either direction */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_set) == 64, "flow set");

struct sluice_flow_meta {
	__u32 service;
	__u32 backend;
	__u32 incarnation; /* of the backend when it was chosen */
	__u32 peer;        /* the other half: bucket * SLUICE_FLOW_WAYS + slot */
	__u32 peer_id;     /* its word without the state */
	__u8 protocol;
	__u8 flags;
	__u16 reserved;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_meta) == 24, "flow meta");

struct sluice_flow4 {
	__u32 src_be, dst_be, ports_be;             /* key */
	__u32 new_src_be, new_dst_be, new_ports_be; /* what it becomes */
	struct sluice_flow_meta meta;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow4) == 48, "flow4");

struct sluice_flow6 {
	__u32 src_be[4], dst_be[4], ports_be;
	__u32 new_src_be[4], new_dst_be[4], new_ports_be;
	struct sluice_flow_meta meta;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow6) == 96, "flow6");

struct sluice_flow_bucket4 {
	struct sluice_flow_set set;
	struct sluice_flow4 entry[SLUICE_FLOW_WAYS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_bucket4) == 448, "flow bucket4");

struct sluice_flow_bucket6 {
	struct sluice_flow_set set;
	struct sluice_flow6 entry[SLUICE_FLOW_WAYS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_bucket6) == 832, "flow bucket6");

/* Buckets for a number of flows: two halves each, at full load. 2^19 flows: 56 MiB IPv4, 104 MiB IPv6. */
#define SLUICE_FLOW_BUCKETS(flows) ((flows) / (SLUICE_FLOW_WAYS / 2))
#define SLUICE_FLOW_DEFAULT_FLOWS (1U << 19)

/*
 * Lives as long as the tables, for it says how to read them. All zero is valid: the packet programs
 * then draw the seed themselves, and the default sizes hold.
 */
struct sluice_flow_config {
	__u64 seed;          /* of the hash; 0: not drawn yet */
	__u32 bucket_count4; /* 0: the default */
	__u32 bucket_count6; /* 0: the default */
	__u32 tick_shift;    /* jiffies >> tick_shift is a tick of about a second; 0: 8, right at 250 Hz */
	/* A second table of the family, while flows move between two (bpf/lib/flow_move.h). */
	__u32 other_count4;
	__u32 other_count6;
	__u32 mode; /* enum sluice_flow_mode */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_config) == 32, "flow config");
#define SLUICE_FLOW_DEFAULT_TICK_SHIFT 8

enum sluice_flow_mode {
	SLUICE_FLOW_ALONE = 0,  /* there is one table a family */
	SLUICE_FLOW_BESIDE = 1, /* what is not here is looked for in the other table, and left there */
	SLUICE_FLOW_MOVE = 2,   /* what is not here is looked for in the other table, and brought over */
};

/*
 * What becomes of the halves that the mover looks at (bpf/lib/flow_move.h); each pass begins with next4 and next6 zero.
 * A pass is the last when it counts no AGAIN.
 */
enum sluice_flow_carried {
	SLUICE_FLOW_CARRIED_NONE = 0, /* nobody there, or a reverse half, which its forward half brings along */
	SLUICE_FLOW_CARRIED_MOVED,
	SLUICE_FLOW_CARRIED_OVER,   /* its time was over, or its other half gone: forgotten */
	SLUICE_FLOW_CARRIED_EXISTS, /* the new table has one of its keys: left, and lost when the old table goes */
	SLUICE_FLOW_CARRIED_FULL,   /* its new buckets are full of flows in use: the same */
	SLUICE_FLOW_CARRIED_AGAIN,  /* another CPU was in the way: ask again */
};
struct sluice_flow_mover {
	__u32 next4; /* buckets of the old tables */
	__u32 next6;
	__u64 count[8]; /* [enum sluice_flow_carried] */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_flow_mover) == 72, "flow mover");

/*
 * Who remembers that a flow of direct return is established (bpf/lib/recent.h) learns here that one is not any more: a
 * number for each of so many groups of flows, which changes whenever one of the group leaves that state.
 */
#define SLUICE_FLOW_GROUPS 1024
struct sluice_flow_left {
	__u32 count[SLUICE_FLOW_GROUPS];
};

/* Bytes for each CPU to work in. */
#define SLUICE_FLOW_ROOM 352

/* Ticks (about seconds) without a packet after which a slot is free for others. */
#define SLUICE_FLOW_TIMEOUT_CLOSED 10
#define SLUICE_FLOW_TIMEOUT_NEW 60           /* TCP, SCTP */
#define SLUICE_FLOW_TIMEOUT_NEW_UDP 30
#define SLUICE_FLOW_TIMEOUT_CLOSING 120
#define SLUICE_FLOW_TIMEOUT_ESTABLISHED 28800 /* TCP, SCTP; must stay below half of the 16-bit clock */
#define SLUICE_FLOW_TIMEOUT_UDP 180
/* A flow in use more recently than this is not displaced while it is established, whatever the need. */
#define SLUICE_FLOW_PROTECTED_TICKS 60
/* The same of connections of which one side has said that it is done. */
#define SLUICE_FLOW_PROTECTED_CLOSING_TICKS 10

/*
 * The search for a free source port walks the range from a random place, in rounds. 64 rounds of 32 ports: when one
 * port in a hundred is free, all are taken in one search of 10^9.
 */
#define SLUICE_SNAT_ROUND 32
#define SLUICE_SNAT_ROUNDS 64

#endif
