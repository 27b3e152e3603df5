/*
 * What becomes of a packet: the flow table first, then the image.
 *
 * Each function returns a TC action. `v6` is a constant, so each family has straight code of its own.
 */
#ifndef SLUICE_PROGS_TC_TRANSLATE_H
#define SLUICE_PROGS_TC_TRANSLATE_H

#include "bpf/lib/case.h"
#include "bpf/progs/events.h"
#include "bpf/progs/tc_refuse.h"
#include "bpf/progs/tc_rewrite.h"
#include "bpf/progs/tc_route.h"

/*
 * In a redirected packet's tc_index: the program at the egress of its device is to let it pass. What it has become may
 * be the key of another flow, that of a direct connection between the same two ends.
 */
#define SLUICE_TRANSLATED 0x51ce

/* What the stack cannot hold. Programs of tc run with softirqs off, so each CPU has one user at a time. */
struct sluice_scratch {
	struct sluice_case now;
	struct sluice_next_hop hop;
	struct bpf_fib_lookup fib;
	struct sluice_answer answer;
	struct sluice_reply reply;
	struct sluice_quote quote; /* of an ICMP error that is translated */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_scratch);
} sluice_scratch SEC(".maps");

typedef struct __sk_buff *sluice_env;

SLUICE_ALWAYS_INLINE __u32 sluice_env_random(void)
{
	return sluice_draw();
}

SLUICE_ALWAYS_INLINE int sluice_env_stays(sluice_env ctx, struct sluice_case *now, const int v6)
{
	/* The case is the scratch's first member; the verifier knows that only of the map's own pointer. */
	__u32 zero = 0;
	struct sluice_scratch *scratch = bpf_map_lookup_elem(&sluice_scratch, &zero);
	union sluice_ports ports = now->packet.tuple.ports;

	if (!scratch)
		return 1;
	ports.port_be[SLUICE_DESTINATION] = now->selection.port_be;
	return sluice_route(ctx, &now->packet, &now->packet.tuple.src, &now->selection.address, ports,
			    &scratch->fib, &scratch->hop, v6) == SLUICE_ROUTE_LOCAL;
}

#include "bpf/lib/decide.h"
#include "bpf/lib/portless.h"

SLUICE_ALWAYS_INLINE int sluice_drop(__u32 reason)
{
	sluice_count_drop(reason);
	return TC_ACT_SHOT;
}

/* The same for a packet that is known well enough to be logged. */
SLUICE_ALWAYS_INLINE int sluice_drop_packet(struct sluice_case *now, __u32 reason)
{
	now->reason = reason;
	sluice_log_event(now, SLUICE_EVENT_DROPPED);
	return sluice_drop(reason);
}

/* Bytes: the Ethernet header and the IP packet, whatever pads the frame behind it. */
SLUICE_ALWAYS_INLINE void sluice_count_packet(struct __sk_buff *ctx, const struct sluice_view *image,
					      const struct sluice_packet *packet, __u32 backend)
{
	struct sluice_backend_counters *served = sluice_served_by(image, backend);
	__u32 segments = ctx->gso_segs;

	if (!served)
		return;
	SLUICE_COUNT_IN_ROW(image, served->packets, segments ? segments : 1);
	SLUICE_COUNT_IN_ROW(image, served->bytes, SLUICE_ETH_HEADER + packet->end - packet->l3);
}

SLUICE_ALWAYS_INLINE int sluice_refuse_packet(struct __sk_buff *ctx, struct sluice_scratch *scratch,
					      const int v6)
{
	const struct sluice_case *now = &scratch->now;

	/* The node's own packet came down from the stack: its answer goes up again. */
	return sluice_refuse(ctx, &now->flows, &now->packet, &scratch->answer, &scratch->reply,
			     now->place == SLUICE_PLACE_NODE_EGRESS ? BPF_F_INGRESS : 0, v6);
}

