/*
 * Changing a frame in place and sending it on. Each function has decided everything before it changes the first byte:
 * what it cannot do is left to tc as it came.
 */
#ifndef SLUICE_PROGS_XDP_SEND_H
#define SLUICE_PROGS_XDP_SEND_H

#include "bpf/lib/rewrite.h"
#include "bpf/lib/tunnel.h"

/* Set by the loader where the kernel has frames of several buffers (Linux 5.18). */
const volatile __u32 sluice_xdp_frags;

/* The lengths that the first look left out. Returns 0 if the packet is not sound: tc judges it. */
SLUICE_ALWAYS_INLINE int sluice_read_plain(struct xdp_md *ctx, __u8 protocol, struct sluice_plain *plain,
					   const int v6)
{
	const __u8 *frame = (const __u8 *)(long)ctx->data;
	const __u8 *end = (const __u8 *)(long)ctx->data_end;
	const __u8 *ip = frame + SLUICE_ETH_HEADER;
	const __u8 *l4 = ip + (v6 ? 40 : 20);
	__u32 header;

	if (l4 + 8 > end)
		return 0;
	plain->tcp_flags = 0;
	plain->ttl = v6 ? ip[7] : ip[8];
	plain->tos = v6 ? 0 : ip[1];
	plain->total = SLUICE_NTOH16(sluice_load16(ip + (v6 ? 4 : 2))) + (v6 ? 40 : 0);
	header = 8;
	if (protocol == SLUICE_IPPROTO_TCP) {
		if (l4 + 20 > end)
			return 0;
		plain->tcp_flags = l4[13];
		header = (__u32)(l4[12] >> 4) * 4;
		if (header < 20)
			return 0;
	} else if (protocol == SLUICE_IPPROTO_SCTP) {
		header = 12;
		plain->tcp_flags = SLUICE_TCP_ACK;
		if (plain->total >= (v6 ? 40U : 20U) + 16) {
			if (l4 + 16 > end)
				return 0;
			plain->tcp_flags = sluice_sctp_as_tcp_flags(l4[12]);
		}
	}
	/* Who forwards a packet vouches for its header. */
	if (v6 ? (ip[0] >> 4) != 6 : !sluice_ipv4_sum_right(ip, 20, end))
		return 0;
	if (plain->total < header + (v6 ? 40 : 20))
		return 0;
	if (frame + SLUICE_ETH_HEADER + plain->total > end &&
	    (!sluice_xdp_frags || SLUICE_ETH_HEADER + plain->total > bpf_xdp_get_buff_len(ctx)))
		return 0;
	return 1;
}

/* Whether the flow's packet can leave by this next hop. */
SLUICE_ALWAYS_INLINE int sluice_can_send(const struct sluice_hop *hop, const struct sluice_plain *plain,
					 __u8 protocol, __u32 flags, __u32 ports_change, const int v6)
{
	__u32 growth = 0;

	if (hop->kind != SLUICE_HOP_FORWARD)
		return 0;
	if (flags & SLUICE_FLOW_NAMED)
		growth = sluice_direct_growth(!!(flags & SLUICE_FLOW_TUNNEL),
					      sluice_carries_option(protocol, plain->tcp_flags), v6);
	/* Too big: tc tells the client. */
	if (hop->mtu && plain->total + growth > hop->mtu)
		return 0;
	if (flags & SLUICE_FLOW_TUNNEL)
		return 1;
	if (protocol == SLUICE_IPPROTO_SCTP && ports_change && !(flags & SLUICE_FLOW_LINK))
		return 0;
	return plain->ttl > 1;
}

/* A tunnel begins at the node's address; without one tc drops the packet, and says why. */
SLUICE_ALWAYS_INLINE int sluice_has_tunnel(const struct sluice_view *image, __u32 flags, const int v6)
{
	const struct sluice_address *node = &image->header->node_address[v6];

	return !(flags & SLUICE_FLOW_TUNNEL) ||
	       (node->word_be[0] | node->word_be[1] | node->word_be[3]) != 0;
}

SLUICE_ALWAYS_INLINE void sluice_put_macs(__u8 *frame, const struct sluice_hop *hop)
{
	const __u32 *mac = (const __u32 *)hop->mac;

	sluice_store32(frame, mac[0]);
	sluice_store32(frame + 4, mac[1]);
	sluice_store32(frame + 8, mac[2]);
}

