/*
 * Changing a packet's addresses and ports in place.
 *
 * Through helpers rather than direct stores: only they know whether the transport checksum is complete, left to the
 * device, or summed by it, and a program with direct stores would have every cloned packet copied, ours or not.
 */
#ifndef SLUICE_PROGS_TC_REWRITE_H
#define SLUICE_PROGS_TC_REWRITE_H

#include "bpf/lib/checksum.h"
#include "bpf/lib/parse.h"

/* TTL to checksum to addresses, as they lie in an IPv4 header from byte 8. */
struct sluice_ipv4_tail {
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 src_be;
	__u32 dst_be;
};

/* Hop limit and addresses, as they lie in an IPv6 header from byte 7. */
struct sluice_ipv6_tail {
	__u8 unused[3]; /* keeps the addresses aligned; not stored */
	__u8 hop_limit;
	__u32 src_be[4];
	__u32 dst_be[4];
};

SLUICE_ALWAYS_INLINE int sluice_rewrite_ip(struct __sk_buff *ctx, const struct sluice_packet *packet,
					   const struct sluice_address *src,
					   const struct sluice_address *dst, __u8 ttl, const int v6)
{
	if (v6) {
		struct sluice_ipv6_tail tail;

		tail.hop_limit = ttl;
		__builtin_memcpy(tail.src_be, src->word_be, 16);
		__builtin_memcpy(tail.dst_be, dst->word_be, 16);
		/*
		 * Recomputed, so that a sum made by the device over the whole packet gains what the transport
		 * checksum's change below takes from it; IPv4 has the header checksum for that.
		 */
		return (int)bpf_skb_store_bytes(ctx, packet->l3 + 7, &tail.hop_limit, 33,
						BPF_F_RECOMPUTE_CSUM);
	} else {
		struct sluice_ipv4_tail tail;
		__u64 sum;

		if (bpf_skb_load_bytes(ctx, packet->l3 + 8, &tail, 4))
			return -1;
		sum = (__u16)~tail.check + sluice_sum_change(packet->tuple.src.word_be[3], src->word_be[3]) +
		      sluice_sum_change(packet->tuple.dst.word_be[3], dst->word_be[3]);
		sum += sluice_sum_change(SLUICE_HTON16((__u16)((__u16)packet->ttl << 8)),
					 SLUICE_HTON16((__u16)((__u16)ttl << 8)));
		tail.ttl = ttl;
		tail.check = sluice_sum_finish(sum);
		tail.src_be = src->word_be[3];
		tail.dst_be = dst->word_be[3];
		return (int)bpf_skb_store_bytes(ctx, packet->l3 + 8, &tail, sizeof(tail), 0);
	}
}

/* Returns 0, or the reason why the packet is lost (it may be half changed then). */
SLUICE_ALWAYS_INLINE __u32 sluice_rewrite(struct __sk_buff *ctx, const struct sluice_packet *packet,
					  const struct sluice_address *src,
					  const struct sluice_address *dst,
					  union sluice_ports ports, __u8 ttl, const int v6)
{
	__u8 protocol = packet->tuple.protocol;
	__u64 flags = 0;
	__u32 offset;
	__u32 change;

	if (protocol == SLUICE_IPPROTO_SCTP) {
		/* Its CRC32c covers the ports, and would have to be made anew over the whole packet. */
		if (ports.both_be != packet->tuple.ports.both_be)
			return SLUICE_DROP_SCTP_PORT;
		return sluice_rewrite_ip(ctx, packet, src, dst, ttl, v6) ?
			       SLUICE_DROP_REWRITE_FAILED :
			       SLUICE_DROP_NONE;
	}
	offset = packet->l4 + 16;
	if (protocol == SLUICE_IPPROTO_UDP) {
		/* A zero checksum means none, and stays; one that becomes zero is written as ffff. */
		offset = packet->l4 + 6;
		flags = BPF_F_MARK_MANGLED_0;
	}
	if (sluice_rewrite_ip(ctx, packet, src, dst, ttl, v6))
		return SLUICE_DROP_REWRITE_FAILED;
	change = sluice_sum_addresses_change(&packet->tuple, src, dst, v6);
	if (bpf_l4_csum_replace(ctx, offset, 0, change, flags | BPF_F_PSEUDO_HDR))
		return SLUICE_DROP_REWRITE_FAILED;
	if (ports.both_be == packet->tuple.ports.both_be)
		return SLUICE_DROP_NONE;
	change = sluice_sum_fold32(sluice_sum_change(packet->tuple.ports.both_be, ports.both_be));
	if (bpf_l4_csum_replace(ctx, offset, 0, change, flags) ||
	    bpf_skb_store_bytes(ctx, packet->l4, &ports.both_be, 4, 0))
		return SLUICE_DROP_REWRITE_FAILED;
	return SLUICE_DROP_NONE;
}

#endif
