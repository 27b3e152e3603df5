/*
 * Which backend of a set: at random, uniformly or by weight, or by consistent hash. Include after
 * bpf/lib/lookup.h, whose view it uses.
 */
#ifndef SLUICE_LIB_SELECT_H
#define SLUICE_LIB_SELECT_H

#include "bpf/lib/lookup.h"
#include "bpf/lib/tuple.h"

struct SLUICE_WHOLE_WORDS sluice_selection {
	struct sluice_address address;
	__u16 port_be;
	__u16 flags; /* SLUICE_BACKEND_* */
	__u32 backend;
	__u32 incarnation;
};

/* The ring of a set that has one (SLUICE_WORD_RING), or NULL. */
SLUICE_ALWAYS_INLINE const struct sluice_ring *sluice_ring_of(const struct sluice_view *view,
							      __u64 word)
{
	return (const struct sluice_ring *)sluice_view_set_slot(view, sluice_word_first(word) - 1);
}

/* Where a ring's set is by consistent hash: which parts of the tuple the hash is over; 0: by chance. */
SLUICE_ALWAYS_INLINE __u32 sluice_hash_kind(const struct sluice_view *view, __u64 word)
{
	const struct sluice_ring *ring;

	if (!(word & SLUICE_WORD_RING))
		return SLUICE_RING_RANDOM;
	ring = sluice_ring_of(view, word);
	return ring ? ring->size & (SLUICE_RING_CLIENT | SLUICE_RING_RANDOM) : SLUICE_RING_RANDOM;
}

/*
 * The hash by which a flow finds its place in a ring. Every node and every version must compute the same, so there is
 * no seed and no dependence on byte order: words are taken in host order. Finished as splitmix64 (Steele, Lea,
 * Flood 2014).
 */
SLUICE_ALWAYS_INLINE __u64 sluice_ring_mix(__u64 h, __u64 value)
{
	h = (h ^ value) + 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
	return h ^ h >> 31;
}

SLUICE_ALWAYS_INLINE __u64 sluice_ring_mix_address(__u64 h, const struct sluice_address *address)
{
	if (!sluice_address_is_v4(address))
		h = sluice_ring_mix(h, (__u64)SLUICE_HOST32(address->word_be[0]) << 32 |
					       SLUICE_HOST32(address->word_be[1]));
	return sluice_ring_mix(h, (__u64)SLUICE_HOST32(address->word_be[2]) << 32 |
					  SLUICE_HOST32(address->word_be[3]));
}

/* kind: as sluice_hash_kind says. Returns 32 bits for sluice_select. */
SLUICE_ALWAYS_INLINE __u32 sluice_ring_hash(const struct sluice_tuple *tuple, __u32 kind)
{
	__u64 h = sluice_ring_mix_address(0, &tuple->src);

	if (kind & SLUICE_RING_CLIENT)
		return (__u32)(h >> 32);
	h = sluice_ring_mix_address(h, &tuple->dst);
	h = sluice_ring_mix(h, (__u64)SLUICE_HOST32(tuple->ports.both_be) << 8 | tuple->protocol);
	return (__u32)(h >> 32);
}

/* The position in its set that the ring gives for the point. */
SLUICE_ALWAYS_INLINE __u32 sluice_ring_at(const struct sluice_view *view,
					  const struct sluice_ring *ring, __u32 point)
{
	__u32 place = (__u32)((__u64)point * (ring->size & SLUICE_RING_SIZE_MASK) >> 32);
	const struct sluice_ring_line *line;

	if (ring->size & SLUICE_RING_WIDE) {
		line = sluice_view_ring_line(view, ring->line + place / 16);
		return line ? ((const __u32 *)line)[place & 15] : 0;
	}
	line = sluice_view_ring_line(view, ring->line + place / 32);
	return line ? line->position[place & 31] : 0;
}

/*
 * Chooses by `point` (32 bits, uniform: random, or sluice_ring_hash) from the set in `word`. Returns 1, or 0 when the
 * set is empty or points outside its table (count SLUICE_DROP_STALE_IMAGE then).
 */
SLUICE_ALWAYS_INLINE int sluice_select(const struct sluice_view *view, __u64 word, __u32 point,
				       struct sluice_selection *selection)
{
	__u32 count = sluice_word_count(word);
	const struct sluice_set_slot *slot;
	const struct sluice_backend *backend;
	const struct sluice_ring *ring;
	__u32 index;

	if (!count)
		return 0;
	if (word & SLUICE_WORD_RING) {
		ring = sluice_ring_of(view, word);
		if (!ring)
			return 0;
		index = sluice_ring_at(view, ring, point);
		if (index >= count)
			return 0;
	} else {
		/* The product's high half is uniform without a division; the bias is below count / 2^32. */
		index = (__u32)((__u64)point * count >> 32);
	}
	slot = sluice_view_set_slot(view, sluice_word_first(word) + index);
	if (!slot)
		return 0;
	backend = sluice_view_backend(view, slot->backend);
	if (!backend)
		return 0;
	selection->address = backend->address;
	selection->port_be = backend->port_be;
	selection->flags = backend->flags;
	selection->backend = slot->backend;
	selection->incarnation = slot->incarnation;
	return 1;
}

/* Enough halvings for SLUICE_MAX_SET_SIZE backends. */
#define SLUICE_SET_STEPS 20

/* Whether the backend with this index is in the set of `word`. Binary search: sets are sorted by address and port. */
SLUICE_ALWAYS_INLINE int sluice_set_holds(const struct sluice_view *view, __u64 word, __u32 index)
{
	const struct sluice_backend *wanted = sluice_view_backend(view, index);
	__u32 low = sluice_word_first(word);
	__u32 high = low + sluice_word_count(word);
	const struct sluice_set_slot *slot;
	const struct sluice_backend *at;
	__u32 middle;
	__u64 i; /* as in sluice_source_allowed */
	int order;

	if (!wanted)
		return 0;
	for (i = 0; i < SLUICE_SET_STEPS && low < high; i++) {
		middle = low + (high - low) / 2;
		slot = sluice_view_set_slot(view, middle);
		if (!slot)
			return 0;
		if (slot->backend == index)
			return 1;
		at = sluice_view_backend(view, slot->backend);
		if (!at)
			return 0;
		order = sluice_address_compare(&wanted->address, &at->address);
		if (order < 0 ||
		    (!order && SLUICE_NTOH16(wanted->port_be) < SLUICE_NTOH16(at->port_be)))
			high = middle;
		else
			low = middle + 1;
	}
	return 0;
}

/* Whether the backend that a flow or a socket remembers still serves. One load. */
SLUICE_ALWAYS_INLINE int sluice_backend_serves(const struct sluice_view *view, __u32 backend,
					       __u32 incarnation)
{
	const struct sluice_backend *record = sluice_view_backend(view, backend);

	return record && SLUICE_READ_ONCE(record->incarnation) == incarnation;
}

#endif
