/*
 * Flows that had a packet in this tick, in a few bytes each: beyond the caches one look at the flow table costs more
 * than all else that XDP does with a packet, and 64,000 flows of eight bytes fit where their records do not.
 *
 * A set of eight entries belongs to one CPU, which alone reads and writes it while it handles a packet. An entry is a
 * digest of the tuple, of the family, of the tick and of how many flows of its group have ended (SLUICE_FLOW_LEFT), and
 * the number of a destination, which is as short-lived. So each flow is looked up in its table once a tick (about a
 * second), which keeps it young; and when one ends, wherever that is seen, all CPUs look those of its group up again.
 *
 * The digest is two multilinear hashes (Lemire and Kaser, "Strongly universal string hashing is fast", 2014) with
 * secret keys: whoever does not know them finds no two tuples that are taken for each other more often than by chance,
 * which is 2^-62 for two tuples and 2^-45 for a packet of a flow that is not here.
 */
#ifndef SLUICE_LIB_RECENT_H
#define SLUICE_LIB_RECENT_H

#include "api/abi/recent.h"
#include "bpf/lib/next_hop.h"

/* Where packets of a tunnel go, in the tick that it names. */
struct sluice_recent_place {
	struct sluice_hop hop; /* its `dst` is the backend's address */
	__u32 backend;
	__u32 incarnation;
	__u32 cell; /* of the backend's counters in this CPU's row */
	__u32 ticks;
	__u16 port_be; /* of the backend */
	__u16 used;    /* 0: nobody's yet */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_recent_place) == 64, "recent place");

/*
 * Frontends by address and port: the tick in which one of their flows could have been put here. Others' packets need
 * not be looked for.
 */
#define SLUICE_RECENT_FRONTS 1024
struct sluice_recent_fronts {
	__u32 ticks[SLUICE_RECENT_FRONTS];
};

SLUICE_ALWAYS_INLINE __u32 sluice_recent_front_of(const struct sluice_tuple *tuple)
{
	return sluice_group_among(tuple->dst.word_be[3] ^ tuple->ports.port_be[SLUICE_DESTINATION],
				  SLUICE_RECENT_FRONTS);
}

/* The tick's lowest bits, in an entry: who is of another tick gives way first. One more bit, so that none is 0. */
#define SLUICE_RECENT_TICK_MASK 0xf800ULL
#define SLUICE_RECENT_TICK_SHIFT 11

struct sluice_recent_key {
	__u32 point; /* uniform over 32 bits: point * sets >> 32 is the set; at most 2^16 of them */
	__u32 reserved;
	__u64 tag; /* an entry but for the destination's number; never 0 */
};

SLUICE_ALWAYS_INLINE void sluice_recent_add(const volatile struct sluice_recent_keys *keys, __u64 *first, __u64 *second,
					    __u32 i, __u32 word)
{
	*first += keys->first[i + 1] * word;
	*second += keys->second[i + 1] * word;
#ifdef __bpf__
	/* One after the other: with all products at once there are not enough registers. */
	__asm__ volatile("" : "+r"(*first), "+r"(*second));
#endif
}

/*
 * Of a tuple with ports, TCP's or UDP's. `ticks`: since the machine started, below 2^30. `left`: of the flow's group,
 * read before the flow table is. `to`: sluice_hash_address of the destination, which stands for it with IPv6: who sends
 * a packet chooses among the few addresses that frontends have.
 */