/* An address of map memory into the frame, in words that BPF's targets load and store wherever they lie. */
SLUICE_ALWAYS_INLINE void sluice_put_address(__u8 *to, const struct sluice_address *address)
{
	const __u64 *from = (const __u64 *)address->word_be;

	/* So that clang forgets that the address was of four words. */
	__asm__ volatile("" : "+r"(from));
	*(__u64 *)to = from[0];
	*(__u64 *)(to + 8) = from[1];
}

SLUICE_ALWAYS_INLINE int sluice_leave(struct xdp_md *ctx, const struct sluice_hop *hop)
{
	if (hop->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return (int)bpf_redirect(hop->ifindex, 0);
}

SLUICE_ALWAYS_INLINE int sluice_lost(void)
{
	sluice_count_drop(SLUICE_DROP_REWRITE_FAILED);
	return XDP_DROP;
}

/* IP in IP to the backend. */
SLUICE_ALWAYS_INLINE int sluice_send_tunnel(struct xdp_md *ctx, const struct sluice_address *backend, __u16 port_be,
					    const struct sluice_view *image, const struct sluice_hop *hop,
					    const struct sluice_plain *plain, const int v6)
{
	const struct sluice_address *node = &image->header->node_address[v6];
	__u32 first_be = 0;
	__u8 *frame;

	if (v6) {
		frame = (__u8 *)(long)ctx->data;
		if (frame + SLUICE_GLANCE6_BYTES > (__u8 *)(long)ctx->data_end)
			return XDP_PASS;
		first_be = sluice_load32(frame + SLUICE_ETH_HEADER);
	}
	if (bpf_xdp_adjust_head(ctx, v6 ? -40 : -20))
		return XDP_PASS;
	frame = (__u8 *)(long)ctx->data;
	if (frame + SLUICE_ETH_HEADER + (v6 ? 40 : 20) > (__u8 *)(long)ctx->data_end)
		return sluice_lost();
	sluice_put_macs(frame, hop);
	sluice_store16(frame + 12, v6 ? SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6) :
					SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4));
	if (v6) {
		__u32 outer[2];

		sluice_begin_outer6(outer, plain->total, port_be, first_be);
		sluice_store32(frame + SLUICE_ETH_HEADER, outer[0]);
		sluice_store32(frame + SLUICE_ETH_HEADER + 4, outer[1]);
		sluice_put_address(frame + SLUICE_ETH_HEADER + 8, node);
		sluice_put_address(frame + SLUICE_ETH_HEADER + 24, backend);
	} else {
		__u32 outer[SLUICE_OUTER4_WORDS];
		int i;

		sluice_build_outer4(outer, node->word_be[3], backend->word_be[3], plain->total, port_be,
				    plain->tos);
#pragma unroll
		for (i = 0; i < SLUICE_OUTER4_WORDS; i++)
			sluice_store32(frame + SLUICE_ETH_HEADER + 4 * i, outer[i]);
	}
	return sluice_leave(ctx, hop);
}

/* Makes room for the option behind the IP header and fills it in; the addresses are still the client's. */
SLUICE_ALWAYS_INLINE int sluice_add_option(struct xdp_md *ctx, const struct sluice_tuple *tuple,
					   const int v6)
{
	__u16 port_be = tuple->ports.port_be[SLUICE_DESTINATION];
	const int size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
	const int header = v6 ? 40 : 20;
	__u32 option[6];
	__u8 *frame, *ip;
	__u64 change;
	__u32 length;
	int i;

	if (bpf_xdp_adjust_head(ctx, -size))
		return 0;
	frame = (__u8 *)(long)ctx->data;
	if (frame + SLUICE_ETH_HEADER + header + size > (__u8 *)(long)ctx->data_end)
		return 0;
	ip = frame + SLUICE_ETH_HEADER;
#pragma unroll
	for (i = 12; i < SLUICE_ETH_HEADER; i += 2)
		sluice_store16(frame + i, sluice_load16(frame + i + size));
#pragma unroll
	for (i = 0; i < header; i += 4)
		sluice_store32(ip + i, sluice_load32(ip + i + size));
	if (v6) {
		sluice_build_option6(option, &tuple->dst, port_be, ip[6]);
		length = SLUICE_NTOH16(sluice_load16(ip + 4)) + SLUICE_OPTION6_BYTES;
		ip[6] = SLUICE_IPPROTO_DSTOPTS;
		sluice_store16(ip + 4, SLUICE_HTON16(length));
	} else {
		sluice_build_option4(option, tuple->dst.word_be[3], port_be);
		length = SLUICE_NTOH16(sluice_load16(ip + 2)) + SLUICE_OPTION4_BYTES;
		change = sluice_sum_change(sluice_load32(ip),
					   SLUICE_HTON32(0x47000000U | (__u32)ip[1] << 16 | length)) +
			 option[0] + option[1];
		ip[0] = 0x47;
		sluice_store16(ip + 2, SLUICE_HTON16(length));
		sluice_store16(ip + 10, sluice_check_add(sluice_load16(ip + 10), change));
	}
#pragma unroll
	for (i = 0; i < size / 4; i++)
		sluice_store32(ip + header + 4 * i, option[i]);
	return 1;
}