SLUICE_SUBPROGRAM int sluice_refuse4(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	return scratch ? sluice_refuse_packet(ctx, scratch, 0) : TC_ACT_SHOT;
}

SLUICE_SUBPROGRAM int sluice_refuse6(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	return scratch ? sluice_refuse_packet(ctx, scratch, 1) : TC_ACT_SHOT;
}

/* Counts a packet of a flow that is answered instead of sent on; scratch->answer says by what. */
SLUICE_ALWAYS_INLINE int sluice_answer(struct __sk_buff *ctx, struct sluice_scratch *scratch, __u32 reason,
				       const int v6)
{
	sluice_drop_packet(&scratch->now, reason);
	return v6 ? sluice_refuse6(ctx, scratch) : sluice_refuse4(ctx, scratch);
}

/* Rewrites the packet to the hit's tuple and sends it on. */
SLUICE_ALWAYS_INLINE int sluice_translate(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_case *now = &scratch->now;
	const struct sluice_flow_hit *hit = &scratch->now.hit;
	struct sluice_next_hop *hop = &scratch->hop;
	struct sluice_change to = {.src = &hit->new_src, .dst = &hit->new_dst};
	int route = SLUICE_ROUTE_LOCAL;
	__u32 reason;

	to.ttl = now->packet.ttl;
	/* By option it was counted as the client sent it. */
	if (!sluice_counted_direct(now))
		sluice_count_packet(ctx, image, &now->packet, hit->meta.backend);
	if (sluice_may_route(now)) {
		route = sluice_route(ctx, &now->packet, &hit->new_src, &hit->new_dst,
				     hit->new_ports, &scratch->fib, hop, v6);
		if (route == SLUICE_ROUTE_FORWARD && now->place != SLUICE_PLACE_NODE_EGRESS) {
			if (to.ttl <= 1) {
				sluice_answer_time_exceeded(&scratch->answer, v6);
				return sluice_answer(ctx, scratch, SLUICE_DROP_TTL_EXPIRED, v6);
			}
			to.ttl--;
		}
		if (route == SLUICE_ROUTE_TOO_BIG && sluice_too_big_for_us(now)) {
			sluice_answer_too_big(&scratch->answer, scratch->fib.mtu_result, v6);
			return sluice_answer(ctx, scratch, SLUICE_DROP_TOO_BIG, v6);
		}
		if (route != SLUICE_ROUTE_FORWARD && sluice_must_route(now))
			return sluice_drop_packet(now, SLUICE_DROP_NO_ROUTE);
	}
	sluice_keep_frontend(now);
	to.ports_be = hit->new_ports.both_be;
	reason = sluice_rewrite(ctx, &now->packet, &to, &scratch->quote, v6);
	if (reason)
		return sluice_drop_packet(now, reason);
	if (route != SLUICE_ROUTE_FORWARD)
		return TC_ACT_OK;
	/* A priority tag is this link's, not the next one's. */
	if (ctx->vlan_present && bpf_skb_vlan_pop(ctx))
		return sluice_drop_packet(now, SLUICE_DROP_REWRITE_FAILED);
	ctx->tc_index = SLUICE_TRANSLATED;
	return (int)bpf_redirect_neigh(hop->ifindex, &hop->neighbour, sizeof(hop->neighbour), 0);
}

SLUICE_SUBPROGRAM int sluice_translate4(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	struct sluice_view image;

	return scratch && sluice_view_open(&image) ? sluice_translate(ctx, scratch, &image, 0) : TC_ACT_SHOT;
}

SLUICE_SUBPROGRAM int sluice_translate6(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	struct sluice_view image;

	return scratch && sluice_view_open(&image) ? sluice_translate(ctx, scratch, &image, 1) : TC_ACT_SHOT;
}

