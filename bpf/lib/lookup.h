/*
 * What a destination means: the frontend, the service behind it, and the verdict.
 *
 * The same code runs in BPF programs and natively (tests, `sluice explain`, other engines). It
 * reaches the tables through a view, which the includer defines BEFORE including this header
 * (bpf/progs/maps.h for BPF maps, bpf/lib/view_memory.h for plain memory):
 *
 *   struct sluice_view { const struct sluice_header *header; ... };
 *   const struct sluice_bucket   *sluice_view_bucket(const struct sluice_view *, __u32 index);
 *   const struct sluice_frontend *sluice_view_frontend(const struct sluice_view *, __u32 index);
 *   const struct sluice_service  *sluice_view_service(const struct sluice_view *, __u32 index);
 *   const struct sluice_set_slot *sluice_view_set_slot(const struct sluice_view *, __u32 index);
 *   const struct sluice_backend  *sluice_view_backend(const struct sluice_view *, __u32 index);
 *   const struct sluice_ring_line *sluice_view_ring_line(const struct sluice_view *, __u32 index);
 *   const struct sluice_range    *sluice_view_range(const struct sluice_view *, __u32 index);
 *
 * Each returns NULL when the index is outside the table. No function here calls a helper.
 */
#ifndef SLUICE_LIB_LOOKUP_H
#define SLUICE_LIB_LOOKUP_H

#include "api/abi/drop_reasons.h"
#include "api/abi/image.h"
#include "bpf/lib/hash.h"
#include "bpf/lib/shared.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SLUICE_HOST32(x) __builtin_bswap32((__u32)(x))
#else
#define SLUICE_HOST32(x) ((__u32)(x))
#endif

enum sluice_verdict {
	SLUICE_VERDICT_PASS = 0,      /* not ours */
	SLUICE_VERDICT_TRANSLATE = 1, /* `word` holds a set with at least one backend */
	SLUICE_VERDICT_REFUSE = 2,    /* answer at once: RST, port unreachable, ECONNREFUSED */
	SLUICE_VERDICT_DROP = 3,      /* silence */
};

/* What sluice_classify found. With REFUSE or DROP, `reason` says why (enum sluice_drop_reason). */
struct sluice_match {
	__u64 word;           /* valid if has_service */
	__u64 sources;        /* the service's ranges of clients; 0 if the frontend takes everybody */
	__u32 service;        /* index; valid if has_service */
	__u32 frontend_flags; /* SLUICE_FRONTEND_*; valid if has_service */
	__u32 frontend;       /* index; valid if has_service */
	__u32 affinity_timeout_s;
	__u8 verdict;
	__u8 reason;
	__u8 has_service;
	__u8 reserved[5];
};

SLUICE_ALWAYS_INLINE __u32 sluice_word_first(__u64 word)
{
	return (__u32)word;
}

SLUICE_ALWAYS_INLINE __u32 sluice_word_count(__u64 word)
{
	return (__u32)(word >> SLUICE_WORD_COUNT_SHIFT & SLUICE_WORD_COUNT_MASK);
}

SLUICE_ALWAYS_INLINE int sluice_address_equal(const struct sluice_address *a,
					      const struct sluice_address *b)
{
	return ((a->word_be[3] ^ b->word_be[3]) | (a->word_be[2] ^ b->word_be[2]) |
		(a->word_be[1] ^ b->word_be[1]) | (a->word_be[0] ^ b->word_be[0])) == 0;
}

SLUICE_ALWAYS_INLINE int sluice_address_is_v4(const struct sluice_address *a)
{
	const __u8 *bytes = (const __u8 *)&a->word_be[2];

	return (a->word_be[0] | a->word_be[1]) == 0 && bytes[0] == 0 && bytes[1] == 0 &&
	       bytes[2] == 0xff && bytes[3] == 0xff;
}

SLUICE_ALWAYS_INLINE int sluice_in_cidr(const struct sluice_address *address,
					const struct sluice_cidr *cidr)
{
	__u32 outside = 0;

	outside |= (address->word_be[0] ^ cidr->address.word_be[0]) & cidr->mask.word_be[0];
	outside |= (address->word_be[1] ^ cidr->address.word_be[1]) & cidr->mask.word_be[1];
	outside |= (address->word_be[2] ^ cidr->address.word_be[2]) & cidr->mask.word_be[2];
	outside |= (address->word_be[3] ^ cidr->address.word_be[3]) & cidr->mask.word_be[3];
	return outside == 0;
}

/* Whether an address lies in a range of the kind (enum sluice_cidr_kind). At most SLUICE_MAX_CIDRS
 * steps. */
