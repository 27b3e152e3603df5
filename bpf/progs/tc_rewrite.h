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

#include "bpf/lib/icmp.h"

/* TTL to checksum to addresses, as they lie in an IPv4 header from byte 8, and the ports if there are no options. */
struct sluice_ipv4_tail {
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 src_be;
	__u32 dst_be;
	__u32 ports_be;
};

/* Hop limit and addresses, as they lie in an IPv6 header from byte 7. */
struct sluice_ipv6_tail {
	__u8 unused[3]; /* keeps the addresses aligned; not stored */
	__u8 hop_limit;
	__u32 src_be[4];
	__u32 dst_be[4];
};

/* What a packet becomes. */
struct sluice_change {
	const struct sluice_address *src;
	const struct sluice_address *dst;
	__u32 ports_be;
	__u8 ttl;
};

/* with_ports: the ports follow the addresses at once, and are stored with them. */
SLUICE_ALWAYS_INLINE int sluice_store_ipv4(struct __sk_buff *ctx, const struct sluice_packet *packet,
					     const struct sluice_change *to, int with_ports)
{
	struct sluice_ipv4_tail tail;
	__u64 sum = (__u16)~packet->ip_check +
		    sluice_sum_change(packet->tuple.src.word_be[3], to->src->word_be[3]) +
		    sluice_sum_change(packet->tuple.dst.word_be[3], to->dst->word_be[3]) +
		    sluice_sum_change(SLUICE_HTON16((__u16)((__u16)packet->ttl << 8)),
				      SLUICE_HTON16((__u16)((__u16)to->ttl << 8)));

	tail.ttl = to->ttl;
	tail.protocol = packet->tuple.protocol;
	tail.check = sluice_sum_finish(sum);
	tail.src_be = to->src->word_be[3];
	tail.dst_be = to->dst->word_be[3];
	tail.ports_be = to->ports_be;
	if (with_ports)
		return (int)bpf_skb_store_bytes(ctx, packet->l3 + 8, &tail, 16, 0);
	return (int)bpf_skb_store_bytes(ctx, packet->l3 + 8, &tail, 12, 0);
}

SLUICE_ALWAYS_INLINE int sluice_store_ipv6(struct __sk_buff *ctx, const struct sluice_packet *packet,
					     const struct sluice_change *to)
{
	struct sluice_ipv6_tail tail;

	tail.hop_limit = to->ttl;
	__builtin_memcpy(tail.src_be, to->src->word_be, 16);
	__builtin_memcpy(tail.dst_be, to->dst->word_be, 16);
	/*
	 * Recomputed, so that a sum made by the device over the whole packet gains what the transport checksum's
	 * change takes from it; IPv4 has the header checksum for that.
	 */
	return (int)bpf_skb_store_bytes(ctx, packet->l3 + 7, &tail.hop_limit, 33, BPF_F_RECOMPUTE_CSUM);
}

SLUICE_ALWAYS_INLINE __u32 sluice_rewrite_ip(struct __sk_buff *ctx, const struct sluice_packet *packet,
					     const struct sluice_change *to, const int v6)
{
	int failed = v6 ? sluice_store_ipv6(ctx, packet, to) : sluice_store_ipv4(ctx, packet, to, 0);

	return failed ? SLUICE_DROP_REWRITE_FAILED : SLUICE_DROP_NONE;
}

