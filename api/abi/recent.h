/*
 * Flows that XDP had a packet of a moment ago (bpf/lib/recent.h). User space makes the sets and draws the keys; it
 * reads neither.
 */
#ifndef SLUICE_ABI_RECENT_H
#define SLUICE_ABI_RECENT_H

#include "api/abi/types.h"

#define SLUICE_RECENT_WAYS 8
/* Destinations that a CPU's flows may have in a tick, by the backend's index modulo this; a power of two. */
#define SLUICE_RECENT_PLACES 1024
/* The most 32-bit words that a digest is over. */
#define SLUICE_RECENT_WORDS 9

/* Of one CPU, a cache line. From the lowest bit: the destination's number, bits of the tick, a digest; 0: none. */
struct sluice_recent_set {
	__u64 entry[SLUICE_RECENT_WAYS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_recent_set) == 64, "recent set");

/* Random. */
struct sluice_recent_keys {
	__u64 first[SLUICE_RECENT_WORDS + 1];
	__u64 second[SLUICE_RECENT_WORDS + 1];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_recent_keys) == 160, "recent keys");

#endif
