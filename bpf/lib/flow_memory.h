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
	__u16 now; /* tick */
	__u16 reserved[3];
	struct sluice_flow_bucket4 *buckets4; /* [bucket_count4] */
	struct sluice_flow_bucket6 *buckets6; /* [bucket_count6] */
};

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

#endif