SLUICE_ALWAYS_INLINE int sluice_in_any_cidr(const struct sluice_view *view,
					    const struct sluice_address *address, __u32 kind)
{
	const struct sluice_header *header = view->header;
	__u32 i;

	for (i = 0; i < SLUICE_MAX_CIDRS; i++) {
		if (i >= header->cidr_count)
			break;
		if (header->cidr[i].kind == kind && sluice_in_cidr(address, &header->cidr[i]))
			return 1;
	}
	return 0;
}

SLUICE_ALWAYS_INLINE const struct sluice_frontend *
sluice_find_in_bucket(const struct sluice_view *view, __u32 bucket_index, __u32 tag,
		      const struct sluice_frontend_key *key, __u32 *index)
{
	const struct sluice_bucket *bucket = sluice_view_bucket(view, bucket_index);
	const struct sluice_frontend *frontend;
	__u64 candidate = 0;
	__u64 slot;
	int i;

	if (!bucket)
		return 0;
#if defined(__bpf__)
#pragma unroll
#endif
	for (i = 0; i < SLUICE_BUCKET_SLOTS; i++) {
		slot = SLUICE_READ_ONCE(bucket->slot[i]);
		if ((__u32)slot == tag)
			candidate = slot;
	}
	if (!candidate)
		return 0;
	frontend = sluice_view_frontend(view, (__u32)(candidate >> 32));
	if (!frontend || !sluice_address_equal(&frontend->key.address, &key->address) ||
	    frontend->key.port_be != key->port_be || frontend->key.protocol != key->protocol ||
	    frontend->key.scope != key->scope)
		return 0;
	*index = (__u32)(candidate >> 32);
	return frontend;
}

/* The frontend with exactly this key, or NULL. Two cache lines at most, plus the record. */
SLUICE_ALWAYS_INLINE const struct sluice_frontend *
sluice_find_frontend(const struct sluice_view *view, const struct sluice_frontend_key *key,
		     __u32 *index)
{
	struct sluice_hash hash =
	    sluice_hash_key(view->header->hash_seed, view->header->bucket_count, key);
	const struct sluice_frontend *frontend;

	frontend = sluice_find_in_bucket(view, hash.first, hash.tag, key, index);
	if (frontend)
		return frontend;
	return sluice_find_in_bucket(view, hash.second, hash.tag, key, index);
}

/*
 * Whether sluice_classify could say anything but PASS of an address. Cheap, for most packets are not ours: one word of
 * the header's filter and the service ranges are read. A stranger is taken for ours when others have set its two
 * bits: less than one in a hundred at 10,000 addresses, one in ten at 50,000. Never 0 for what is ours. `hash`:
 * sluice_hash_address of it.
 */
SLUICE_ALWAYS_INLINE int sluice_may_be_ours_by(const struct sluice_view *view,
					       const struct sluice_address *address, __u64 hash)
{
	const struct sluice_header *header = view->header;
	struct sluice_filter_bits bits = sluice_filter_by(hash);
	__u32 i;

	if ((SLUICE_READ_ONCE(header->filter[bits.word]) & bits.mask) == bits.mask)
		return 1;
	for (i = 0; i < SLUICE_MAX_CIDRS; i++) {
		/* The service ranges stand first. */
		if (i >= header->cidr_count || header->cidr[i].kind != SLUICE_CIDR_SERVICE)
			break;
		if (sluice_in_cidr(address, &header->cidr[i]))
			return 1;
	}
	return 0;
}

SLUICE_ALWAYS_INLINE int sluice_may_be_ours(const struct sluice_view *view,
					    const struct sluice_address *address)
{
	return sluice_may_be_ours_by(view, address, sluice_hash_address(view->header->hash_seed, address));
}

/* The verdict that match->word stands for. */
SLUICE_ALWAYS_INLINE void sluice_match_decide(struct sluice_match *match)
{
	if (sluice_word_count(match->word)) {
		match->verdict = SLUICE_VERDICT_TRANSLATE;
	} else if (sluice_word_first(match->word) == SLUICE_EMPTY_DROP) {
		match->verdict = SLUICE_VERDICT_DROP;
		match->reason = SLUICE_DROP_NO_LOCAL_ENDPOINT;
	} else {
		match->verdict = SLUICE_VERDICT_REFUSE;
		match->reason = SLUICE_DROP_NO_ENDPOINT;
	}
}

/* <0, 0, >0 as a stands before, at or after b in the order of addresses. */
SLUICE_ALWAYS_INLINE int sluice_address_compare(const struct sluice_address *a,
						const struct sluice_address *b)
{
	int i;

	for (i = 0; i < 4; i++) {
		__u32 left = SLUICE_HOST32(a->word_be[i]);
		__u32 right = SLUICE_HOST32(b->word_be[i]);

		if (left != right)
			return left < right ? -1 : 1;
	}
	return 0;
}

