/*
 * ClientIP affinity: which backend a client has of a service. An array of buckets of eight; bpf/lib/affinity.h has the
 * protocol.
 *
 * The client is its address for traffic seen on devices, which is where pods' is seen (bpf/lib/hook_path.h). For the
 * node's own sockets, whose source address is not chosen yet in a hook, it is the network namespace: ffff:ffff:0:0 and
 * the namespace's cookie, which no unicast address begins with.
 */
#ifndef SLUICE_ABI_AFFINITY_H
#define SLUICE_ABI_AFFINITY_H

#include "api/abi/image.h"

#define SLUICE_AFFINITY_WAYS 8
#define SLUICE_AFFINITY_DEFAULT_ENTRIES 65536U
#define SLUICE_AFFINITY_BUCKETS(entries) ((entries) / SLUICE_AFFINITY_WAYS)

/* Time is CLOCK_MONOTONIC in units of 2^28 ns, about a quarter of a second: 32 bits last for 36 years. */
#define SLUICE_AFFINITY_TIME_SHIFT 28

/* A slot's word: state in bits 0-1, generation in 2-15, tag of the key in 16-31, time of last use in 32-63. */
#define SLUICE_AFFINITY_STATE_MASK 0x3ULL
#define SLUICE_AFFINITY_FREE 0ULL
#define SLUICE_AFFINITY_BUSY 1ULL /* being written */
#define SLUICE_AFFINITY_LIVE 2ULL
#define SLUICE_AFFINITY_GENERATION_ONE 0x4ULL
#define SLUICE_AFFINITY_GENERATION_MASK 0xfffcULL
#define SLUICE_AFFINITY_ID_MASK 0xfffffffcULL
#define SLUICE_AFFINITY_USED_SHIFT 32
/* A slot that has been BUSY for longer (17 s) was left by a writer that is no more. */
#define SLUICE_AFFINITY_BUSY_UNITS 64

struct sluice_affinity {
	struct sluice_address client;
	__u32 service; /* index */
	__u32 backend; /* index */
	__u32 incarnation;
	__u32 timeout; /* units; the service's when the client was last remembered */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_affinity) == 32, "affinity");

struct sluice_affinity_bucket {
	__u64 word[SLUICE_AFFINITY_WAYS]; /* one cache line */
	struct sluice_affinity entry[SLUICE_AFFINITY_WAYS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_affinity_bucket) == 320, "affinity bucket");

/* Lives as long as the table. All zero is valid: programs draw the seed, and the default size holds. */
struct sluice_affinity_config {
	__u64 seed;         /* of the hash; 0: not drawn yet */
	__u32 bucket_count; /* 0: the default */
	__u32 reserved0;
	__u64 displaced; /* clients forgotten before their time, for want of room in their bucket */
	__u64 reserved1[5];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_affinity_config) == 64, "affinity config");

#endif
