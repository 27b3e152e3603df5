/*
 * Which of a service's traffic the socket hooks leave to the packet path: what cannot be decided, or not be done right,
 * before the client's source address is chosen. Include after bpf/lib/select.h.
 *
 * A socket in the node's own network namespace gets an address of the node as its source, which is what masquerading
 * would make of it; one elsewhere would keep its own.
 */
#ifndef SLUICE_LIB_HOOK_PATH_H
#define SLUICE_LIB_HOOK_PATH_H

#include "bpf/lib/select.h"

enum sluice_hook_path {
	SLUICE_HOOK_TAKES = 0,
	/* For every client. */
	SLUICE_HOOK_LEAVES_SOURCES = 1, /* source ranges are asked about the client's address */
	SLUICE_HOOK_LEAVES_HASH = 2,    /* and so is a consistent hash */
	/* For clients of other namespaces than the node's. */
	SLUICE_HOOK_LEAVES_MASQUERADE = 3, /* the backend is to see the node */
	SLUICE_HOOK_LEAVES_AFFINITY = 4,   /* one memory of the client for all frontends: by its address */
};

/* enum sluice_hook_path for a client of another namespace. REQUIRES: match->has_service. */
SLUICE_ALWAYS_INLINE __u32 sluice_hook_path(const struct sluice_view *view, const struct sluice_match *match)
{
	if (match->sources)
		return SLUICE_HOOK_LEAVES_SOURCES;
	if (!(sluice_hash_kind(view, match->word) & SLUICE_RING_RANDOM))
		return SLUICE_HOOK_LEAVES_HASH;
	if (match->frontend_flags & SLUICE_FRONTEND_MASQUERADE)
		return SLUICE_HOOK_LEAVES_MASQUERADE;
	if (!(match->frontend_flags & SLUICE_FRONTEND_EXTERNAL) &&
	    (view->header->flags & SLUICE_HEADER_MASQUERADE_ALL))
		return SLUICE_HOOK_LEAVES_MASQUERADE;
	if (match->affinity_timeout_s)
		return SLUICE_HOOK_LEAVES_AFFINITY;
	return SLUICE_HOOK_TAKES;
}

/* Whether a client of the node's own namespace is left to the packet path for this reason as well. */
SLUICE_ALWAYS_INLINE int sluice_hook_leaves_node(__u32 path)
{
	return path == SLUICE_HOOK_LEAVES_SOURCES || path == SLUICE_HOOK_LEAVES_HASH;
}

#endif
