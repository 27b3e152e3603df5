/*
 * The table image as BPF maps, and the view of it that bpf/lib wants. Include before
 * bpf/lib/lookup.h.
 *
 * Each map is one table of api/abi/image.h, written by user space through mmap. The sizes here are
 * the least; the loader creates the maps in the sizes it needs and hands them to every object, so
 * all programs share them.
 *
 * A map of one entry that every packet reads is a variable in a section of its own (SLUICE_DATA): its address stands in
 * the program, and nothing is looked up. Outside of the object it is a map like others.
 */
#ifndef SLUICE_PROGS_MAPS_H
#define SLUICE_PROGS_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "api/abi/drop_reasons.h"
#include "api/abi/image.h"
#include "bpf/lib/hash.h"

#define SLUICE_IMAGE_MAP(map_name, value_type, entries)                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, entries);                                                      \
		__type(key, __u32);                                                                \
		__type(value, value_type);                                                         \
	} map_name SEC(".maps")

/* The loader knows these sections by the names of their maps (dataplane/ebpf/object_maps.h). */
#define SLUICE_DATA(map_name) SEC(".data." #map_name)

struct sluice_header sluice_header SLUICE_DATA(sluice_header);
SLUICE_IMAGE_MAP(sluice_buckets, struct sluice_bucket, 1);
SLUICE_IMAGE_MAP(sluice_fronts, struct sluice_frontend, 1);
SLUICE_IMAGE_MAP(sluice_services, struct sluice_service, 1);
SLUICE_IMAGE_MAP(sluice_sets, struct sluice_set_slot, 1);
SLUICE_IMAGE_MAP(sluice_backends, struct sluice_backend, 1);
SLUICE_IMAGE_MAP(sluice_rings, struct sluice_ring_line, 1);
SLUICE_IMAGE_MAP(sluice_ranges, struct sluice_range, 1);
SLUICE_IMAGE_MAP(sluice_counters, struct sluice_service_counters, 1);
SLUICE_IMAGE_MAP(sluice_served, struct sluice_backend_counters, 1);
SLUICE_IMAGE_MAP(sluice_drops, __u64, 1);

/* The seed of a table that outlives programs: whoever comes first draws it, and all others take that one. */
SLUICE_ALWAYS_INLINE __u64 sluice_seed_of(__u64 *cell)
{
	__u64 seed = *(volatile __u64 *)cell;
	__u64 drawn;

	if (seed)
		return seed;
	drawn = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	seed = __sync_val_compare_and_swap(cell, 0, drawn);
	return seed ? seed : drawn;
}

struct sluice_view {
	const struct sluice_header *header;
};

/* Returns 0 when there is no image: then pass everything. (In BPF there always is one.) */
SLUICE_ALWAYS_INLINE int sluice_view_open(struct sluice_view *view)
{
	view->header = &sluice_header;
	return 1;
}

#define SLUICE_MAP_ACCESSOR(what, type, map)                                                       \
	SLUICE_ALWAYS_INLINE const struct type *sluice_view_##what(const struct sluice_view *view, \
								   __u32 index)                    \
	{                                                                                          \
		return bpf_map_lookup_elem(&map, &index);                                          \
	}

SLUICE_MAP_ACCESSOR(bucket, sluice_bucket, sluice_buckets)
SLUICE_MAP_ACCESSOR(frontend, sluice_frontend, sluice_fronts)
SLUICE_MAP_ACCESSOR(service, sluice_service, sluice_services)
SLUICE_MAP_ACCESSOR(set_slot, sluice_set_slot, sluice_sets)
SLUICE_MAP_ACCESSOR(backend, sluice_backend, sluice_backends)
SLUICE_MAP_ACCESSOR(ring_line, sluice_ring_line, sluice_rings)
SLUICE_MAP_ACCESSOR(range, sluice_range, sluice_ranges)
#undef SLUICE_MAP_ACCESSOR

/* Adds to a counter cell; atomic, for CPUs share rows and a hook can be interrupted by a packet. */
#define SLUICE_COUNT(cell, amount) __sync_fetch_and_add(&(cell), (amount))

/* The same for a cell of this CPU's row, in programs that packets run: without a bus lock where the row is its own. */
#define SLUICE_COUNT_IN_ROW(view, cell, amount)                         \
	do {                                                            \
		if ((view)->header->flags & SLUICE_HEADER_OWN_ROWS)     \
			*(volatile __u64 *)&(cell) += (amount);         \
		else                                                    \
			SLUICE_COUNT(cell, amount);                     \
	} while (0)

/* The row of counters that this CPU adds to. */
SLUICE_ALWAYS_INLINE __u32 sluice_counter_row(const struct sluice_view *view)
{
	return bpf_get_smp_processor_id() & (view->header->counter_rows - 1);
}

/* Where this CPU counts what a backend is given. */
SLUICE_ALWAYS_INLINE __u32 sluice_served_cell(const struct sluice_view *view, __u32 backend)
{
	return sluice_counter_row(view) * view->header->backend_capacity + backend;
}

/* What a backend was given; NULL if the index is outside the table. */
SLUICE_ALWAYS_INLINE struct sluice_backend_counters *
sluice_served_by(const struct sluice_view *view, __u32 backend)
{
	__u32 cell = sluice_served_cell(view, backend);

	return bpf_map_lookup_elem(&sluice_served, &cell);
}

/* For hooks, which a packet may interrupt. */
SLUICE_ALWAYS_INLINE void sluice_count_connection(const struct sluice_view *view, __u32 backend)
{
	struct sluice_backend_counters *served = sluice_served_by(view, backend);

	if (served)
		SLUICE_COUNT(served->connections, 1);
}

SLUICE_ALWAYS_INLINE void sluice_count_refused(const struct sluice_view *view, __u32 service)
{
	struct sluice_service_counters *counters = bpf_map_lookup_elem(&sluice_counters, &service);

	if (counters)
		SLUICE_COUNT(counters->refused, 1);
}

SLUICE_ALWAYS_INLINE void sluice_count_drop(__u32 reason)
{
	struct sluice_view view;
	__u32 cell;
	__u64 *count;

	if (!sluice_view_open(&view))
		return;
	cell = sluice_counter_row(&view) * SLUICE_DROP_STRIDE + reason;
	count = bpf_map_lookup_elem(&sluice_drops, &cell);
	if (count)
		SLUICE_COUNT(*count, 1);
}

#endif
