/*
 * Direct server return on tc: the load balancer's side of flows that XDP does not serve, and the backend's side
 * (bpf/lib/direct.h, bpf/lib/tunnel.h). Include after tc_translate.h.
 *
 * Datagrams in fragments do not go this way: no later fragment would find its pod.
 */
#ifndef SLUICE_PROGS_TC_DIRECT_H
#define SLUICE_PROGS_TC_DIRECT_H

#include "bpf/lib/direct.h"

SLUICE_SUBPROGRAM int sluice_parse_skb(struct __sk_buff *ctx, struct sluice_scratch *scratch);

/* The route to the flow's backend for a packet that grows. Returns enum sluice_route. */
SLUICE_ALWAYS_INLINE int sluice_route_grown(struct __sk_buff *ctx, struct sluice_scratch *scratch,
					    const struct sluice_address *src, __u32 growth, const int v6)
{
	struct sluice_packet *packet = &scratch->now.packet;
	const struct sluice_flow_hit *hit = &scratch->now.hit;
	int route;

	packet->end += growth;
	packet->l4_size += (__u8)growth;
	route = sluice_route(ctx, packet, src, &hit->new_dst, hit->new_ports, &scratch->fib, &scratch->hop,
			     v6);
	packet->end -= growth;
	packet->l4_size -= (__u8)growth;
	return route;
}

/* IP in IP to the backend's node. */
SLUICE_ALWAYS_INLINE int sluice_send_in_tunnel(struct __sk_buff *ctx, struct sluice_scratch *scratch,
					       const struct sluice_view *image, const int v6)
{
	struct sluice_case *now = &scratch->now;
	const struct sluice_flow_hit *hit = &now->hit;
	const struct sluice_address *node = &image->header->node_address[v6];
	__u16 port_be = hit->new_ports.port_be[SLUICE_DESTINATION];
	const __u32 growth = v6 ? 40 : 20;
	__u32 length = now->packet.end - now->packet.l3;
	__u32 outer[SLUICE_OUTER6_WORDS];
	__u32 first_be;
	int route;

	if (v6 ? (node->word_be[0] | node->word_be[1] | node->word_be[2] | node->word_be[3]) == 0 :
		 node->word_be[3] == 0)
		return sluice_drop_packet(now, SLUICE_DROP_NO_NODE_ADDRESS);
	route = sluice_route_grown(ctx, scratch, node, growth, v6);
	if (route == SLUICE_ROUTE_TOO_BIG) {
		sluice_answer_too_big(&scratch->answer, scratch->fib.mtu_result - growth, v6);
		return sluice_answer(ctx, scratch, SLUICE_DROP_TOO_BIG, v6);
	}
	if (route != SLUICE_ROUTE_FORWARD)
		return sluice_drop_packet(now, SLUICE_DROP_NO_ROUTE);
	if (bpf_skb_load_bytes(ctx, now->packet.l3, &first_be, sizeof(first_be)) ||
	    bpf_skb_adjust_room(ctx, (int)growth, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | (v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 :
								 BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)))
		return sluice_drop_packet(now, SLUICE_DROP_REWRITE_FAILED);
	if (v6)
		sluice_build_outer6(outer, node, &hit->new_dst, length, port_be, first_be);
	else
		sluice_build_outer4(outer, node->word_be[3], hit->new_dst.word_be[3], length, port_be,
				    (__u8)(SLUICE_NTOH32(first_be) >> 16));
	if (bpf_skb_store_bytes(ctx, SLUICE_ETH_HEADER, outer, growth, BPF_F_INVALIDATE_HASH) ||
	    (ctx->vlan_present && bpf_skb_vlan_pop(ctx)))
		return sluice_drop_packet(now, SLUICE_DROP_REWRITE_FAILED);
	ctx->tc_index = SLUICE_TRANSLATED;
	return (int)bpf_redirect_neigh(scratch->hop.ifindex, &scratch->hop.neighbour,
				       sizeof(scratch->hop.neighbour), 0);
}

