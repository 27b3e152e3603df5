/*
 * The flow table: find, insert, keep up to date, forget. The protocol is described in
 * bpf/lib/README.md, the
 * layout in api/abi/flow.h.
 *
 * The includer defines BEFORE including this header (bpf/progs/flow_maps.h, or
 * bpf/lib/flow_memory.h natively):
 *
 *   struct sluice_flow_view { __u64 seed; __u32 bucket_count4, bucket_count6; __u16 now; ... };
 *   struct sluice_flow_bucket4 *sluice_flow_at4(const struct sluice_flow_view *, __u32 index);
 *   struct sluice_flow_bucket6 *sluice_flow_at6(const struct sluice_flow_view *, __u32 index);
 *   ... sluice_flow_other4, sluice_flow_other6: the same for the second table, while flows move
 *   void *sluice_flow_room_at(void);    SLUICE_FLOW_ROOM bytes of this CPU's, aligned to 8; or NULL
 *
 * which return NULL when the index is outside the table; and, if somebody remembers that flows are established,
 *
 *   #define SLUICE_FLOW_LEFT(group)     a flow of direct return of this group is so no longer
 *
 * `v6` is a constant in every call, so each
 * family has its
 * own straight code; `v6 | SLUICE_FLOW_OTHER` is the family's second table. Any number of CPUs may
 * call anything here at
 * once.
 */
#ifndef SLUICE_LIB_FLOW_H
#define SLUICE_LIB_FLOW_H

#include "api/abi/flow.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/parse.h"
#include "bpf/lib/shared.h"
#include "bpf/lib/tuple.h"

/* Looks at a claimed bucket before an insert gives up; a claim lasts about 200 ns. */
#define SLUICE_FLOW_CLAIM_LOOKS 128
/* Tries to change a word that others change too. */
#define SLUICE_FLOW_WORD_TRIES 4

/* Added to `v6`: the second table of the family. */
#define SLUICE_FLOW_OTHER 2
/* The slot of a hit that may be used for this packet, but is neither followed nor forgotten. In no table. */
#define SLUICE_FLOW_NOWHERE 0xffffffffU

#ifndef SLUICE_FLOW_LEFT
#define SLUICE_FLOW_LEFT(group) ((void)(group))
#endif

/* One half of a flow as found: a copy, and where it lies. */
struct SLUICE_WHOLE_WORDS sluice_flow_hit {
	struct sluice_address new_src;
	struct sluice_address new_dst;
	union sluice_ports new_ports;
	struct sluice_flow_meta meta;
	__u32 slot; /* bucket * SLUICE_FLOW_WAYS + slot */
	__u32 id;
	__u8 state;
	__u8 reserved;
	__u16 seen;
};

/* One end of a tuple as a number; ends that differ seldom have the same. */
SLUICE_ALWAYS_INLINE __u64 sluice_flow_end(const struct sluice_flow_view *view,
					   const struct sluice_address *address, __u16 port_be, const int v6)
{
	__u64 h;

	if (!v6)
		return view->seed + ((__u64)address->word_be[3] << 16 | port_be);
	h = (view->seed ^ ((__u64)address->word_be[0] << 32 | address->word_be[1])) *
	    0x9e3779b97f4a7c15ULL;
	h ^= h >> 32;
	h = (h ^ ((__u64)address->word_be[2] << 32 | address->word_be[3])) * 0xd6e8feb86659fd93ULL;
	return (h ^ h >> 29) + port_be;
}

/*
 * The same for a tuple and for its answer turned round, so that one look at a bucket tells of
 * both: who sends to a
 * backend directly must not be answered by a flow (sluice_avoid_flow in bpf/progs). The product of
 * the two ends gives
 * that; the seed in both makes it blind.
 */
