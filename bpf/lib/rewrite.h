/*
 * Changing a packet's addresses and ports in its memory, with incremental checksums (RFC 1624), for engines that hold
 * the frame themselves. IPv4 without options, IPv6 without extension headers.
 */
#ifndef SLUICE_LIB_REWRITE_H
#define SLUICE_LIB_REWRITE_H

#include "bpf/lib/checksum.h"
#include "bpf/lib/parse.h"

SLUICE_ALWAYS_INLINE void sluice_store16(void *p, __u16 value)
{
#ifdef __bpf__
	*(__u16 *)p = value;
#else
	__builtin_memcpy(p, &value, sizeof(value));
#endif
}

SLUICE_ALWAYS_INLINE void sluice_store32(void *p, __u32 value)
{
#ifdef __bpf__
	*(__u32 *)p = value;
#else
	__builtin_memcpy(p, &value, sizeof(value));
#endif
}

SLUICE_ALWAYS_INLINE __u16 sluice_check_add(__u16 check, __u64 change)
{
	return sluice_sum_finish((__u16)~check + change);
}

/* Bytes of the transport header that a rewrite of the ports touches: up to the end of its checksum. */
SLUICE_ALWAYS_INLINE __u32 sluice_rewrite_l4_bytes(__u8 protocol)
{
	return protocol == SLUICE_IPPROTO_TCP ? 18 : 8;
}

/*
 * The ports and the checksum at l4. `change` is the pseudo header's change of sum. REQUIRES: TCP or UDP, and
 * sluice_rewrite_l4_bytes bytes there.
 */
SLUICE_ALWAYS_INLINE void sluice_rewrite_l4(__u8 *l4, __u8 protocol, __u32 old_ports_be, __u32 new_ports_be,
					    __u64 change)
{
	__u8 *check = l4 + (protocol == SLUICE_IPPROTO_TCP ? 16 : 6);
	__u16 sum = sluice_load16(check);

	sluice_store32(l4, new_ports_be);
	/* UDP: zero means that there is none, and stays; one that becomes zero is written as ffff. */
	if (protocol == SLUICE_IPPROTO_UDP && !sum)
		return;
	sum = sluice_check_add(sum, change + sluice_sum_change(old_ports_be, new_ports_be));
	if (protocol == SLUICE_IPPROTO_UDP && !sum)
		sum = 0xffff;
	sluice_store16(check, sum);
}

/* The IPv4 header's addresses, time to live and checksum. `change`: of the sum by the addresses. */
SLUICE_ALWAYS_INLINE void sluice_rewrite_ipv4_by(__u8 *ip, __u32 src_be, __u32 dst_be, __u8 ttl, __u64 change)
{
	change += sluice_sum_change(SLUICE_HTON16((__u16)((__u16)ip[8] << 8)),
				    SLUICE_HTON16((__u16)((__u16)ttl << 8)));
	ip[8] = ttl;
	sluice_store32(ip + 12, src_be);
	sluice_store32(ip + 16, dst_be);
	sluice_store16(ip + 10, sluice_check_add(sluice_load16(ip + 10), change));
}

SLUICE_ALWAYS_INLINE void sluice_rewrite_ipv4(__u8 *ip, __u32 src_be, __u32 dst_be, __u8 ttl)
{
	sluice_rewrite_ipv4_by(ip, src_be, dst_be, ttl,
			       sluice_sum_change(sluice_load32(ip + 12), src_be) +
				       sluice_sum_change(sluice_load32(ip + 16), dst_be));
}

/* The IPv6 header's addresses and hop limit. */
SLUICE_ALWAYS_INLINE void sluice_rewrite_ipv6(__u8 *ip, const struct sluice_address *src,
					      const struct sluice_address *dst, __u8 ttl)
{
	int i;

	ip[7] = ttl;
	for (i = 0; i < 4; i++) {
		sluice_store32(ip + 8 + 4 * i, src->word_be[i]);
		sluice_store32(ip + 24 + 4 * i, dst->word_be[i]);
	}
}

/*
 * The whole packet: `from` becomes src, dst and ports. SCTP is translated by address only, for its checksum does not
 * cover them; its ports must not change. REQUIRES: 20 or 40 bytes at ip and what sluice_rewrite_l4 requires at l4.
 */
SLUICE_ALWAYS_INLINE void sluice_rewrite_packet(__u8 *ip, __u8 *l4, const struct sluice_tuple *from,
						const struct sluice_address *src,
						const struct sluice_address *dst,
						union sluice_ports ports, __u8 ttl, const int v6)
{
	__u64 change = sluice_sum_addresses_change(from, src, dst, v6);

	if (from->protocol != SLUICE_IPPROTO_SCTP)
		sluice_rewrite_l4(l4, from->protocol, from->ports.both_be, ports.both_be, change);
	if (v6)
		sluice_rewrite_ipv6(ip, src, dst, ttl);
	else
		sluice_rewrite_ipv4_by(ip, src->word_be[3], dst->word_be[3], ttl, change);
}

#endif
