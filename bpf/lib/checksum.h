/*
 * The Internet checksum (RFC 1071) and its incremental change (RFC 1624), on words as they lie in memory.
 */
#ifndef SLUICE_LIB_CHECKSUM_H
#define SLUICE_LIB_CHECKSUM_H

#include "bpf/lib/tuple.h"

/* A 64-bit sum of 32-bit words, folded to 32 bits that stand for the same one's complement sum. */
SLUICE_ALWAYS_INLINE __u32 sluice_sum_fold32(__u64 sum)
{
	/* Rotated by half: the lower half's carry goes where the upper half is. */
	return (__u32)((sum + (sum << 32 | sum >> 32)) >> 32);
}

/* The checksum field for a sum of words: folded to 16 bits and inverted. */
SLUICE_ALWAYS_INLINE __u16 sluice_sum_finish(__u64 sum)
{
	__u32 folded = sluice_sum_fold32(sum);

	folded = (folded + (folded << 16 | folded >> 16)) >> 16;
	return (__u16)~folded;
}

/* What to add to a sum when a word changes from old to new. */
SLUICE_ALWAYS_INLINE __u64 sluice_sum_change(__u32 old_word, __u32 new_word)
{
	return (__u64)(__u32)~old_word + new_word;
}

SLUICE_ALWAYS_INLINE __u64 sluice_sum_address(const struct sluice_address *address)
{
	return (__u64)address->word_be[0] + address->word_be[1] + address->word_be[2] +
	       address->word_be[3];
}

#ifndef __bpf__
/* Adds an address to a one's complement sum of 64 bits, which stands for the same as one of 32. */
SLUICE_ALWAYS_INLINE __u64 sluice_sum_add_address(__u64 sum, const struct sluice_address *address)
{
	__u64 half[2];

	__builtin_memcpy(half, address->word_be, sizeof(half));
	sum += half[0];
	sum += sum < half[0];
	sum += half[1];
	return sum + (sum < half[1]);
}
#endif

/* The change of the pseudo header's sum when the addresses change. */
SLUICE_ALWAYS_INLINE __u32 sluice_sum_addresses_change(const struct sluice_tuple *from,
						       const struct sluice_address *src,
						       const struct sluice_address *dst, const int v6)
{
#ifdef __bpf__
	__u64 sum = sluice_sum_change(from->src.word_be[3], src->word_be[3]) +
		    sluice_sum_change(from->dst.word_be[3], dst->word_be[3]);
	int i;

	if (v6) {
		for (i = 0; i < 3; i++)
			sum += sluice_sum_change(from->src.word_be[i], src->word_be[i]) +
			       sluice_sum_change(from->dst.word_be[i], dst->word_be[i]);
	}
	return sluice_sum_fold32(sum);
#else
	__u64 before, after, sum;

	if (!v6)
		return sluice_sum_fold32(sluice_sum_change(from->src.word_be[3], src->word_be[3]) +
					 sluice_sum_change(from->dst.word_be[3], dst->word_be[3]));
	before = sluice_sum_add_address(sluice_sum_add_address(0, &from->src), &from->dst);
	after = sluice_sum_add_address(sluice_sum_add_address(0, src), dst);
	sum = after + ~before;
	return sluice_sum_fold32(sum + (sum < after));
#endif
}

#endif