SLUICE_ALWAYS_INLINE __u64 sluice_flow_hash(const struct sluice_flow_view *view,
					    const struct sluice_tuple *tuple, const int v6)
{
	__u64 h = sluice_flow_end(view, &tuple->src, tuple->ports.port_be[SLUICE_SOURCE], v6) *
		  sluice_flow_end(view, &tuple->dst, tuple->ports.port_be[SLUICE_DESTINATION], v6);

	h ^= h >> 32;
	h = (h ^ tuple->protocol) * 0xd6e8feb86659fd93ULL;
	h ^= h >> 32;
	h *= 0xa0761d6478bd642fULL;
	return h ^ h >> 29;
}

SLUICE_ALWAYS_INLINE __u32 sluice_flow_bucket_of(const struct sluice_flow_view *view, __u64 hash,
						 const int v6)
{
	__u32 count;

	if (v6 & SLUICE_FLOW_OTHER)
		count = v6 & 1 ? view->other_count6 : view->other_count4;
	else
		count = v6 ? view->bucket_count6 : view->bucket_count4;

	return (__u32)((hash >> 32) * count >> 32);
}

/* Where a half is if its bucket was full of others in use; may be the same one. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_second_of(const struct sluice_flow_view *view, __u64 hash, const int v6)
{
	return sluice_flow_bucket_of(view, hash * 0x9e3779b97f4a7c15ULL, v6);
}

SLUICE_ALWAYS_INLINE __u32 sluice_flow_tag_of(__u64 hash)
{
	return (__u32)hash << 16;
}

/*
 * The slot of its bucket that a key prefers: one of 0, 3, 4 and 7, whose IPv4 records lie within one cache line. Who
 * looks for the key reads this record beside the bucket's head, not after it; nearly always that is all it takes.
 */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_home(__u64 hash)
{
	__u32 quarter = (__u32)hash >> 16 & 3;

	return 2 * quarter + (quarter & 1);
}

SLUICE_ALWAYS_INLINE struct sluice_flow_set *sluice_flow_head(const struct sluice_flow_view *view,
							     __u32 bucket, const int v6)
{
	if (v6 & SLUICE_FLOW_OTHER)
		return v6 & 1 ? (struct sluice_flow_set *)sluice_flow_other6(view, bucket) :
				(struct sluice_flow_set *)sluice_flow_other4(view, bucket);
	return v6 ? (struct sluice_flow_set *)sluice_flow_at6(view, bucket) :
		    (struct sluice_flow_set *)sluice_flow_at4(view, bucket);
}

/* The records follow the set in one element, so its address gives theirs. slot < SLUICE_FLOW_WAYS. */
SLUICE_ALWAYS_INLINE struct sluice_flow4 *sluice_flow_record4(struct sluice_flow_set *set, __u32 slot)
{
	return &((struct sluice_flow_bucket4 *)set)->entry[slot & (SLUICE_FLOW_WAYS - 1)];
}

SLUICE_ALWAYS_INLINE struct sluice_flow6 *sluice_flow_record6(struct sluice_flow_set *set, __u32 slot)
{
	return &((struct sluice_flow_bucket6 *)set)->entry[slot & (SLUICE_FLOW_WAYS - 1)];
}

SLUICE_ALWAYS_INLINE struct sluice_flow_meta *sluice_flow_meta_of(struct sluice_flow_set *set,
								  __u32 slot, const int v6)
{
	return v6 & 1 ? &sluice_flow_record6(set, slot)->meta : &sluice_flow_record4(set, slot)->meta;
}

SLUICE_ALWAYS_INLINE __u32 sluice_flow_words_differ(const __u32 *a, const __u32 *b)
{
	return (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]);
}

SLUICE_ALWAYS_INLINE int sluice_flow_words_equal(const __u32 *a, const __u32 *b)
{
	return sluice_flow_words_differ(a, b) == 0;
}