/* Puts the option that names the frontend behind the IP header, and brings the packet record up to date. */
SLUICE_ALWAYS_INLINE int sluice_insert_option(struct __sk_buff *ctx, struct sluice_scratch *scratch, const int v6)
{
	struct sluice_packet *packet = &scratch->now.packet;
	__u16 port_be = packet->tuple.ports.port_be[SLUICE_DESTINATION];
	const __u32 size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
	const __u32 header = v6 ? 40 : 20;
	__u32 option[6], word[3];
	__u32 length = packet->end - packet->l3;
	__u8 next;

	if (bpf_skb_load_bytes(ctx, packet->l3, word, sizeof(word)))
		return 0;
	if (v6) {
		if (!sluice_put_option6(word, length, &next))
			return 0;
		sluice_build_option6(option, &packet->tuple.dst, port_be, next);
	} else {
		sluice_build_option4(option, packet->tuple.dst.word_be[3], port_be);
		if (ctx->gso_size || !sluice_put_option4(word, option, length))
			return 0;
		packet->ip_check = SLUICE_HTON16((__u16)SLUICE_NTOH32(word[2]));
	}
	if (bpf_skb_adjust_room(ctx, (int)size, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(ctx, packet->l3, word, sizeof(word), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(ctx, packet->l3 + header, option, size, BPF_F_RECOMPUTE_CSUM))
		return 0;
	packet->l4 += size;
	packet->end += size;
	return 1;
}

/* A packet of a flow by tunnel or option. */
SLUICE_ALWAYS_INLINE int sluice_direct_send(struct __sk_buff *ctx, struct sluice_scratch *scratch,
					    const struct sluice_view *image, const int v6)
{
	struct sluice_case *now = &scratch->now;
	const __u32 growth = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
	int route;

	if (now->packet.fragment != SLUICE_WHOLE)
		return sluice_drop_packet(now, SLUICE_DROP_FRAGMENT);
	sluice_count_packet(ctx, image, &now->packet, now->hit.meta.backend);
	if (now->hit.meta.flags & SLUICE_FLOW_TUNNEL)
		return sluice_send_in_tunnel(ctx, scratch, image, v6);
	if (sluice_carries_option(now->packet.tuple.protocol, now->packet.tcp_flags)) {
		/* Asked before the packet changes, so that the answer quotes what the client sent. */
		route = sluice_route_grown(ctx, scratch, &now->hit.new_src, growth, v6);
		if (route == SLUICE_ROUTE_TOO_BIG) {
			sluice_answer_too_big(&scratch->answer, scratch->fib.mtu_result - growth, v6);
			return sluice_answer(ctx, scratch, SLUICE_DROP_TOO_BIG, v6);
		}
		if (route == SLUICE_ROUTE_FORWARD && now->packet.ttl <= 1) {
			sluice_answer_time_exceeded(&scratch->answer, v6);
			return sluice_answer(ctx, scratch, SLUICE_DROP_TTL_EXPIRED, v6);
		}
		if (!sluice_insert_option(ctx, scratch, v6))
			return sluice_drop_packet(now, SLUICE_DROP_BAD_HEADER);
	}
	return v6 ? sluice_translate6(ctx, scratch) : sluice_translate4(ctx, scratch);
}

SLUICE_SUBPROGRAM int sluice_direct_send4(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	struct sluice_view image;

	return scratch && sluice_view_open(&image) ? sluice_direct_send(ctx, scratch, &image, 0) : TC_ACT_SHOT;
}

SLUICE_SUBPROGRAM int sluice_direct_send6(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	struct sluice_view image;

	return scratch && sluice_view_open(&image) ? sluice_direct_send(ctx, scratch, &image, 1) : TC_ACT_SHOT;
}

/* What sluice_direct_receive says. */
enum sluice_received {
	SLUICE_RECEIVED_AS_IS = 0, /* none of this: go on */
	SLUICE_RECEIVED_AGAIN = 1, /* parse it again: it has changed, or its record has */
	SLUICE_RECEIVED_DROP = 2,  /* counted */
};

/*
 * In four steps, each a function of its own that leaves its stack behind: read what the other node says (the packet
 * record is then the client's packet to the frontend, now->pair.reverse.src and now->selection.port_be the backend),
 * accept it, take off what was added, parse again.
 */
SLUICE_ALWAYS_INLINE int sluice_read_tunnel(struct __sk_buff *ctx, struct sluice_scratch *scratch, const int v6)
{
	struct sluice_case *now = &scratch->now;
	const __u32 outer = v6 ? 40 : 20;
	__u32 word[2];

	if (now->packet.l4 != SLUICE_ETH_HEADER + outer ||
	    bpf_skb_load_bytes(ctx, SLUICE_ETH_HEADER, word, sizeof(word)))
		return 0;
	now->selection.port_be = sluice_outer_port((const __u8 *)word, v6);
	now->pair.reverse.src = now->packet.tuple.dst;
	__builtin_memset(&now->packet, 0, sizeof(now->packet));
	now->packet.l3 = SLUICE_ETH_HEADER + outer;
	return sluice_parse_ip((const void *)(long)ctx->data, (const void *)(long)ctx->data_end, ctx->len,
			       v6 ? SLUICE_ETHERTYPE_IPV6 : SLUICE_ETHERTYPE_IPV4,
			       &now->packet) == SLUICE_PARSE_OK &&
	       now->packet.fragment == SLUICE_WHOLE;
}

SLUICE_ALWAYS_INLINE int sluice_find_option(struct __sk_buff *ctx, struct sluice_scratch *scratch, const int v6)
{
	struct sluice_case *now = &scratch->now;
	struct sluice_packet *packet = &now->packet;
	const __u32 size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
	const __u32 header = v6 ? 40 : 20;
	__u32 option[6];
	__u16 port_be;
	__u8 next;

	if (packet->l4 != packet->l3 + header + size ||
	    bpf_skb_load_bytes(ctx, packet->l3 + header, option, size) ||
	    bpf_skb_load_bytes(ctx, packet->l3 + 6, &next, 1) || (v6 && next != SLUICE_IPPROTO_DSTOPTS))
		return 0;
	now->pair.reverse.src = packet->tuple.dst;
	now->selection.port_be = packet->tuple.ports.port_be[SLUICE_DESTINATION];
	if (!sluice_read_option((const __u8 *)option, &packet->tuple.dst, &port_be, v6))
		return 0;
	packet->tuple.ports.port_be[SLUICE_DESTINATION] = port_be;
	return 1;
}

/* `tunnel`: else by option. Returns 0 if the packet is neither; its record may be spoilt then. */
SLUICE_SUBPROGRAM int sluice_read_direct(struct __sk_buff *ctx, struct sluice_scratch *scratch, int tunnel, int v6)
{
	if (!scratch)
		return 0;
	if (tunnel)
		return v6 ? sluice_read_tunnel(ctx, scratch, 1) : sluice_read_tunnel(ctx, scratch, 0);
	return v6 ? sluice_find_option(ctx, scratch, 1) : sluice_find_option(ctx, scratch, 0);
}

SLUICE_ALWAYS_INLINE int sluice_accept(struct sluice_scratch *scratch, int tunnel, const int v6)
{
	struct sluice_case *now = &scratch->now;
	struct sluice_view image;

	if (!sluice_view_open(&image))
		return SLUICE_DIRECT_PASS;
	now->match.has_service = 0;
	return sluice_direct_accept(now, &image, &now->pair.reverse.src, now->selection.port_be,
				    !tunnel, v6);
}

SLUICE_SUBPROGRAM int sluice_accept4(struct sluice_scratch *scratch, int tunnel)
{
	return scratch ? sluice_accept(scratch, tunnel, 0) : SLUICE_DIRECT_PASS;
}

SLUICE_SUBPROGRAM int sluice_accept6(struct sluice_scratch *scratch, int tunnel)
{
	return scratch ? sluice_accept(scratch, tunnel, 1) : SLUICE_DIRECT_PASS;
}

/* Takes the option off, and gives the packet the frontend's address and port again. Returns 0 or a reason. */
SLUICE_ALWAYS_INLINE __u32 sluice_strip_option(struct __sk_buff *ctx, struct sluice_scratch *scratch, const int v6)
{
	struct sluice_case *now = &scratch->now;
	struct sluice_packet *packet = &now->packet;
	struct sluice_change to = {.src = &packet->tuple.src, .dst = &now->key.address};
	const __u32 size = v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES;
	const __u32 header = v6 ? 40 : 20;
	/* In map memory, for the stack is short. */
	__u32 *word = scratch->reply.word;
	__u8 next = 0;

	if (bpf_skb_load_bytes(ctx, packet->l3, word, header) ||
	    bpf_skb_load_bytes(ctx, packet->l3 + header, &next, 1))
		return SLUICE_DROP_REWRITE_FAILED;
	packet->l4 -= size;
	packet->end -= size;
	if (v6) {
		sluice_take_option6(word, packet->end - packet->l3, next);
	} else {
		sluice_take_option4(word, packet->end - packet->l3);
		packet->ip_check = SLUICE_HTON16((__u16)SLUICE_NTOH32(word[2]));
	}
	if (bpf_skb_adjust_room(ctx, -(int)size, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO) ||
	    bpf_skb_store_bytes(ctx, packet->l3, word, header, BPF_F_RECOMPUTE_CSUM))
		return SLUICE_DROP_REWRITE_FAILED;
	/* From what the frame holds to the frontend. */
	now->key.address = packet->tuple.dst;
	to.ports_be = packet->tuple.ports.both_be;
	to.ttl = packet->ttl;
	packet->tuple.dst = now->pair.reverse.src;
	packet->tuple.ports.port_be[SLUICE_DESTINATION] = now->selection.port_be;
	return sluice_rewrite(ctx, packet, &to, &scratch->quote, v6);
}

SLUICE_SUBPROGRAM int sluice_strip4(struct __sk_buff *ctx, struct sluice_scratch *scratch, int tunnel)
{
	if (!scratch)
		return SLUICE_DROP_REWRITE_FAILED;
	if (tunnel)
		return bpf_skb_adjust_room(ctx, -20, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) ?
			       SLUICE_DROP_REWRITE_FAILED :
			       0;
	return (int)sluice_strip_option(ctx, scratch, 0);
}

SLUICE_SUBPROGRAM int sluice_strip6(struct __sk_buff *ctx, struct sluice_scratch *scratch, int tunnel)
{
	if (!scratch)
		return SLUICE_DROP_REWRITE_FAILED;
	if (tunnel)
		return bpf_skb_adjust_room(ctx, -40, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) ?
			       SLUICE_DROP_REWRITE_FAILED :
			       0;
	return (int)sluice_strip_option(ctx, scratch, 1);
}

/*
 * A packet from outside that another node sent for direct return. `parsed`: what the parser said of it; the flow
 * view is open. Returns enum sluice_received.
 */
SLUICE_ALWAYS_INLINE int sluice_direct_receive(struct __sk_buff *ctx, struct sluice_scratch *scratch, int parsed)
{
	struct sluice_case *now = &scratch->now;
	int v6 = now->packet.family == 6;
	int tunnel, what;

	if (now->place != SLUICE_PLACE_NODE_INGRESS || now->packet.fragment != SLUICE_WHOLE)
		return SLUICE_RECEIVED_AS_IS;
	tunnel = parsed == SLUICE_PARSE_NO_PORTS &&
		 now->packet.tuple.protocol == (v6 ? SLUICE_IPPROTO_IPV6 : SLUICE_IPPROTO_IPIP);
	if (!tunnel && (parsed != SLUICE_PARSE_OK || now->packet.l4 - now->packet.l3 != (v6 ? 64 : 28)))
		return SLUICE_RECEIVED_AS_IS;
	if (!sluice_read_direct(ctx, scratch, tunnel, v6))
		return SLUICE_RECEIVED_AGAIN;
	what = v6 ? sluice_accept6(scratch, tunnel) : sluice_accept4(scratch, tunnel);
	if (what == SLUICE_DIRECT_PASS)
		return SLUICE_RECEIVED_AGAIN;
	if (what == SLUICE_DIRECT_ACCEPT) {
		now->reason = (__u32)(v6 ? sluice_strip6(ctx, scratch, tunnel) :
					   sluice_strip4(ctx, scratch, tunnel));
		if (!now->reason)
			return SLUICE_RECEIVED_AGAIN;
	}
	sluice_drop_packet(now, now->reason);
	return SLUICE_RECEIVED_DROP;
}

#endif
