/*
 * Which backend of a set: uniformly at random. Include after bpf/lib/lookup.h, whose view it uses.
 */
#ifndef SLUICE_LIB_SELECT_H
#define SLUICE_LIB_SELECT_H

#include "bpf/lib/lookup.h"

struct sluice_selection {
	struct sluice_address address;
	__u16 port_be;
	__u16 flags; /* SLUICE_BACKEND_* */
	__u32 backend;
	__u32 incarnation;
};

/*
 * Chooses by `random` (32 uniform bits) from the set in `word`. Returns 1, or 0 when the set is
 * empty or points outside its table (count SLUICE_DROP_STALE_IMAGE then).
 */
SLUICE_ALWAYS_INLINE int sluice_select(const struct sluice_view *view, __u64 word, __u32 random,
				       struct sluice_selection *selection)
{
	__u32 count = sluice_word_count(word);
	const struct sluice_set_slot *slot;
	const struct sluice_backend *backend;
	__u32 index;

	if (!count)
		return 0;
	/* The product's high half is uniform without a division; the bias is below count / 2^32. */
	index = sluice_word_first(word) + (__u32)((__u64)random * count >> 32);
	slot = sluice_view_set_slot(view, index);
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

/* Whether the backend that a flow or a socket remembers still serves. One load. */
SLUICE_ALWAYS_INLINE int sluice_backend_serves(const struct sluice_view *view, __u32 backend,
					       __u32 incarnation)
{
	const struct sluice_backend *record = sluice_view_backend(view, backend);

	return record && SLUICE_READ_ONCE(record->incarnation) == incarnation;
}

#endif
