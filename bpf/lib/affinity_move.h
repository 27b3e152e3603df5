/*
 * Clients from one affinity table to a larger one, while packets use either ("Growth" in
 * dataplane/ebpf/affinity_growth.h and dataplane/dpdk/shared/segment.h). For native users: no program carries clients.
 *
 * The includer defines before what bpf/lib/affinity.h asks for.
 */
#ifndef SLUICE_LIB_AFFINITY_MOVE_H
#define SLUICE_LIB_AFFINITY_MOVE_H

#include "bpf/lib/affinity.h"

/* Gives what was just written or found the time of its last use before. */
SLUICE_ALWAYS_INLINE void sluice_affinity_set_time(const struct sluice_affinity_view *view,
						   const struct sluice_affinity_case *at, __u32 used)
{
	struct sluice_affinity_bucket *bucket = sluice_affinity_at(view, at->bucket);
	__u32 slot = at->slot & (SLUICE_AFFINITY_WAYS - 1);
	__u64 word;

	if (!bucket)
		return;
	word = SLUICE_READ_ONCE(bucket->word[slot]);
	if ((word & SLUICE_AFFINITY_STATE_MASK) != SLUICE_AFFINITY_LIVE)
		return;
	SLUICE_COMPARE_AND_SWAP(&bucket->word[slot], word, (__u64)used << SLUICE_AFFINITY_USED_SHIFT | (__u32)word);
}

/* Makes the larger table say of one client what the smaller says, unless it knows better. Whether that was needed. */
SLUICE_ALWAYS_INLINE int sluice_affinity_carry_one(const struct sluice_affinity_view *larger,
						   const struct sluice_affinity *client, __u32 used)
{
	struct sluice_affinity_case question = {};

	question.entry = *client;
	sluice_affinity_find(larger, &question);
	if (question.known != 0) {
		__u32 known_used = (__u32)(question.word >> SLUICE_AFFINITY_USED_SHIFT);

		if ((__s32)(used - known_used) <= 0)
			return 0;
		if (question.entry.backend == client->backend &&
		    question.entry.incarnation == client->incarnation) {
			sluice_affinity_set_time(larger, &question, used);
			return 1;
		}
		question.entry = *client;
	}
	if (!sluice_affinity_put(larger, &question))
		return 0;
	sluice_affinity_set_time(larger, &question, used);
	return 1;
}

/* Those used within the last `units` and whose time is not over. Returns as sluice_affinity_carry. */
SLUICE_ALWAYS_INLINE __u64 sluice_affinity_carry_recent(const struct sluice_affinity_view *smaller,
							const struct sluice_affinity_view *larger, __u32 units)
{
	struct sluice_affinity_bucket *bucket;
	struct sluice_affinity client;
	__u32 index, slot;
	__u64 carried = 0, word;

	for (index = 0; index < smaller->bucket_count; index++) {
		bucket = sluice_affinity_at(smaller, index);
		for (slot = 0; bucket && slot < SLUICE_AFFINITY_WAYS; slot++) {
			word = SLUICE_READ_ONCE(bucket->word[slot]);
			if ((word & SLUICE_AFFINITY_STATE_MASK) != SLUICE_AFFINITY_LIVE ||
			    sluice_affinity_age(smaller, word) > units)
				continue;
			sluice_read_barrier();
			client = bucket->entry[slot];
			sluice_read_barrier();
			if (SLUICE_READ_ONCE(bucket->word[slot]) != word ||
			    sluice_affinity_age(smaller, word) > client.timeout)
				continue;
			carried += (__u64)sluice_affinity_carry_one(
				larger, &client, (__u32)(word >> SLUICE_AFFINITY_USED_SHIFT));
		}
	}
	return carried;
}

/* All whose time is not over. Returns how many clients the larger table did not know, or not as well. */
SLUICE_ALWAYS_INLINE __u64 sluice_affinity_carry(const struct sluice_affinity_view *smaller,
						 const struct sluice_affinity_view *larger)
{
	return sluice_affinity_carry_recent(smaller, larger, ~0U);
}

/* Those that came or came back since a former pass began, at `began`: whoever tells the time may be a unit behind. */
SLUICE_ALWAYS_INLINE __u64 sluice_affinity_carry_since(const struct sluice_affinity_view *smaller,
						       const struct sluice_affinity_view *larger, __u32 began)
{
	return sluice_affinity_carry_recent(smaller, larger, smaller->now - began + 1);
}

#endif
