/*
 * Where a packet leaves: a small set-associative cache of routing decisions by destination, so that a packet of a
 * known destination does not pay for a routing look-up (about 110 ns in BPF).
 *
 * A cache belongs to one CPU or lcore, which alone reads and writes it while it handles a packet: no MAC address can be
 * seen half written, and nothing is atomic. An entry holds for the tick (about a second) in which it was made; a
 * route or a neighbour that changes is followed within that time. The key is the destination alone: of several equal
 * routes one is used for a tick, and rules by source or mark are not seen.
 */
#ifndef SLUICE_LIB_NEXT_HOP_H
#define SLUICE_LIB_NEXT_HOP_H

#include "bpf/lib/tuple.h"

#define SLUICE_HOP_WAYS 4
#define SLUICE_HOP_SETS 512 /* a power of two; 84 KiB a CPU */

enum sluice_hop_kind {
	SLUICE_HOP_NONE = 0,
	SLUICE_HOP_FORWARD, /* MAC addresses and device are filled in, and the device can be sent to */
	SLUICE_HOP_STACK,   /* elsewhere, but not by this engine: no neighbour yet, or another kind of device */
	SLUICE_HOP_LOCAL,   /* this node itself, or nothing to forward by */
};

struct SLUICE_WHOLE_WORDS sluice_hop {
	struct sluice_address dst;
	__u8 mac[12]; /* as a frame begins: destination, source */
	__u32 ifindex;
	__u16 mtu; /* of the IP packet; 0: unknown */
	__u16 tick;
	__u8 kind; /* enum sluice_hop_kind */
	__u8 reserved[3];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_hop) == 40, "next hop");

struct sluice_hop_set {
	struct sluice_hop way[SLUICE_HOP_WAYS];
	__u32 next; /* the way that the next entry takes */
	__u32 reserved;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_hop_set) == 168, "next hop set");

SLUICE_ALWAYS_INLINE __u32 sluice_hop_set_of(const struct sluice_address *dst, const int v6)
{
	__u32 h = dst->word_be[3];

	if (v6)
		h ^= (dst->word_be[0] ^ dst->word_be[1] * 0x85ebca6bU) + dst->word_be[2] * 0xc2b2ae35U;
	h *= 0x9e3779b1U;
	return h >> 23 & (SLUICE_HOP_SETS - 1);
}

SLUICE_ALWAYS_INLINE int sluice_hop_is(const struct sluice_hop *hop, const struct sluice_address *dst,
				       __u16 tick, const int v6)
{
	__u32 differs = (hop->dst.word_be[3] ^ dst->word_be[3]) | (hop->dst.word_be[2] ^ dst->word_be[2]) |
			(__u32)(hop->tick ^ tick);

	if (v6)
		differs |= (hop->dst.word_be[0] ^ dst->word_be[0]) | (hop->dst.word_be[1] ^ dst->word_be[1]);
	return !differs && hop->kind;
}

/* The way that holds the destination, or SLUICE_HOP_WAYS if none of this tick does. */
SLUICE_ALWAYS_INLINE __u32 sluice_hop_find(const struct sluice_hop_set *set, const struct sluice_address *dst,
					   __u16 tick, const int v6)
{
	if (sluice_hop_is(&set->way[0], dst, tick, v6))
		return 0;
	if (sluice_hop_is(&set->way[1], dst, tick, v6))
		return 1;
	if (sluice_hop_is(&set->way[2], dst, tick, v6))
		return 2;
	return sluice_hop_is(&set->way[3], dst, tick, v6) ? 3 : SLUICE_HOP_WAYS;
}

/* The entry to fill for a destination that is not there: its own of an earlier tick, else the ways take turns. */
SLUICE_ALWAYS_INLINE struct sluice_hop *sluice_hop_take(struct sluice_hop_set *set,
							const struct sluice_address *dst)
{
	struct sluice_hop *hop;
	__u32 i;

	for (i = 0; i < SLUICE_HOP_WAYS; i++) {
		hop = &set->way[i];
		if (hop->dst.word_be[3] == dst->word_be[3] && hop->dst.word_be[2] == dst->word_be[2] &&
		    hop->dst.word_be[1] == dst->word_be[1] && hop->dst.word_be[0] == dst->word_be[0])
			return hop;
	}
	i = set->next & (SLUICE_HOP_WAYS - 1);
	set->next = i + 1;
	hop = &set->way[i];
	hop->dst = *dst;
	return hop;
}

#endif
