/*
 * The flow tables as plain memory, for native users of bpf/lib/flow.h. Include before it.
 */
#ifndef SLUICE_LIB_FLOW_MEMORY_H
#define SLUICE_LIB_FLOW_MEMORY_H

#include "api/abi/flow.h"
#include "bpf/lib/hash.h"

struct sluice_flow_view {
	__u64 seed;
	__u32 bucket_count4;
	__u32 bucket_count6;
	__u32 other_count4;
	__u32 other_count6;
	__u16 now; /* tick */
	__u16 mode; /* enum sluice_flow_mode */
	struct sluice_flow_bucket4 *buckets4; /* [bucket_count4] */
	struct sluice_flow_bucket6 *buckets6; /* [bucket_count6] */
	struct sluice_flow_bucket4 *others4;  /* [other_count4] */
	struct sluice_flow_bucket6 *others6;  /* [other_count6] */
};

SLUICE_ALWAYS_INLINE void *sluice_flow_room_at(void)
{
#ifdef SLUICE_FLOW_ROOM_OF_ACTOR
	return SLUICE_FLOW_ROOM_OF_ACTOR();
#else
	static __thread __u64 room[SLUICE_FLOW_ROOM / 8];

	return room;
#endif
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket4 *
sluice_flow_at4(const struct sluice_flow_view *view, __u32 index)
{
	return index < view->bucket_count4 ? &view->buckets4[index] : 0;
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket6 *
sluice_flow_at6(const struct sluice_flow_view *view, __u32 index)
{
	return index < view->bucket_count6 ? &view->buckets6[index] : 0;
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket4 *
sluice_flow_other4(const struct sluice_flow_view *view, __u32 index)
{
	return index < view->other_count4 ? &view->others4[index] : 0;
}

SLUICE_ALWAYS_INLINE struct sluice_flow_bucket6 *
sluice_flow_other6(const struct sluice_flow_view *view, __u32 index)
{
	return index < view->other_count6 ? &view->others6[index] : 0;
}

#endif
