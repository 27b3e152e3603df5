/*
 * ClientIP affinity: a client keeps its backend of a service while that backend serves and the
 * client comes back
 * within the service's timeout, which each new connection renews. Whatever frontend of the service
 * it comes through, as long as the policy of that traffic lets it use the backend; else it chooses anew, which is then
 * remembered.
 *
 * The includer defines BEFORE including this header, beside the view of lookup.h
 * (bpf/progs/affinity.h for BPF maps,
 * bpf/lib/affinity_memory.h natively):
 *
 *   struct sluice_affinity_view { __u64 seed; __u32 bucket_count; __u32 now; ... };
 *   int sluice_view_open(struct sluice_view *);   the image, for functions of their own (as decide.h)
 *   int sluice_affinity_open(struct sluice_affinity_view *);      0: no table, nothing is remembered
 *   struct sluice_affinity_bucket *sluice_affinity_at(const struct sluice_affinity_view *, __u32
 * index);
 *   void sluice_affinity_count_displaced(const struct sluice_affinity_view *);
 *
 * Protocol: nobody waits and no bucket is locked, for socket hooks run in processes, which may be
 * preempted. A writer
 * makes a slot BUSY with the key's tag (compare-and-swap of the whole word, so a slot that was
 * renewed meanwhile is
 * spared), THEN looks at the other slots: if one holds the key, or is BUSY for the same tag and
 * stands before its own, it
 * gives its slot back and the other's choice is taken. Of two writers of one key at least one sees
 * the other's mark,
 * and of two marks only the later slot gives way: a key is never live twice. A reader copies, and
 * looks at the word again.
 * A slot left BUSY by a writer that died is taken after SLUICE_AFFINITY_BUSY_UNITS. (Were that
 * writer only asleep for so
 * long, it could spoil a record that is then another's: choices are checked against the backend's
 * service and
 * incarnation, so that the worst is another backend of the same service.)
 *
 * Cost: a known client, its bucket's first line and one record.
 */
#ifndef SLUICE_LIB_AFFINITY_H
#define SLUICE_LIB_AFFINITY_H

#include "api/abi/affinity.h"
#include "bpf/lib/select.h"
#include "bpf/lib/shared.h"

/* Looks for a record that another CPU is writing; that takes it about 100 ns. */
#define SLUICE_AFFINITY_LOOKS 64

/* A question, and its answer. */
struct sluice_affinity_case {
	struct sluice_affinity entry; /* client, service; backend and incarnation when known; timeout */
	__u64 word;                   /* of the slot, as last looked at */
	__u32 bucket;
	__u32 slot;
	__u32 tag; /* in bits 16-31 */
	__u32 known; /* low half of the word of the client's record when it was found; 0: it was not */
};

SLUICE_ALWAYS_INLINE __u32 sluice_affinity_units(__u32 seconds)
{
	return (__u32)((__u64)seconds * 1000000000ULL >> SLUICE_AFFINITY_TIME_SHIFT);
}

SLUICE_ALWAYS_INLINE void sluice_affinity_aim(const struct sluice_affinity_view *view,
					      struct sluice_affinity_case *now)
{
	__u64 h = sluice_hash_address(view->seed, &now->entry.client);

	h = (h ^ now->entry.service) * 0xa0761d6478bd642fULL;
	h ^= h >> 32;
	h *= 0xe7037ed1a0b428dbULL;
	h ^= h >> 31;
	now->bucket = (__u32)((h >> 32) * view->bucket_count >> 32);
	now->tag = (__u32)h << 16;
}

SLUICE_ALWAYS_INLINE __u32 sluice_affinity_age(const struct sluice_affinity_view *view, __u64 word)
{
	__u32 age = view->now - (__u32)(word >> SLUICE_AFFINITY_USED_SHIFT);

	/* Another CPU may be a moment ahead. */
	return age > 0x80000000U ? 0 : age;
}

SLUICE_ALWAYS_INLINE int sluice_affinity_same(const struct sluice_affinity *record,
					      const struct sluice_affinity *wanted)
{
	return record->service == wanted->service &&
	       sluice_address_equal(&record->client, &wanted->client);
}