SLUICE_ALWAYS_INLINE int sluice_flow_key_equal(struct sluice_flow_set *set, __u32 slot,
					       const struct sluice_tuple *tuple, const int v6)
{
	if (v6 & 1) {
		const struct sluice_flow6 *record = sluice_flow_record6(set, slot);

		return record->ports_be == tuple->ports.both_be &&
		       record->meta.protocol == tuple->protocol &&
		       sluice_flow_words_equal(record->src_be, tuple->src.word_be) &&
		       sluice_flow_words_equal(record->dst_be, tuple->dst.word_be);
	} else {
		const struct sluice_flow4 *record = sluice_flow_record4(set, slot);

		return ((record->ports_be ^ tuple->ports.both_be) |
			(record->src_be ^ tuple->src.word_be[3]) |
			(record->dst_be ^ tuple->dst.word_be[3]) |
			(__u32)(record->meta.protocol ^ tuple->protocol)) == 0;
	}
}

/* 0 if the slot's record is keyed by the tuple. Without a branch, so that all its loads are under way at once. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_key_differs(struct sluice_flow_set *set, __u32 slot,
						   const struct sluice_tuple *tuple, const int v6)
{
	if (v6 & 1) {
		const struct sluice_flow6 *record = sluice_flow_record6(set, slot);

		return (record->ports_be ^ tuple->ports.both_be) |
		       (__u32)(record->meta.protocol ^ tuple->protocol) |
		       sluice_flow_words_differ(record->src_be, tuple->src.word_be) |
		       sluice_flow_words_differ(record->dst_be, tuple->dst.word_be);
	} else {
		const struct sluice_flow4 *record = sluice_flow_record4(set, slot);

		return (record->ports_be ^ tuple->ports.both_be) |
		       (record->src_be ^ tuple->src.word_be[3]) |
		       (record->dst_be ^ tuple->dst.word_be[3]) |
		       (__u32)(record->meta.protocol ^ tuple->protocol);
	}
}

SLUICE_ALWAYS_INLINE void sluice_flow_copy(struct sluice_flow_set *set, __u32 slot,
					   struct sluice_flow_hit *hit, const int v6)
{
	if (v6 & 1) {
		const struct sluice_flow6 *record = sluice_flow_record6(set, slot);

		__builtin_memcpy(hit->new_src.word_be, record->new_src_be, 16);
		__builtin_memcpy(hit->new_dst.word_be, record->new_dst_be, 16);
		hit->new_ports.both_be = record->new_ports_be;
		hit->meta = record->meta;
	} else {
		const struct sluice_flow4 *record = sluice_flow_record4(set, slot);

		sluice_set_v4(&hit->new_src, record->new_src_be);
		sluice_set_v4(&hit->new_dst, record->new_dst_be);
		hit->new_ports.both_be = record->new_ports_be;
		hit->meta = record->meta;
	}
}

/* Ticks without a packet after which the state is over. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_timeout(__u32 state, __u8 protocol)
{
	if (state == SLUICE_FLOW_CLOSED)
		return SLUICE_FLOW_TIMEOUT_CLOSED;
	if (state == SLUICE_FLOW_CLOSING)
		return SLUICE_FLOW_TIMEOUT_CLOSING;
	if (protocol == SLUICE_IPPROTO_UDP)
		return state == SLUICE_FLOW_NEW ? SLUICE_FLOW_TIMEOUT_NEW_UDP : SLUICE_FLOW_TIMEOUT_UDP;
	return state == SLUICE_FLOW_ESTABLISHED ? SLUICE_FLOW_TIMEOUT_ESTABLISHED :
						  SLUICE_FLOW_TIMEOUT_NEW;
}

SLUICE_ALWAYS_INLINE __u32 sluice_flow_age(const struct sluice_flow_view *view, __u16 seen)
{
	__u16 age = (__u16)(view->now - seen);

	/* Another CPU may have stamped a tick that this one has not reached. */
	return age == 0xffff ? 0 : age;
}

SLUICE_ALWAYS_INLINE int sluice_flow_expired(const struct sluice_flow_view *view,
					     const struct sluice_flow_hit *hit)
{
	return sluice_flow_age(view, hit->seen) > sluice_flow_timeout(hit->state, hit->meta.protocol);
}

