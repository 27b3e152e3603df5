/*
 * The flow tables as BPF maps, and the view of them that bpf/lib/flow.h wants. Include after
 * maps.h and before
 * bpf/lib/flow.h.
 *
 * The first three maps belong together and outlive images: a loader that keeps flows keeps all
 * three. max_entries of
 * the tables may be set before load to SLUICE_FLOW_BUCKETS(flows), with the same numbers in
 * sluice_flow_cfg. The two
 * "_old" maps have one entry and are not looked at, but while flows move (bpf/lib/README.md,
 * "Growth").
 */
#ifndef SLUICE_PROGS_FLOW_MAPS_H
#define SLUICE_PROGS_FLOW_MAPS_H

#include "api/abi/flow.h"
#include "bpf/lib/budget.h"

#define SLUICE_FLOW_MAP(map_name, value_type, entries) \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);      \
		__uint(map_flags, BPF_F_MMAPABLE);     \
		__uint(max_entries, entries);          \
		__type(key, __u32);                    \
		__type(value, value_type);             \
	} map_name SEC(".maps")

struct sluice_flow_config sluice_flow_cfg SLUICE_DATA(sluice_flow_cfg);
SLUICE_FLOW_MAP(sluice_flows4, struct sluice_flow_bucket4,
		SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS));
SLUICE_FLOW_MAP(sluice_flows6, struct sluice_flow_bucket6,
		SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS));
SLUICE_FLOW_MAP(sluice_flows4_old, struct sluice_flow_bucket4, 1);
SLUICE_FLOW_MAP(sluice_flows6_old, struct sluice_flow_bucket6, 1);

/* Of each group of flows: how often one of direct return was established and is so no longer. */
struct sluice_flow_left sluice_flow_left SLUICE_DATA(sluice_flow_left);

SLUICE_ALWAYS_INLINE void sluice_flow_note_left(__u32 group)
{
	__sync_fetch_and_add(&sluice_flow_left.count[group & (SLUICE_FLOW_GROUPS - 1)], 1);
}
#define SLUICE_FLOW_LEFT(group) sluice_flow_note_left(group)

/* How many refusals this CPU has answered in the current tick. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_reply_budget);
} sluice_replies SEC(".maps");

/* What the stack cannot hold (bpf/lib/flow_insert.h). Users run with softirqs off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, SLUICE_FLOW_ROOM);
} sluice_flow_room SEC(".maps");

SLUICE_ALWAYS_INLINE void *sluice_flow_room_at(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_flow_room, &zero);
}

/* What a packet needs to know of the tables; filled once per packet. */
struct sluice_flow_view {
	__u64 seed;
	__u32 bucket_count4;
	__u32 bucket_count6;
	__u32 other_count4;
	__u32 other_count6;
	__u16 now;  /* tick */
	__u16 mode; /* enum sluice_flow_mode */
	__u32 ticks; /* the same with more of its bits */
};

/* The sizes alone, for a first look; 0 if they are still to be settled. */
SLUICE_ALWAYS_INLINE int sluice_flow_view_peek(struct sluice_flow_view *view)
{
	const struct sluice_flow_config *config = &sluice_flow_cfg;

	view->seed = config->seed;
	view->bucket_count4 = config->bucket_count4;
	view->bucket_count6 = config->bucket_count6;
	view->mode = (__u16)config->mode;
	view->other_count4 = config->other_count4;
	view->other_count6 = config->other_count6;
	return view->seed && view->bucket_count4 && view->bucket_count6;
}

/* The time and the mode alone, for who may need no more. */
SLUICE_ALWAYS_INLINE void sluice_flow_view_time(struct sluice_flow_view *view)
{
	const struct sluice_flow_config *config = &sluice_flow_cfg;

	view->ticks = (__u32)(bpf_jiffies64() >> ((config->tick_shift ? config->tick_shift :
									SLUICE_FLOW_DEFAULT_TICK_SHIFT) & 31));
	view->now = (__u16)view->ticks;
	view->mode = (__u16)config->mode;
}

/* The rest. */
SLUICE_ALWAYS_INLINE void sluice_flow_view_sizes(struct sluice_flow_view *view)
{
	struct sluice_flow_config *config = &sluice_flow_cfg;

	view->seed = sluice_seed_of(&config->seed);
	view->bucket_count4 = config->bucket_count4 ?
				      config->bucket_count4 :
				      SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS);
	view->bucket_count6 = config->bucket_count6 ?
				      config->bucket_count6 :
				      SLUICE_FLOW_BUCKETS(SLUICE_FLOW_DEFAULT_FLOWS);
	view->other_count4 = config->other_count4;
	view->other_count6 = config->other_count6;
}

SLUICE_ALWAYS_INLINE int sluice_flow_view_open(struct sluice_flow_view *view)
{
	sluice_flow_view_time(view);
	sluice_flow_view_sizes(view);
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

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket4 *
sluice_flow_other4(const struct sluice_flow_view *view, __u32 index)
{
	return bpf_map_lookup_elem(&sluice_flows4_old, &index);
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket6 *
sluice_flow_other6(const struct sluice_flow_view *view, __u32 index)
{
	return bpf_map_lookup_elem(&sluice_flows6_old, &index);
}

#endif