/*
 * Looks for the client. Returns 1 and fills in backend and incarnation, if it is known and came
 * back in time. Whether
 * that backend still serves is the caller's to ask.
 */
SLUICE_SUBPROGRAM int sluice_affinity_find(const struct sluice_affinity_view *view,
					   struct sluice_affinity_case *now)
{
	struct sluice_affinity_bucket *bucket;
	struct sluice_affinity *record;
	__u64 word;
	__u32 slot;

	if (!view || !now)
		return 0;
	sluice_affinity_aim(view, now);
	now->known = 0;
	bucket = sluice_affinity_at(view, now->bucket);
	if (!bucket)
		return 0;
	*(volatile __u32 *)&now->slot = SLUICE_AFFINITY_WAYS;
	for (slot = 0; slot < SLUICE_AFFINITY_WAYS; slot++) {
		word = SLUICE_READ_ONCE(bucket->word[slot]);
		if ((((__u32)word ^ now->tag) & 0xffff0000U) ||
		    (word & SLUICE_AFFINITY_STATE_MASK) != SLUICE_AFFINITY_LIVE)
			continue;
		sluice_read_barrier();
		if (sluice_affinity_same(&bucket->entry[slot], &now->entry)) {
			now->word = word;
			*(volatile __u32 *)&now->slot = slot;
			break;
		}
	}
	slot = *(volatile __u32 *)&now->slot;
	if (slot >= SLUICE_AFFINITY_WAYS)
		return 0;
	record = &bucket->entry[slot];
	SLUICE_ABOUT_TO_READ(record);
	now->entry.backend = record->backend;
	now->entry.incarnation = record->incarnation;
	sluice_read_barrier();
	word = SLUICE_READ_ONCE(bucket->word[slot]);
	/* The time may have been renewed meanwhile; anything else is another record. */
	if ((__u32)word != (__u32)now->word)
		return 0;
	now->word = word;
	now->known = (__u32)word;
	return sluice_affinity_age(view, word) <= now->entry.timeout;
}

/* The client came again: the time of its last use is now. A lost race was a renewal too, or an end. */
SLUICE_ALWAYS_INLINE void sluice_affinity_renew(const struct sluice_affinity_view *view,
						const struct sluice_affinity_case *now)
{
	struct sluice_affinity_bucket *bucket;
	__u64 next = (__u64)view->now << SLUICE_AFFINITY_USED_SHIFT | (__u32)now->word;

	if (next == now->word)
		return;
	bucket = sluice_affinity_at(view, now->bucket);
	if (bucket)
		SLUICE_COMPARE_AND_SWAP(&bucket->word[now->slot & (SLUICE_AFFINITY_WAYS - 1)],
					now->word, next);
}

#define SLUICE_AFFINITY_RANK_TAKEN (1ULL << 36)
#define SLUICE_AFFINITY_RANK_SAME (1ULL << 35)
#define SLUICE_AFFINITY_RANK_FREE (1ULL << 34)
#define SLUICE_AFFINITY_RANK_OVER (1ULL << 33)

/* How readily slot now->slot is given up for the key; 0: not at all. now->word becomes its word. */
SLUICE_SUBPROGRAM __u64 sluice_affinity_rank(const struct sluice_affinity_view *view,
					     struct sluice_affinity_case *now)
{
	struct sluice_affinity_bucket *bucket;
	__u32 slot, age;
	__u64 word;