/* Whether a half that is not in this bucket, its home, may be in its second one. */
SLUICE_ALWAYS_INLINE int sluice_flow_spilled(const struct sluice_flow_set *set)
{
	return (SLUICE_READ_ONCE(set->evicted) & SLUICE_FLOW_SPILLED) != 0;
}

/*
 * Whether sluice_flow_find could find the tuple, or the tuple of its answer. Reads the bucket's
 * first cache line
 * only; one stranger in some thousands is taken for a flow. Never 0 for what is in the table.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_may_know(const struct sluice_flow_view *view, __u64 hash,
					      const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, sluice_flow_bucket_of(view, hash, v6), v6);
	__u32 tag = sluice_flow_tag_of(hash);
	int i;

	if (!set)
		return 0;
#if defined(__bpf__)
#pragma unroll
#endif
	for (i = 0; i < SLUICE_FLOW_WAYS; i++) {
		if ((SLUICE_READ_ONCE(set->word[i]) & 0xffff0000U) == tag)
			return 1;
	}
	return sluice_flow_spilled(set);
}

/* Copies the slot that hit->slot names, of whose word hit->id is from before. Returns 0 if it changed meanwhile. */
SLUICE_ALWAYS_INLINE int sluice_flow_take(struct sluice_flow_set *set, __u32 bucket, struct sluice_flow_hit *hit,
					  const int v6)
{
	__u32 slot = *(volatile __u32 *)&hit->slot;
	__u32 word;

	if (slot >= SLUICE_FLOW_WAYS)
		return 0;
	sluice_flow_copy(set, slot, hit, v6);
	hit->seen = SLUICE_READ_ONCE(set->seen[slot]);
	sluice_read_barrier();
	/* Still the same half: what was copied belongs together. */
	word = SLUICE_READ_ONCE(set->word[slot]);
	hit->slot = bucket * SLUICE_FLOW_WAYS + slot;
	hit->state = word & SLUICE_FLOW_STATE_MASK;
	return (word & SLUICE_FLOW_ID_MASK) == hit->id && hit->state > SLUICE_FLOW_BUSY;
}