/* Ports and CRC32c. A sum that the device made over the packet is kept right, for the CRC is no part of that. */
SLUICE_ALWAYS_INLINE __u32 sluice_rewrite_sctp(struct __sk_buff *ctx, const struct sluice_packet *packet,
					       const struct sluice_change *to)
{
	__u32 crc;

	if (to->ports_be == packet->tuple.ports.both_be)
		return SLUICE_DROP_NONE;
	/* The CRC covers what other fragments hold, and how much that is nobody has said yet. */
	if (packet->fragment)
		return SLUICE_DROP_SCTP_PORT;
	if (bpf_skb_load_bytes(ctx, packet->l4 + SLUICE_SCTP_CRC, &crc, 4))
		return SLUICE_DROP_REWRITE_FAILED;
	crc = sluice_sctp_crc(crc, packet->tuple.ports.both_be, to->ports_be, packet->end - packet->l4);
	if (bpf_skb_store_bytes(ctx, packet->l4, &to->ports_be, 4, BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(ctx, packet->l4 + SLUICE_SCTP_CRC, &crc, 4, BPF_F_RECOMPUTE_CSUM))
		return SLUICE_DROP_REWRITE_FAILED;
	return SLUICE_DROP_NONE;
}

/* The ICMP error that was made anew in `quote`. */
SLUICE_ALWAYS_INLINE __u32 sluice_rewrite_error(struct __sk_buff *ctx, const struct sluice_packet *packet,
						const struct sluice_quote *quote)
{
	__u32 length = quote->length;

	/* The verifier wants the bounds where the helper is called. */
	if (length < SLUICE_ICMP_LEAST || length > SLUICE_ICMP_BYTES ||
	    bpf_skb_store_bytes(ctx, packet->l4, quote->word, length, BPF_F_RECOMPUTE_CSUM))
		return SLUICE_DROP_REWRITE_FAILED;
	return SLUICE_DROP_NONE;
}

/* The transport checksum of TCP or UDP. */
SLUICE_ALWAYS_INLINE __u32 sluice_rewrite_check(struct __sk_buff *ctx, const struct sluice_packet *packet,
						const struct sluice_change *to, const int v6)
{
	__u32 offset = packet->l4 + 16;
	__u64 flags = 0;
	__u32 change;

	if (packet->tuple.protocol == SLUICE_IPPROTO_UDP) {
		/* A zero checksum means none, and stays; one that becomes zero is written as ffff. */
		offset = packet->l4 + 6;
		flags = BPF_F_MARK_MANGLED_0;
	}
	/*
	 * Two steps: a checksum that is left to the device holds the addresses only, and this helper alone knows
	 * whether it is.
	 */
	change = sluice_sum_addresses_change(&packet->tuple, to->src, to->dst, v6);
	if (bpf_l4_csum_replace(ctx, offset, 0, change, flags | BPF_F_PSEUDO_HDR))
		return SLUICE_DROP_REWRITE_FAILED;
	if (to->ports_be == packet->tuple.ports.both_be)
		return SLUICE_DROP_NONE;
	change = sluice_sum_fold32(sluice_sum_change(packet->tuple.ports.both_be, to->ports_be));
	if (bpf_l4_csum_replace(ctx, offset, 0, change, flags))
		return SLUICE_DROP_REWRITE_FAILED;
	return SLUICE_DROP_NONE;
}

/* Returns 0, or the reason why the packet is lost (it may be half changed then). */
SLUICE_ALWAYS_INLINE __u32 sluice_rewrite(struct __sk_buff *ctx, const struct sluice_packet *packet,
					  const struct sluice_change *to, const struct sluice_quote *quote,
					  const int v6)
{
	__u8 protocol = packet->tuple.protocol;
	__u32 reason;
	int at_once;

	if (packet->fragment == SLUICE_LATER_FRAGMENT)
		return sluice_rewrite_ip(ctx, packet, to, v6);
	if (protocol != SLUICE_IPPROTO_TCP && protocol != SLUICE_IPPROTO_UDP) {
		reason = protocol == SLUICE_IPPROTO_SCTP ? sluice_rewrite_sctp(ctx, packet, to) :
							   sluice_rewrite_error(ctx, packet, quote);
		return reason ? reason : sluice_rewrite_ip(ctx, packet, to, v6);
	}
	at_once = !v6 && packet->l4 == packet->l3 + 20;
	if (at_once ? sluice_store_ipv4(ctx, packet, to, 1) :
		      (int)sluice_rewrite_ip(ctx, packet, to, v6))
		return SLUICE_DROP_REWRITE_FAILED;
	reason = sluice_rewrite_check(ctx, packet, to, v6);
	if (reason || at_once || to->ports_be == packet->tuple.ports.both_be)
		return reason;
	return bpf_skb_store_bytes(ctx, packet->l4, &to->ports_be, 4, 0) ? SLUICE_DROP_REWRITE_FAILED :
									   SLUICE_DROP_NONE;
}

#endif