	if (!view || !now)
		return 0;
	slot = now->slot & (SLUICE_AFFINITY_WAYS - 1);
	bucket = sluice_affinity_at(view, now->bucket);
	if (!bucket)
		return 0;
	word = SLUICE_READ_ONCE(bucket->word[slot]);
	now->word = word;
	age = sluice_affinity_age(view, word);
	if ((word & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_FREE)
		return SLUICE_AFFINITY_RANK_FREE;
	if ((word & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_BUSY)
		return age > SLUICE_AFFINITY_BUSY_UNITS ? SLUICE_AFFINITY_RANK_OVER + age : 0;
	sluice_read_barrier();
	if ((((__u32)word ^ now->tag) & 0xffff0000U) == 0 &&
	    sluice_affinity_same(&bucket->entry[slot], &now->entry))
		/* What was not there when we looked is a choice just made, not one that was found wanting. */
		return (__u32)word == now->known ? SLUICE_AFFINITY_RANK_SAME :
						   SLUICE_AFFINITY_RANK_TAKEN;
	if (age > bucket->entry[slot].timeout)
		return SLUICE_AFFINITY_RANK_OVER + age;
	return 1 + (__u64)age;
}

/* Whether slot now->slot, which is not ours, makes ours give way: it holds our key, or is about to and goes first. */
SLUICE_SUBPROGRAM int sluice_affinity_yields(const struct sluice_affinity_view *view,
					     const struct sluice_affinity_case *now, __u32 slot)
{
	struct sluice_affinity_bucket *bucket;
	__u64 word;

	if (!view || !now)
		return 0;
	slot &= SLUICE_AFFINITY_WAYS - 1;
	bucket = sluice_affinity_at(view, now->bucket);
	if (!bucket || slot == now->slot)
		return 0;
	word = SLUICE_READ_ONCE(bucket->word[slot]);
	if (((__u32)word ^ now->tag) & 0xffff0000U)
		return 0;
	if ((word & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_BUSY)
		return slot < now->slot && sluice_affinity_age(view, word) <= SLUICE_AFFINITY_BUSY_UNITS;
	sluice_read_barrier();
	return (word & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_LIVE &&
	       sluice_affinity_same(&bucket->entry[slot], &now->entry);
}

/*
 * Remembers now->entry, in place of what was known of the client, else of the oldest of its
 * bucket. Returns 0 if another
 * CPU was at it: then its choice is to be taken, if it can be found.
 */
SLUICE_SUBPROGRAM int sluice_affinity_put(const struct sluice_affinity_view *view,
					  struct sluice_affinity_case *now)
{
	struct sluice_affinity_bucket *bucket;
	__u64 best = 0, best_word = 0, rank, mine;
	__u32 best_slot = 0;
	__u32 slot;

	if (!view || !now)
		return 1;
	bucket = sluice_affinity_at(view, now->bucket);
	if (!bucket)
		return 1;
	for (slot = 0; slot < SLUICE_AFFINITY_WAYS; slot++) {
		now->slot = slot;
		rank = sluice_affinity_rank(view, now);
		if (rank > best) {
			best = rank;
			best_slot = slot;
			best_word = now->word;
		}
	}
	if (!best || best == SLUICE_AFFINITY_RANK_TAKEN)
		return 0;
	best_slot &= SLUICE_AFFINITY_WAYS - 1;
	now->slot = best_slot;
	mine = (__u64)view->now << SLUICE_AFFINITY_USED_SHIFT | now->tag |
	       ((best_word + SLUICE_AFFINITY_GENERATION_ONE) & SLUICE_AFFINITY_GENERATION_MASK);
	if (SLUICE_COMPARE_AND_SWAP(&bucket->word[best_slot], best_word,
				    mine | SLUICE_AFFINITY_BUSY) != best_word)
		return 0;
	for (slot = 0; slot < SLUICE_AFFINITY_WAYS; slot++) {
		if (sluice_affinity_yields(view, now, slot)) {
			SLUICE_COMPARE_AND_SWAP(&bucket->word[best_slot],
						mine | SLUICE_AFFINITY_BUSY,
						mine | SLUICE_AFFINITY_FREE);
			return 0;
		}
	}
	if (best < SLUICE_AFFINITY_RANK_OVER)
		sluice_affinity_count_displaced(view);
	SLUICE_ABOUT_TO_WRITE(&bucket->entry[best_slot]);
	bucket->entry[best_slot] = now->entry;
	return SLUICE_COMPARE_AND_SWAP(&bucket->word[best_slot], mine | SLUICE_AFFINITY_BUSY,
				       mine | SLUICE_AFFINITY_LIVE) ==
	       (mine | SLUICE_AFFINITY_BUSY);
}

/* Looks until another CPU has written what it is writing of this client. Returns whether it has. */
SLUICE_SUBPROGRAM int sluice_affinity_await(const struct sluice_affinity_view *view,
					    struct sluice_affinity_case *now)
{
	int i;

	if (!view || !now)
		return 0;
	for (i = 0; i < SLUICE_AFFINITY_LOOKS; i++) {
		if (sluice_affinity_find(view, now))
			return 1;
	}
	return 0;
}

/*
 * Whether the remembered backend is in the set of `word`: policies Local narrow the choice of some of a service's
 * traffic, and what the rest of it chose is abandoned there. Where no policy does, all sets are one, and none is
 * searched.
 */
SLUICE_SUBPROGRAM int sluice_affinity_may_use(const struct sluice_affinity_case *now, __u64 word)
{
	const struct sluice_service *service;
	struct sluice_view view;
	__u64 differ;

	if (!now || !sluice_view_open(&view))
		return 0;
	service = sluice_view_service(&view, now->entry.service);
	if (!service)
		return 0;
	differ = (SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_INTERNAL]) ^ word) |
		 (SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_EXTERNAL]) ^ word) |
		 (SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_INSIDE]) ^ word);
	if (!(differ & ((1ULL << SLUICE_WORD_GENERATION_SHIFT) - 1)))
		return 1;
	return sluice_set_holds(&view, word, now->entry.backend);
}

