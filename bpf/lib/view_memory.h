/*
 * The tables as plain memory, for native users of bpf/lib: spans over mmap-ed BPF arrays, shared
 * memory or test buffers. Bounds come from the header, never from an entry.
 */
#ifndef SLUICE_LIB_VIEW_MEMORY_H
#define SLUICE_LIB_VIEW_MEMORY_H

#include "api/abi/image.h"
#include "bpf/lib/hash.h"

struct sluice_view {
	const struct sluice_header *header;
	const struct sluice_bucket *buckets;
	const struct sluice_frontend *frontends;
	const struct sluice_service *services;
	const struct sluice_set_slot *set_slots;
	const struct sluice_backend *backends;
	const struct sluice_ring_line *ring_lines;
	const struct sluice_range *ranges;
};

#define SLUICE_MEMORY_ACCESSOR(what, type, table, bound)                                           \
	SLUICE_ALWAYS_INLINE const struct type *sluice_view_##what(const struct sluice_view *view, \
								   __u32 index)                    \
	{                                                                                          \
		return index < view->header->bound ? &view->table[index] : 0;                      \
	}

SLUICE_MEMORY_ACCESSOR(bucket, sluice_bucket, buckets, bucket_count)
SLUICE_MEMORY_ACCESSOR(frontend, sluice_frontend, frontends, frontend_capacity)
SLUICE_MEMORY_ACCESSOR(service, sluice_service, services, service_capacity)
SLUICE_MEMORY_ACCESSOR(set_slot, sluice_set_slot, set_slots, set_slot_capacity)
SLUICE_MEMORY_ACCESSOR(backend, sluice_backend, backends, backend_capacity)
SLUICE_MEMORY_ACCESSOR(ring_line, sluice_ring_line, ring_lines, ring_line_capacity)
SLUICE_MEMORY_ACCESSOR(range, sluice_range, ranges, range_capacity)
#undef SLUICE_MEMORY_ACCESSOR

#endif