SLUICE_ALWAYS_INLINE struct sluice_recent_key sluice_recent_key_of(const volatile struct sluice_recent_keys *keys,
								   const struct sluice_tuple *tuple, __u64 to,
								   __u32 ticks, __u32 left, const int v6)
{
	__u64 first = keys->first[0];
	__u64 second = keys->second[0];
	struct sluice_recent_key key = {};
	__u32 i;

	sluice_recent_add(keys, &first, &second, 0,
			  ticks << 2 | (v6 ? 2U : 0) | (tuple->protocol == SLUICE_IPPROTO_UDP));
	sluice_recent_add(keys, &first, &second, 1, tuple->ports.both_be);
	sluice_recent_add(keys, &first, &second, 2, tuple->src.word_be[3]);
	sluice_recent_add(keys, &first, &second, 3, left);
	sluice_recent_add(keys, &first, &second, 4, v6 ? (__u32)to : tuple->dst.word_be[3]);
	if (v6) {
#if defined(__bpf__)
#pragma unroll
#endif
		for (i = 0; i < 3; i++)
			sluice_recent_add(keys, &first, &second, 5 + i, tuple->src.word_be[i]);
		sluice_recent_add(keys, &first, &second, 8, (__u32)(to >> 32));
	}
	/*
	 * The high 32 bits of each are what counts. They are linear: neighbours may lie close together. What spreads
	 * them over the sets takes no two of them for one. The set has the 16 highest bits, the tag the others.
	 */
	first = (first & 0xffffffff00000000ULL) | second >> 32;
	first = (first ^ first >> 32) * 0xd6e8feb86659fd93ULL;
	first = (first ^ first >> 32) * 0xa0761d6478bd642fULL;
	key.point = (__u32)(first >> 32);
	key.tag = first << 16 | (ticks << SLUICE_RECENT_TICK_SHIFT & SLUICE_RECENT_TICK_MASK) | SLUICE_RECENT_PLACES;
	return key;
}

/* The destination's number, or SLUICE_RECENT_PLACES if there is none. */
SLUICE_ALWAYS_INLINE __u32 sluice_recent_find(const struct sluice_recent_set *set, __u64 tag)
{
	__u64 differs;
	int i;

#if defined(__bpf__)
#pragma unroll
#endif
	for (i = 0; i < SLUICE_RECENT_WAYS; i++) {
		differs = set->entry[i] ^ tag;
		if (differs < SLUICE_RECENT_PLACES)
			return (__u32)differs;
	}
	return SLUICE_RECENT_PLACES;
}

/*
 * REQUIRES: the tag is not there. Takes the place of one of another tick, else of the last: where more flows come in
 * turn than there are entries, most of them stay.
 */
SLUICE_ALWAYS_INLINE void sluice_recent_put(struct sluice_recent_set *set, __u64 tag, __u32 place)
{
	__u64 entry = tag | (place & (SLUICE_RECENT_PLACES - 1));
	int i;

#if defined(__bpf__)
#pragma unroll
#endif
	for (i = 0; i < SLUICE_RECENT_WAYS - 1; i++) {
		if (!set->entry[i] || ((set->entry[i] ^ tag) & SLUICE_RECENT_TICK_MASK)) {
			set->entry[i] = entry;
			return;
		}
	}
	set->entry[SLUICE_RECENT_WAYS - 1] = entry;
}

/* Makes the place stand for a destination. Returns 0 if it is another one's in this tick: entries may point at it. */
SLUICE_ALWAYS_INLINE int sluice_recent_settle(struct sluice_recent_place *place, __u32 ticks,
					      const struct sluice_hop *hop, __u32 backend, __u32 incarnation,
					      __u16 port_be, __u32 cell)
{
	if (place->used && place->ticks == ticks)
		return place->backend == backend && place->incarnation == incarnation &&
		       place->port_be == port_be && place->cell == cell &&
		       ((place->hop.dst.word_be[0] ^ hop->dst.word_be[0]) |
			(place->hop.dst.word_be[1] ^ hop->dst.word_be[1]) |
			(place->hop.dst.word_be[2] ^ hop->dst.word_be[2]) |
			(place->hop.dst.word_be[3] ^ hop->dst.word_be[3])) == 0;
	place->hop = *hop;
	place->backend = backend;
	place->incarnation = incarnation;
	place->cell = cell;
	place->ticks = ticks;
	place->port_be = port_be;
	place->used = 1;
	return 1;
}

#endif