/*
 * Fills the selection with the client's remembered backend. Returns 0 if there is none that serves and that traffic of
 * the set in `word` may use.
 */
SLUICE_ALWAYS_INLINE int sluice_affinity_recall(const struct sluice_view *view,
						const struct sluice_affinity_view *table,
						struct sluice_affinity_case *now, __u64 word,
						struct sluice_selection *selection)
{
	const struct sluice_backend *backend;

	if (!sluice_affinity_find(table, now) ||
	    !sluice_backend_serves(view, now->entry.backend, now->entry.incarnation))
		return 0;
	backend = sluice_view_backend(view, now->entry.backend);
	if (!backend || backend->service != now->entry.service ||
	    !sluice_affinity_may_use(now, word))
		return 0;
	selection->address = backend->address;
	selection->port_be = backend->port_be;
	selection->flags = backend->flags;
	selection->backend = now->entry.backend;
	selection->incarnation = now->entry.incarnation;
	sluice_affinity_renew(table, now);
	return 1;
}

/*
 * Chooses for a new connection: the client's remembered backend, else one by `point`, which is
 * then remembered.
 * match->affinity_timeout_s must not be 0. Returns as sluice_select does.
 */
SLUICE_ALWAYS_INLINE int sluice_select_affine(const struct sluice_view *view,
					      const struct sluice_match *match,
					      const struct sluice_address *client, __u32 point,
					      struct sluice_selection *selection)
{
	struct sluice_affinity_case now = {};
	struct sluice_affinity_view table;

	if (!sluice_affinity_open(&table))
		return sluice_select(view, match->word, point, selection);
	now.entry.client = *client;
	now.entry.service = match->service;
	now.entry.timeout = sluice_affinity_units(match->affinity_timeout_s);
	if (sluice_affinity_recall(view, &table, &now, match->word, selection))
		return 1;
	if (!sluice_select(view, match->word, point, selection))
		return 0;
	now.entry.backend = selection->backend;
	now.entry.incarnation = selection->incarnation;
	if (sluice_affinity_put(&table, &now))
		return 1;
	/* Two connections of a new client at once: both go where the first to be remembered goes. */
	if (sluice_affinity_await(&table, &now) &&
	    sluice_affinity_recall(view, &table, &now, match->word, selection))
		return 1;
	if (!sluice_select(view, match->word, point, selection))
		return 0;
	/* What was in the way was a stranger's: once more, and then this connection is on its own. */
	now.entry.backend = selection->backend;
	now.entry.incarnation = selection->incarnation;
	sluice_affinity_put(&table, &now);
	return 1;
}

#endif