/* The half keyed by the tuple, if it is in this bucket. Returns 1 and fills the hit, or 0. */
SLUICE_ALWAYS_INLINE int sluice_flow_find_at(struct sluice_flow_set *set, __u32 bucket,
					     const struct sluice_tuple *tuple, __u32 tag, struct sluice_flow_hit *hit,
					     const int v6)
{
	__u32 slot, word;

	*(volatile __u32 *)&hit->slot = SLUICE_FLOW_WAYS;
	for (slot = 0; slot < SLUICE_FLOW_WAYS; slot++) {
		word = SLUICE_READ_ONCE(set->word[slot]);
		if (((word ^ tag) & 0xffff0000U) ||
		    (word & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY)
			continue;
		sluice_read_barrier();
		if (sluice_flow_key_equal(set, slot, tuple, v6)) {
			/*
			 * Through memory, where the BPF verifier forgets which slot it is: what follows is
			 * checked once instead of once for each slot.
			 */
			*(volatile __u32 *)&hit->slot = slot;
			hit->id = word & SLUICE_FLOW_ID_MASK;
			break;
		}
	}
	return sluice_flow_take(set, bucket, hit, v6);
}

/* The half is not in its home, and may be in its second bucket. */
#define SLUICE_FLOW_ASK_SECOND 2

/* The same of a bucket that is its home: 1, 0 or SLUICE_FLOW_ASK_SECOND. */
SLUICE_ALWAYS_INLINE int sluice_flow_find_in_home(struct sluice_flow_set *set, __u32 bucket,
						  const struct sluice_tuple *tuple, __u64 hash,
						  struct sluice_flow_hit *hit, const int v6)
{
	if (sluice_flow_find_at(set, bucket, tuple, sluice_flow_tag_of(hash), hit, v6))
		return 1;
	return sluice_flow_spilled(set) ? SLUICE_FLOW_ASK_SECOND : 0;
}

SLUICE_ALWAYS_INLINE int sluice_flow_find_home(const struct sluice_flow_view *view, const struct sluice_tuple *tuple,
					       __u64 hash, struct sluice_flow_hit *hit, const int v6)
{
	__u32 bucket = sluice_flow_bucket_of(view, hash, v6);
	struct sluice_flow_set *set = sluice_flow_head(view, bucket, v6);

	return set ? sluice_flow_find_in_home(set, bucket, tuple, hash, hit, v6) : 0;
}

/* The same of both its buckets: 1 or 0. */
SLUICE_ALWAYS_INLINE int sluice_flow_find_both(const struct sluice_flow_view *view, const struct sluice_tuple *tuple,
					       struct sluice_flow_hit *hit, const int v6)
{
	__u64 hash = sluice_flow_hash(view, tuple, v6 & 1);
	int found = sluice_flow_find_home(view, tuple, hash, hit, v6);
	struct sluice_flow_set *set;
	__u32 second;

	if (found != SLUICE_FLOW_ASK_SECOND)
		return found;
	second = sluice_flow_second_of(view, hash, v6);
	set = sluice_flow_head(view, second, v6);
	return set && sluice_flow_find_at(set, second, tuple, sluice_flow_tag_of(hash), hit, v6);
}

/* Seldom needed: functions of their own, and none within another, for BPF's stack. */
SLUICE_SUBPROGRAM int sluice_flow_look4(const struct sluice_flow_view *view, const struct sluice_tuple *tuple,
					struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_find_both(view, tuple, hit, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_look6(const struct sluice_flow_view *view, const struct sluice_tuple *tuple,
					struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_find_both(view, tuple, hit, 1) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_look_other4(const struct sluice_flow_view *view, const struct sluice_tuple *tuple,
					      struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_find_both(view, tuple, hit, SLUICE_FLOW_OTHER) : 0;
}

SLUICE_SUBPROGRAM int sluice_flow_look_other6(const struct sluice_flow_view *view, const struct sluice_tuple *tuple,
					      struct sluice_flow_hit *hit)
{
	return view && tuple && hit ? sluice_flow_find_both(view, tuple, hit, 1 | SLUICE_FLOW_OTHER) : 0;
}

/* Finds the half keyed by the tuple. Returns 1 and fills the hit, or 0. Never waits. */
SLUICE_ALWAYS_INLINE int sluice_flow_find(const struct sluice_flow_view *view,
					  const struct sluice_tuple *tuple, __u64 hash,
					  struct sluice_flow_hit *hit, const int v6)
{
	int found = sluice_flow_find_home(view, tuple, hash, hit, v6);

	if (found != SLUICE_FLOW_ASK_SECOND)
		return found;
	if (v6 & SLUICE_FLOW_OTHER)
		return v6 & 1 ? sluice_flow_look_other6(view, tuple, hit) : sluice_flow_look_other4(view, tuple, hit);
	return v6 ? sluice_flow_look6(view, tuple, hit) : sluice_flow_look4(view, tuple, hit);
}

/*
 * The same of its home, where nearly every packet is of a flow that is there: the record that the key prefers is read
 * beside the head and not after it, two lines of memory in the time of one. (Not in tc, whose stack has no room.)
 * Returns 1, 0 or SLUICE_FLOW_ASK_SECOND.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_find_soon(const struct sluice_flow_view *view,
					       const struct sluice_tuple *tuple, __u64 hash,
					       struct sluice_flow_hit *hit, const int v6)
{
	__u32 bucket = sluice_flow_bucket_of(view, hash, v6);
	struct sluice_flow_set *set = sluice_flow_head(view, bucket, v6);
	__u32 slot = sluice_flow_home(hash);
	__u32 word;

	if (!set)
		return 0;
	word = SLUICE_READ_ONCE(set->word[slot]);
	sluice_read_barrier();
	if ((((word ^ sluice_flow_tag_of(hash)) & 0xffff0000U) |
	     sluice_flow_key_differs(set, slot, tuple, v6)) ||
	    (word & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY)
		return sluice_flow_find_in_home(set, bucket, tuple, hash, hit, v6);
	*(volatile __u32 *)&hit->slot = slot;
	hit->id = word & SLUICE_FLOW_ID_MASK;
	return sluice_flow_take(set, bucket, hit, v6);
}

/* Of which group (SLUICE_FLOW_GROUPS) the flow is whose client sends from there. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_group_of(__u32 src_be, __u32 ports_be)
{
	return sluice_group_among(src_be ^ ports_be, SLUICE_FLOW_GROUPS);
}

/* The same of a half, or SLUICE_FLOW_GROUPS if it is not one of direct return. */
SLUICE_ALWAYS_INLINE __u32 sluice_flow_group_at(struct sluice_flow_set *set, __u32 slot, const int v6)
{
	if (!(sluice_flow_meta_of(set, slot, v6)->flags & SLUICE_FLOW_ONE_WAY))
		return SLUICE_FLOW_GROUPS;
	return v6 & 1 ? sluice_flow_group_of(sluice_flow_record6(set, slot)->src_be[3],
					     sluice_flow_record6(set, slot)->ports_be) :
			sluice_flow_group_of(sluice_flow_record4(set, slot)->src_be,
					     sluice_flow_record4(set, slot)->ports_be);
}

/*
 * Moves a half to a state if it is still the one with this id. FREE forgets it; a half that is
 * still being written is
 * then seen by its writer. Returns 1 if it was done.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_set_state(const struct sluice_flow_view *view, __u32 index,
					       __u32 id, __u32 state, const int v6)
{
	struct sluice_flow_set *set = sluice_flow_head(view, index / SLUICE_FLOW_WAYS, v6);
	__u32 slot = index & (SLUICE_FLOW_WAYS - 1);
	__u32 word, group;
	int i;

	if (!set)
		return 0;
	for (i = 0; i < SLUICE_FLOW_WORD_TRIES; i++) {
		word = SLUICE_READ_ONCE(set->word[slot]);
		if ((word & SLUICE_FLOW_ID_MASK) != id ||
		    (word & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_FREE)
			return 0;
		/* Its writer is not done, and will publish it in a state of its own. */
		if (state != SLUICE_FLOW_FREE && (word & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_BUSY)
			return 0;
		/* The record is this half's if the word is still the same afterwards. */
		group = SLUICE_FLOW_GROUPS;
		if ((word & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_ESTABLISHED) {
			sluice_read_barrier();
			group = sluice_flow_group_at(set, slot, v6);
		}
		if (SLUICE_FLOW_SWAP(&set->word[slot], word, id | state) == word) {
			if (group < SLUICE_FLOW_GROUPS)
				SLUICE_FLOW_LEFT(group);
			return 1;
		}
	}
	return 0;
}

/* Forgets both halves. */
SLUICE_ALWAYS_INLINE void sluice_flow_forget(const struct sluice_flow_view *view,
					     const struct sluice_flow_hit *hit, const int v6)
{
	sluice_flow_set_state(view, hit->slot, hit->id, SLUICE_FLOW_FREE, v6);
	sluice_flow_set_state(view, hit->meta.peer, hit->meta.peer_id, SLUICE_FLOW_FREE, v6);
}

/*
 * Follows a packet of the flow: the state that the timeouts and the eviction go by, and the time.
 * The other half is
 * written only when something changes, at most once a tick for the time. Returns 0 if the other
 * half is gone: the
 * flow is then forgotten and the packet is to be treated as one without a flow.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_follow(const struct sluice_flow_view *view,
					    struct sluice_flow_hit *hit, __u8 tcp_flags, const int v6)
{
	int reverse = hit->meta.flags & SLUICE_FLOW_REVERSE;
	struct sluice_flow_set *set, *peer_set;
	__u32 state = hit->state;
	__u32 slot, peer_slot;

	/* Nearly always. */
	if (state == SLUICE_FLOW_ESTABLISHED && hit->seen == view->now &&
	    !(tcp_flags & (SLUICE_TCP_RST | SLUICE_TCP_FIN)))
		return 1;
	if (hit->meta.protocol == SLUICE_IPPROTO_UDP) {
		/* A question and its answer are no connection yet: most end there. */
		if ((hit->meta.flags & SLUICE_FLOW_ONE_WAY) || (!reverse && state == SLUICE_FLOW_ANSWERED))
			state = SLUICE_FLOW_ESTABLISHED;
		else if (reverse && state == SLUICE_FLOW_NEW)
			state = SLUICE_FLOW_ANSWERED;
	} else if (tcp_flags & SLUICE_TCP_RST) {
		state = SLUICE_FLOW_CLOSED;
	} else if (tcp_flags & SLUICE_TCP_FIN) {
		if (state == SLUICE_FLOW_CLOSING && !(hit->meta.flags & SLUICE_FLOW_FIN))
			state = SLUICE_FLOW_CLOSED;
		else if (state != SLUICE_FLOW_CLOSED)
			state = SLUICE_FLOW_CLOSING;
	} else if (reverse) {
		/* The client's confirmation is not seen; what the backend sends after its SYN tells of it. */
		if ((hit->meta.flags & SLUICE_FLOW_RETURN) && !(tcp_flags & SLUICE_TCP_SYN) &&
		    (state == SLUICE_FLOW_NEW || state == SLUICE_FLOW_ANSWERED))
			state = SLUICE_FLOW_ESTABLISHED;
		else if (state == SLUICE_FLOW_NEW)
			state = SLUICE_FLOW_ANSWERED;
	} else if ((state == SLUICE_FLOW_ANSWERED ||
		    (state == SLUICE_FLOW_NEW && (hit->meta.flags & SLUICE_FLOW_ONE_WAY))) &&
		   !(tcp_flags & SLUICE_TCP_SYN)) {
		state = SLUICE_FLOW_ESTABLISHED;
	}
	if (state == hit->state && hit->seen == view->now)
		return 1;

	if (hit->slot == SLUICE_FLOW_NOWHERE)
		return 1;
	set = sluice_flow_head(view, hit->slot / SLUICE_FLOW_WAYS, v6);
	peer_set = sluice_flow_head(view, hit->meta.peer / SLUICE_FLOW_WAYS, v6);
	if (!set || !peer_set)
		return 0;
	slot = hit->slot & (SLUICE_FLOW_WAYS - 1);
	peer_slot = hit->meta.peer & (SLUICE_FLOW_WAYS - 1);
	if ((SLUICE_READ_ONCE(peer_set->word[peer_slot]) & SLUICE_FLOW_ID_MASK) != hit->meta.peer_id ||
	    (SLUICE_READ_ONCE(peer_set->word[peer_slot]) & SLUICE_FLOW_STATE_MASK) == SLUICE_FLOW_FREE) {
		sluice_flow_set_state(view, hit->slot, hit->id, SLUICE_FLOW_FREE, v6);
		return 0;
	}
	if (hit->seen != view->now) {
		SLUICE_WRITE_ONCE(set->seen[slot], view->now);
		SLUICE_WRITE_ONCE(peer_set->seen[peer_slot], view->now);
	}
	if (state != hit->state) {
		if (tcp_flags & SLUICE_TCP_FIN)
			sluice_flow_meta_of(set, slot, v6)->flags = hit->meta.flags | SLUICE_FLOW_FIN;
		sluice_flow_set_state(view, hit->slot, hit->id, state, v6);
		sluice_flow_set_state(view, hit->meta.peer, hit->meta.peer_id, state, v6);
		hit->state = (__u8)state;
	}
	return 1;
}

#include "bpf/lib/flow_insert.h"
#include "bpf/lib/flow_move.h"

#endif
