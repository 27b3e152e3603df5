/*
 * A packet's addresses and ports as a value, and loads from packet memory.
 */
#ifndef SLUICE_LIB_TUPLE_H
#define SLUICE_LIB_TUPLE_H

#include "api/abi/image.h"
#include "bpf/lib/hash.h"

#define SLUICE_IPPROTO_ICMP 1
#define SLUICE_IPPROTO_TCP 6
#define SLUICE_IPPROTO_UDP 17
#define SLUICE_IPPROTO_ICMPV6 58
#define SLUICE_IPPROTO_SCTP 132

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SLUICE_HTON16(x) __builtin_bswap16((__u16)(x))
#define SLUICE_HTON32(x) __builtin_bswap32((__u32)(x))
#else
#define SLUICE_HTON16(x) ((__u16)(x))
#define SLUICE_HTON32(x) ((__u32)(x))
#endif
#define SLUICE_NTOH16(x) SLUICE_HTON16(x)
#define SLUICE_NTOH32(x) SLUICE_HTON32(x)

/* As in the packet: source first. */
union sluice_ports {
	__u32 both_be;
	__u16 port_be[2];
};
#define SLUICE_SOURCE 0
#define SLUICE_DESTINATION 1

/* IPv4 addresses stand as ::ffff:a.b.c.d. */
struct SLUICE_WHOLE_WORDS sluice_tuple {
	struct sluice_address src;
	struct sluice_address dst;
	union sluice_ports ports; /* zero if the protocol has none */
	__u8 protocol;
	__u8 reserved[3];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_tuple) == 40, "tuple");

/*
 * Packet memory is not aligned. The BPF verifier knows, and the kernel's BPF targets load unaligned words; natively
 * memcpy says the same without undefined behaviour.
 */
SLUICE_ALWAYS_INLINE __u16 sluice_load16(const void *p)
{
#ifdef __bpf__
	return *(const __u16 *)p;
#else
	__u16 value;
	__builtin_memcpy(&value, p, sizeof(value));
	return value;
#endif
}

SLUICE_ALWAYS_INLINE __u32 sluice_load32(const void *p)
{
#ifdef __bpf__
	return *(const __u32 *)p;
#else
	__u32 value;
	__builtin_memcpy(&value, p, sizeof(value));
	return value;
#endif
}

/* Whether the four words are ::ffff:a.b.c.d. */
SLUICE_ALWAYS_INLINE int sluice_words_are_mapped(const __u32 *word_be)
{
	return (word_be[0] | word_be[1] | (word_be[2] ^ SLUICE_HTON32(0xffff))) == 0;
}

SLUICE_ALWAYS_INLINE void sluice_set_v4(struct sluice_address *address, __u32 v4_be)
{
	address->word_be[0] = 0;
	address->word_be[1] = 0;
	address->word_be[2] = SLUICE_HTON32(0xffff);
	address->word_be[3] = v4_be;
}

#endif
