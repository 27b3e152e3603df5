/*
 * The hash of frontend keys, and the two buckets a key may live in.
 *
 * Multiply and fold over three 64-bit words: BPF has no 128-bit product, and a helper call would
 * cost more than the whole look-up. The seed makes bucket flooding blind; within a bucket the full
 * key decides.
 */
#ifndef SLUICE_LIB_HASH_H
#define SLUICE_LIB_HASH_H

#include "api/abi/image.h"

#define SLUICE_ALWAYS_INLINE static inline __attribute__((always_inline))

struct sluice_hash {
	__u32 tag;   /* never 0 */
	__u32 first; /* bucket indices, below bucket_count; different unless there is one bucket */
	__u32 second;
};

/* The part of the hash that all keys of an address share. */
SLUICE_ALWAYS_INLINE __u64 sluice_hash_address(__u64 seed, const struct sluice_address *address)
{
	__u64 high = (__u64)address->word_be[0] << 32 | address->word_be[1];
	__u64 low = (__u64)address->word_be[2] << 32 | address->word_be[3];
	__u64 h;

	h = (high ^ seed) * 0x9e3779b97f4a7c15ULL;
	h ^= h >> 32;
	h = (h + low) * 0xd6e8feb86659fd93ULL;
	return h ^ h >> 29;
}

/* Which bits of the header's filter stand for an address. */
struct sluice_filter_bits {
	__u32 word;
	__u64 mask;
};

/* By what sluice_hash_address says. */
SLUICE_ALWAYS_INLINE struct sluice_filter_bits sluice_filter_by(__u64 h)
{
	struct sluice_filter_bits bits;

	bits.word = (__u32)(h >> 40) & (SLUICE_FILTER_WORDS - 1);
	bits.mask = 1ULL << (h >> 58) | 1ULL << (h >> 52 & 63);
	return bits;
}

SLUICE_ALWAYS_INLINE struct sluice_filter_bits
sluice_filter_of(__u64 seed, const struct sluice_address *address)
{
	return sluice_filter_by(sluice_hash_address(seed, address));
}

/* Which of `count` groups a word is in; neighbours are in different ones. */
SLUICE_ALWAYS_INLINE __u32 sluice_group_among(__u32 word, __u32 count)
{
	return (__u32)((__u64)(word * 0x9e3779b1U) * count >> 32);
}

/* The rest of it. bucket_count is a power of two. */
SLUICE_ALWAYS_INLINE struct sluice_hash sluice_hash_finish(__u64 h, __u32 bucket_count,
							   __u16 port_be, __u8 protocol, __u8 scope)
{
	__u64 rest = (__u64)port_be << 16 | (__u64)protocol << 8 | scope;
	__u32 mask = bucket_count - 1;
	struct sluice_hash hash;

	h = (h ^ rest) * 0xa0761d6478bd642fULL;
	h ^= h >> 32;
	h *= 0xe7037ed1a0b428dbULL;
	h ^= h >> 31;

	hash.tag = (__u32)(h >> 32);
	hash.tag |= !hash.tag;
	hash.first = (__u32)h & mask;
	/* An odd distance made of the tag: the second bucket follows from the first and never
	 * equals it. */
	hash.second = (hash.first ^ ((hash.tag * 0x5bd1e995U) >> 7 | 1)) & mask;
	return hash;
}

SLUICE_ALWAYS_INLINE struct sluice_hash sluice_hash_key(__u64 seed, __u32 bucket_count,
							const struct sluice_frontend_key *key)
{
	return sluice_hash_finish(sluice_hash_address(seed, &key->address), bucket_count,
				  key->port_be, key->protocol, key->scope);
}

#endif
