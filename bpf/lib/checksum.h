/*
 * The Internet checksum (RFC 1071) and its incremental change (RFC 1624), on words as they lie in memory.
 */
#ifndef SLUICE_LIB_CHECKSUM_H
#define SLUICE_LIB_CHECKSUM_H

#include "bpf/lib/tuple.h"

/* A 64-bit sum of 32-bit words, folded to 32 bits that stand for the same one's complement sum. */
SLUICE_ALWAYS_INLINE __u32 sluice_sum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffffU) + (sum >> 32);
	sum = (sum & 0xffffffffU) + (sum >> 32);
	return (__u32)sum;
}

/* The checksum field for a sum of words: folded to 16 bits and inverted. */
SLUICE_ALWAYS_INLINE __u16 sluice_sum_finish(__u64 sum)
{
	__u32 folded = sluice_sum_fold32(sum);

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
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

/* The change of the pseudo header's sum when the addresses change. */
SLUICE_ALWAYS_INLINE __u32 sluice_sum_addresses_change(const struct sluice_tuple *from,
						       const struct sluice_address *src,
						       const struct sluice_address *dst, const int v6)
{
	__u64 sum = sluice_sum_change(from->src.word_be[3], src->word_be[3]) +
		    sluice_sum_change(from->dst.word_be[3], dst->word_be[3]);
	int i;

	if (v6) {
		for (i = 0; i < 3; i++)
			sum += sluice_sum_change(from->src.word_be[i], src->word_be[i]) +
			       sluice_sum_change(from->dst.word_be[i], dst->word_be[i]);
	}
	return sluice_sum_fold32(sum);
}

#endif
