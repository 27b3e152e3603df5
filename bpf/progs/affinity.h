/*
 * ClientIP affinity: a client keeps its backend of a service while that backend serves and the
 * client comes back within the service's timeout, which each new connection renews. Bounded; the
 * least recently used give way. Include after bpf/progs/maps.h and bpf/lib/select.h. Shared by
 * socket hooks and tc.
 */
#ifndef SLUICE_PROGS_AFFINITY_H
#define SLUICE_PROGS_AFFINITY_H

#include "api/abi/socket.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_AFFINITY_ENTRIES);
	__type(key, struct sluice_affinity_key);
	__type(value, struct sluice_affinity);
} sluice_affinity SEC(".maps");

#define SLUICE_NS_PER_S 1000000000ULL

/*
 * Chooses for a new connection: the client's remembered backend, else one by `random`, which is
 * then remembered. match->affinity_timeout_s must not be 0. Returns as sluice_select does.
 */
SLUICE_ALWAYS_INLINE int sluice_select_affine(const struct sluice_view *view,
					      const struct sluice_match *match,
					      const struct sluice_address *client, __u32 random,
					      struct sluice_selection *selection)
{
	struct sluice_affinity_key key = {.client = *client, .service = match->service};
	struct sluice_affinity *known = bpf_map_lookup_elem(&sluice_affinity, &key);
	__u64 now = bpf_ktime_get_coarse_ns();
	struct sluice_affinity fresh = {};
	const struct sluice_backend *backend;

	if (known && now - known->last_used_ns < match->affinity_timeout_s * SLUICE_NS_PER_S &&
	    sluice_backend_serves(view, known->backend, known->incarnation)) {
		backend = sluice_view_backend(view, known->backend);
		if (backend && backend->service == match->service) {
			selection->address = backend->address;
			selection->port_be = backend->port_be;
			selection->flags = backend->flags;
			selection->backend = known->backend;
			selection->incarnation = known->incarnation;
			known->last_used_ns = now;
			return 1;
		}
	}
	if (!sluice_select(view, match->word, random, selection))
		return 0;
	fresh.backend = selection->backend;
	fresh.incarnation = selection->incarnation;
	fresh.last_used_ns = now;
	bpf_map_update_elem(&sluice_affinity, &key, &fresh, BPF_ANY);
	return 1;
}

#endif
