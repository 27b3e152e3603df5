/*
 * Flows that XDP had a packet of a moment ago (bpf/lib/recent.h). User space makes the sets and draws the keys; it reads
 * neither.
 */
#ifndef SLUICE_ABI_RECENT_H
#define SLUICE_ABI_RECENT_H

#include "api/abi/types.h"

#define SLUICE_RECENT_WAYS 8
/* The most 32-bit words that a digest is over. */
#define SLUICE_RECENT_WORDS 11

/* Of one CPU, a cache line. From the lowest bit: the destination's number, a few bits of the tick, a digest; 0: none. */
struct sluice_recent_set {
	__u64 entry[SLUICE_RECENT_WAYS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_recent_set) == 64, "recent set");

/* Random, and the same for all programs that share the sets. first[0] is 0 until they are drawn. */
struct sluice_recent_keys {
	__u64 first[SLUICE_RECENT_WORDS + 1];
	__u64 second[SLUICE_RECENT_WORDS + 1];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_recent_keys) == 192, "recent keys");

#endif
