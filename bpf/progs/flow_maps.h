/*
 * The flow tables as BPF maps, and the view of them that bpf/lib/flow.h wants. Include after maps.h and before
 * bpf/lib/flow.h.
 *
 * The three maps belong together and outlive images: a loader that keeps flows keeps all three. max_entries of the
 * tables may be set before load to SLUICE_FLOW_BUCKETS(flows), with the same numbers in sluice_flow_cfg.
 */
#ifndef SLUICE_PROGS_FLOW_MAPS_H
#define SLUICE_PROGS_FLOW_MAPS_H

#include "api/abi/flow.h"

#define SLUICE_FLOW_MAP(map_name, value_type, entries) \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);      \
		__uint(map_flags, BPF_F_MMAPABLE);     \
		__uint(max_entries, entries);          \
		__type(key, __u32);                    \
		__type(value, value_type);             \
	} map_name SEC(".maps")

SLUICE_FLOW_MAP(sluice_flow_cfg, struct sluice_flow_config, 1);
SLUICE_FLOW_MAP(sluice_flows4, struct sluice_flow_bucket4,
		SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS));
SLUICE_FLOW_MAP(sluice_flows6, struct sluice_flow_bucket6,
		SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS));

/* How many refusals this CPU has answered in the current tick. */
struct sluice_reply_budget {
	__u32 tick;
	__u32 answered;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_reply_budget);
} sluice_replies SEC(".maps");

/* What a packet needs to know of the tables; filled once per packet. */
struct sluice_flow_view {
	__u64 seed;
	__u32 bucket_count4;
	__u32 bucket_count6;
	__u16 now; /* tick */
	__u16 reserved[3];
};

SLUICE_ALWAYS_INLINE int sluice_flow_view_open(struct sluice_flow_view *view)
{
	__u32 zero = 0;
	struct sluice_flow_config *config = bpf_map_lookup_elem(&sluice_flow_cfg, &zero);
	__u64 drawn;

	if (!config)
		return 0;
	view->seed = *(volatile __u64 *)&config->seed;
	if (!view->seed) {
		drawn = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
		view->seed = __sync_val_compare_and_swap(&config->seed, 0, drawn);
		if (!view->seed)
			view->seed = drawn;
	}
	view->bucket_count4 = config->bucket_count4 ?
				      config->bucket_count4 :
				      SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS);
	view->bucket_count6 = config->bucket_count6 ?
				      config->bucket_count6 :
				      SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS);
	view->now = (__u16)(bpf_jiffies64() >> ((config->tick_shift ? config->tick_shift :
								      SLUICE_FLOW_DEFAULT_TICK_SHIFT) & 31));
	view->reserved[0] = view->reserved[1] = view->reserved[2] = 0;
	return 1;
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket4 *
sluice_flow_at4(const struct sluice_flow_view *view, __u32 index)
{
	return bpf_map_lookup_elem(&sluice_flows4, &index);
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket6 *
sluice_flow_at6(const struct sluice_flow_view *view, __u32 index)
{
	return bpf_map_lookup_elem(&sluice_flows6, &index);
}

#endif
