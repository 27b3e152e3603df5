/*
 * The table of ClientIP affinity as BPF maps, for bpf/lib/affinity.h. Include after bpf/progs/maps.h and
 * bpf/lib/select.h. Shared by socket hooks and packet programs; outlives images.
 *
 * A loader may set the table's max_entries to SLUICE_AFFINITY_BUCKETS(entries) before load, with the same number in
 * sluice_aff_cfg.
 */
#ifndef SLUICE_PROGS_AFFINITY_H
#define SLUICE_PROGS_AFFINITY_H

#include "api/abi/affinity.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_AFFINITY_BUCKETS(SLUICE_AFFINITY_DEFAULT_ENTRIES));
	__type(key, __u32);
	__type(value, struct sluice_affinity_bucket);
} sluice_affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_affinity_config);
} sluice_aff_cfg SEC(".maps");

struct sluice_affinity_view {
	__u64 seed;
	__u32 bucket_count;
	__u32 now;
};

SLUICE_ALWAYS_INLINE int sluice_affinity_open(struct sluice_affinity_view *view)
{
	__u32 zero = 0;
	struct sluice_affinity_config *config = bpf_map_lookup_elem(&sluice_aff_cfg, &zero);

	if (!config)
		return 0;
	view->seed = sluice_seed_of(&config->seed);
	view->bucket_count = config->bucket_count ?
				     config->bucket_count :
				     SLUICE_AFFINITY_BUCKETS(SLUICE_AFFINITY_DEFAULT_ENTRIES);
	/* Cheaper clocks do not say how long their ticks are; this one is read for new connections only. */
	view->now = (__u32)(bpf_ktime_get_coarse_ns() >> SLUICE_AFFINITY_TIME_SHIFT);
	return 1;
}

SLUICE_ALWAYS_INLINE struct sluice_affinity_bucket *
sluice_affinity_at(const struct sluice_affinity_view *view, __u32 index)
{
	return bpf_map_lookup_elem(&sluice_affinity, &index);
}

SLUICE_ALWAYS_INLINE void sluice_affinity_count_displaced(const struct sluice_affinity_view *view)
{
	__u32 zero = 0;
	struct sluice_affinity_config *config = bpf_map_lookup_elem(&sluice_aff_cfg, &zero);

	if (config)
		__sync_fetch_and_add(&config->displaced, 1);
}

#include "bpf/lib/affinity.h"

#endif