/* Counts and carries out a refusal or a drop. */
SLUICE_ALWAYS_INLINE int sluice_turn_away(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, int refuse, const int v6)
{
	if (scratch->now.match.has_service)
		sluice_count_refused(image, scratch->now.match.service);
	sluice_count_drop(scratch->now.reason);
	sluice_log_event(&scratch->now, refuse ? SLUICE_EVENT_REFUSED : SLUICE_EVENT_DROPPED);
	if (!refuse)
		return TC_ACT_SHOT;
	scratch->answer.type = 0;
	return v6 ? sluice_refuse6(ctx, scratch) : sluice_refuse4(ctx, scratch);
}

/* Direct server return: tc_direct.h. */
SLUICE_SUBPROGRAM int sluice_direct_send4(struct __sk_buff *ctx, struct sluice_scratch *scratch);
SLUICE_SUBPROGRAM int sluice_direct_send6(struct __sk_buff *ctx, struct sluice_scratch *scratch);

/* A packet with ports: its own, or those that its datagram's first fragment had. */
SLUICE_ALWAYS_INLINE int sluice_process(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_case *now = &scratch->now;
	int decision = sluice_decide(ctx, now, image, v6);

	if (decision == SLUICE_DECIDE_PASS)
		return TC_ACT_OK;
	if (decision == SLUICE_DECIDE_TRANSLATE) {
		if (now->hit.meta.flags & SLUICE_FLOW_NAMED)
			return v6 ? sluice_direct_send6(ctx, scratch) : sluice_direct_send4(ctx, scratch);
		if (now->packet.fragment == SLUICE_FIRST_FRAGMENT)
			sluice_datagram_remember(&now->flows, &now->packet, v6);
		return v6 ? sluice_translate6(ctx, scratch) : sluice_translate4(ctx, scratch);
	}
	return sluice_turn_away(ctx, scratch, image, decision == SLUICE_DECIDE_REFUSE, v6);
}

/* Turns an ICMP error in the scratch. Returns 0 if it is about none of our flows. */
SLUICE_ALWAYS_INLINE int sluice_turn_error(struct __sk_buff *ctx, struct sluice_scratch *scratch, const int v6)
{
	const struct sluice_packet *packet = &scratch->now.packet;
	struct sluice_quote *quote = &scratch->quote;
	__u32 length = packet->end - packet->l4;

	if (length > SLUICE_ICMP_BYTES)
		length = SLUICE_ICMP_BYTES;
	__builtin_memset(quote->word, 0, sizeof(quote->word));
	quote->length = length;
	if (length < SLUICE_ICMP_LEAST || length > SLUICE_ICMP_BYTES ||
	    bpf_skb_load_bytes(ctx, packet->l4, quote->word, length))
		return 0;
	return sluice_turn_quote(&scratch->now, quote, v6);
}

SLUICE_SUBPROGRAM int sluice_turn_error4(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	return scratch ? sluice_turn_error(ctx, scratch, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_turn_error6(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	return scratch ? sluice_turn_error(ctx, scratch, 1) : 0;
}

/* A packet without ports that can be used. */
SLUICE_ALWAYS_INLINE int sluice_process_portless(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image,
				__u32 error, const int v6)
{
	struct sluice_case *now = &scratch->now;
	const struct sluice_packet *packet = &now->packet;
	int decision;

	if (sluice_is_icmp(packet, error, v6)) {
		if (sluice_icmp_is_of_the_link(packet->icmp_type, v6))
			return TC_ACT_OK;
		if (sluice_icmp_is_error(packet->icmp_type, v6)) {
			if (v6 && sluice_turn_error6(ctx, scratch))
				return sluice_translate6(ctx, scratch);
			if (!v6 && sluice_turn_error4(ctx, scratch))
				return sluice_translate4(ctx, scratch);
		}
	}
	decision = sluice_decide_portless(now, error, v6);
	if (decision == SLUICE_DECIDE_PASS)
		return TC_ACT_OK;
	return sluice_turn_away(ctx, scratch, image, decision == SLUICE_DECIDE_REFUSE, v6);
}

#endif
