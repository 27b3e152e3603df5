/*
 * The memory of datagrams in fragments as a BPF map, and bpf/lib/fragment.h on it. Include after flow_maps.h.
 */
#ifndef SLUICE_PROGS_FRAGMENT_MAPS_H
#define SLUICE_PROGS_FRAGMENT_MAPS_H

struct sluice_datagram_set;

SLUICE_ALWAYS_INLINE struct sluice_datagram_set *
sluice_datagrams_at(const struct sluice_flow_view *view, __u32 index);

#include "bpf/lib/fragment.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLUICE_DATAGRAM_SETS);
	__type(key, __u32);
	__type(value, struct sluice_datagram_set);
} sluice_datagrams SEC(".maps");

SLUICE_ALWAYS_INLINE struct sluice_datagram_set *
sluice_datagrams_at(const struct sluice_flow_view *view, __u32 index)
{
	return bpf_map_lookup_elem(&sluice_datagrams, &index);
}

#endif
