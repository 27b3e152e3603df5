/*
 * The affinity table as plain memory, for native users of bpf/lib/affinity.h. Include before it.
 * One table a process
 * image: sluice_affinity_table says which, and must be set before packets are.
 */
#ifndef SLUICE_LIB_AFFINITY_MEMORY_H
#define SLUICE_LIB_AFFINITY_MEMORY_H

#include "api/abi/affinity.h"
#include "bpf/lib/hash.h"

struct sluice_affinity_view {
	__u64 seed;
	__u32 bucket_count;
	__u32 now;
	struct sluice_affinity_bucket *buckets; /* [bucket_count]; NULL: nothing is remembered */
	struct sluice_affinity_config *config;
};

/* Each thread's own view, so that each has its own clock. */
static __thread struct sluice_affinity_view sluice_affinity_table __attribute__((unused));

SLUICE_ALWAYS_INLINE int sluice_affinity_open(struct sluice_affinity_view *view)
{
	*view = sluice_affinity_table;
	return view->buckets != 0;
}

SLUICE_ALWAYS_INLINE struct sluice_affinity_bucket *
sluice_affinity_at(const struct sluice_affinity_view *view, __u32 index)
{
	return index < view->bucket_count ? &view->buckets[index] : 0;
}

SLUICE_ALWAYS_INLINE void sluice_affinity_count_displaced(const struct sluice_affinity_view *view)
{
	__atomic_fetch_add(&view->config->displaced, 1, __ATOMIC_RELAXED);
}

#endif