/* New addresses and ports; with `option`, the frontend goes along. */
SLUICE_ALWAYS_INLINE int sluice_send_rewritten(struct xdp_md *ctx, const struct sluice_tuple *tuple,
					       const struct sluice_flow_hit *hit,
					       const struct sluice_hop *hop,
					       const struct sluice_plain *plain, int option, const int v6)
{
	__u8 *frame = (__u8 *)(long)ctx->data;
	__u8 *ip = frame + SLUICE_ETH_HEADER;
	__u8 *l4 = ip + (v6 ? 40 : 20);

	if (tuple->protocol == SLUICE_IPPROTO_TCP) {
		if (l4 + 18 > (__u8 *)(long)ctx->data_end)
			return XDP_PASS;
		sluice_rewrite_packet(ip, l4, tuple, &hit->new_src, &hit->new_dst, hit->new_ports,
				      (__u8)(plain->ttl - 1), v6);
	} else {
		if (l4 + 8 > (__u8 *)(long)ctx->data_end)
			return XDP_PASS;
		sluice_rewrite_packet(ip, l4, tuple, &hit->new_src, &hit->new_dst, hit->new_ports,
				      (__u8)(plain->ttl - 1), v6);
	}
	if (option) {
		if (!sluice_add_option(ctx, tuple, v6))
			return sluice_lost();
		frame = (__u8 *)(long)ctx->data;
		if (frame + SLUICE_ETH_HEADER > (__u8 *)(long)ctx->data_end)
			return sluice_lost();
	}
	sluice_put_macs(frame, hop);
	return sluice_leave(ctx, hop);
}

/* To the next hop towards the backend as it came, but for the hop. */
SLUICE_ALWAYS_INLINE int sluice_send_by_link(struct xdp_md *ctx, const struct sluice_tuple *tuple,
					     const struct sluice_hop *hop, const struct sluice_plain *plain,
					     const int v6)
{
	__u8 *frame = (__u8 *)(long)ctx->data;
	__u8 *ip = frame + SLUICE_ETH_HEADER;

	if (ip + 20 > (__u8 *)(long)ctx->data_end)
		return XDP_PASS;
	if (v6)
		ip[7] = (__u8)(plain->ttl - 1);
	else
		sluice_rewrite_ipv4_by(ip, tuple->src.word_be[3], tuple->dst.word_be[3],
				       (__u8)(plain->ttl - 1), 0);
	sluice_put_macs(frame, hop);
	return sluice_leave(ctx, hop);
}

/* `cell`: as sluice_served_cell says. */
SLUICE_ALWAYS_INLINE void sluice_count_served(const struct sluice_view *image, __u32 cell, __u32 total)
{
	struct sluice_backend_counters *served = bpf_map_lookup_elem(&sluice_served, &cell);

	if (served) {
		SLUICE_COUNT_IN_ROW(image, served->packets, 1);
		SLUICE_COUNT_IN_ROW(image, served->bytes, SLUICE_ETH_HEADER + total);
	}
}

/* Sends a packet of the flow in `hit` on. REQUIRES: sluice_can_send said so. */
SLUICE_ALWAYS_INLINE int sluice_send(struct xdp_md *ctx, const struct sluice_tuple *tuple,
				     const struct sluice_flow_hit *hit, const struct sluice_view *image,
				     const struct sluice_hop *hop, const struct sluice_plain *plain, const int v6)
{
	sluice_count_served(image, sluice_served_cell(image, hit->meta.backend), plain->total);
	if (hit->meta.flags & SLUICE_FLOW_TUNNEL)
		return sluice_send_tunnel(ctx, &hit->new_dst, hit->new_ports.port_be[SLUICE_DESTINATION], image, hop,
					  plain, v6);
	if (hit->meta.flags & SLUICE_FLOW_LINK)
		return sluice_send_by_link(ctx, tuple, hop, plain, v6);
	return sluice_send_rewritten(ctx, tuple, hit, hop, plain,
				     (hit->meta.flags & SLUICE_FLOW_OPTION) &&
					     sluice_carries_option(tuple->protocol, plain->tcp_flags),
				     v6);
}

#endif