/* Enough halvings for SLUICE_MAX_SET_SIZE ranges. */
#define SLUICE_RANGE_STEPS 20

/* Whether a client is in one of the ranges that `sources` stands for. Binary search. */
SLUICE_ALWAYS_INLINE int sluice_source_allowed(const struct sluice_view *view, __u64 sources,
					       const struct sluice_address *client)
{
	__u32 low = sluice_word_first(sources);
	__u32 high = low + sluice_word_count(sources);
	const struct sluice_range *range;
	__u32 middle;
	__u64 i; /* not of 32 bits: spilled beside the key of a map it would be unknown to BPF's verifier */

	for (i = 0; i < SLUICE_RANGE_STEPS; i++) {
		if (low >= high)
			return 0;
		middle = low + (high - low) / 2;
		range = sluice_view_range(view, middle);
		if (!range)
			return 0;
		if (sluice_address_compare(client, &range->first) < 0)
			high = middle;
		else if (sluice_address_compare(client, &range->last) > 0)
			low = middle + 1;
		else
			return 1;
	}
	return 0;
}

/* Fills the match from a frontend that stands for a service. */
SLUICE_ALWAYS_INLINE void sluice_follow_frontend(const struct sluice_view *view,
						 const struct sluice_frontend *frontend,
						 __u32 index, int inside,
						 struct sluice_match *match)
{
	const struct sluice_service *service;

	match->frontend = index;
	match->frontend_flags = frontend->flags;
	match->service = frontend->service;
	service = sluice_view_service(view, frontend->service);
	if (!service) {
		match->verdict = SLUICE_VERDICT_DROP;
		match->reason = SLUICE_DROP_STALE_IMAGE;
		return;
	}
	match->has_service = 1;
	match->affinity_timeout_s = service->affinity_timeout_s;
	match->sources = frontend->flags & SLUICE_FRONTEND_SOURCES ?
				 SLUICE_READ_ONCE(service->sources) :
				 0;
	if (!(frontend->flags & SLUICE_FRONTEND_EXTERNAL))
		match->word = SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_INTERNAL]);
	else if (inside)
		match->word = SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_INSIDE]);
	else
		match->word = SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_EXTERNAL]);
	sluice_match_decide(match);
}

/*
 * Decides what traffic to (address, port, protocol) is. Order: the exact frontend; the address as a
 * whole (a node's address tries the NodePorts and else belongs to the host, also when a service
 * owns it; an owned address refuses the rest); the service ranges (unallocated: dropped); else it
 * is not ours. `key` is used as scratch: on entry {address, port_be, protocol,
 * SLUICE_SCOPE_ADDRESS}. `inside`: the client is a pod or this node, so that external policy Local does not
 * narrow its choice. `match` must be zeroed by the caller. A match with `sources` is decided only when the client
 * is known: see sluice_source_allowed.
 */
SLUICE_ALWAYS_INLINE void sluice_classify(const struct sluice_view *view,
					  struct sluice_frontend_key *key, int inside,
					  struct sluice_match *match)
{
	const struct sluice_frontend *frontend;
	__u8 protocol = key->protocol;
	__u16 port_be = key->port_be;
	__u32 index = 0;
	__u32 flags;

	frontend = sluice_find_frontend(view, key, &index);
	if (frontend) {
		sluice_follow_frontend(view, frontend, index, inside, match);
		return;
	}
	key->port_be = 0;
	key->protocol = 0;
	frontend = sluice_find_frontend(view, key, &index);
	if (!frontend) {
		if (sluice_in_any_cidr(view, &key->address, SLUICE_CIDR_SERVICE)) {
			match->verdict = SLUICE_VERDICT_DROP;
			match->reason = SLUICE_DROP_UNALLOCATED;
		}
		return;
	}
	flags = frontend->flags;
	if (!(flags & SLUICE_FRONTEND_NODE)) {
		match->verdict = SLUICE_VERDICT_REFUSE;
		match->reason = SLUICE_DROP_PORT_NOT_SERVED;
		return;
	}
	key->port_be = port_be;
	key->protocol = protocol;
	key->scope = SLUICE_SCOPE_NODEPORT;
	/* The family's unspecified address: keep the ::ffff of a mapped address, clear the rest. */
	if (sluice_address_is_v4(&key->address)) {
		key->address.word_be[3] = 0;
	} else {
		key->address.word_be[0] = 0;
		key->address.word_be[1] = 0;
		key->address.word_be[2] = 0;
		key->address.word_be[3] = 0;
	}
	frontend = sluice_find_frontend(view, key, &index);
	if (frontend)
		sluice_follow_frontend(view, frontend, index, inside, match);
}

#endif
