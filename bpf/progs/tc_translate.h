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
	struct sluice_reply reply;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_scratch);
} sluice_scratch SEC(".maps");

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

SLUICE_ALWAYS_INLINE void sluice_count_packet(struct __sk_buff *ctx, const struct sluice_view *image,
					      __u32 backend)
{
	struct sluice_backend_counters *served = sluice_served_by(image, backend);
	__u32 segments = ctx->gso_segs;

	if (!served)
		return;
	SLUICE_COUNT(served->packets, segments ? segments : 1);
	SLUICE_COUNT(served->bytes, ctx->len);
}

/* Rewrites the packet to the hit's tuple and sends it on. */
SLUICE_ALWAYS_INLINE int sluice_translate(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_case *now = &scratch->now;
	const struct sluice_flow_hit *hit = &scratch->now.hit;
	struct sluice_next_hop *hop = &scratch->hop;
	/* The other half's key is what leaves here; only SNAT and egress cannot leave it to the stack. */
	int must_route = now->place == SLUICE_PLACE_NODE_EGRESS ?
				 !(hit->meta.flags & SLUICE_FLOW_REVERSE) :
				 (hit->meta.flags & (SLUICE_FLOW_SNAT | SLUICE_FLOW_REVERSE)) ==
					 SLUICE_FLOW_SNAT;
	int may_route = now->packet.vlan_tags == 0;
	int route = SLUICE_ROUTE_LOCAL;
	__u8 ttl = now->packet.ttl;
	__u32 reason;

	sluice_count_packet(ctx, image, hit->meta.backend);
	/* An answer that leaves by a device was routed for its client already. */
	if (now->place == SLUICE_PLACE_POD_EGRESS ||
	    (now->place == SLUICE_PLACE_NODE_EGRESS && (hit->meta.flags & SLUICE_FLOW_REVERSE)))
		may_route = 0;
	if (may_route) {
		route = sluice_route(ctx, &now->packet, &hit->new_src, &hit->new_dst,
				     hit->new_ports, &scratch->fib, hop, v6);
		if (route == SLUICE_ROUTE_FORWARD && now->place != SLUICE_PLACE_NODE_EGRESS) {
			if (ttl <= 1) {
				if (must_route)
					return sluice_drop_packet(now, SLUICE_DROP_TTL_EXPIRED);
				route = SLUICE_ROUTE_LOCAL;
			} else {
				ttl--;
			}
		}
		if (route != SLUICE_ROUTE_FORWARD && must_route)
			return sluice_drop_packet(now, route == SLUICE_ROUTE_TOO_BIG ?
							       SLUICE_DROP_TOO_BIG :
							       SLUICE_DROP_NO_ROUTE);
	}
	reason = sluice_rewrite(ctx, &now->packet, &hit->new_src, &hit->new_dst, hit->new_ports, ttl,
				v6);
	if (reason)
		return sluice_drop_packet(now, reason);
	if (route != SLUICE_ROUTE_FORWARD)
		return TC_ACT_OK;
	ctx->tc_index = SLUICE_TRANSLATED;
	return (int)bpf_redirect_neigh(hop->ifindex, &hop->neighbour, sizeof(hop->neighbour), 0);
}

typedef struct __sk_buff *sluice_env;

SLUICE_ALWAYS_INLINE __u32 sluice_env_random(void)
{
	return bpf_get_prandom_u32();
}

SLUICE_ALWAYS_INLINE int sluice_env_stays(sluice_env ctx, struct sluice_case *now, const int v6)
{
	/* The case is the scratch's first member. */
	struct sluice_scratch *scratch = (struct sluice_scratch *)now;
	union sluice_ports ports = now->packet.tuple.ports;

	ports.port_be[SLUICE_DESTINATION] = now->selection.port_be;
	return sluice_route(ctx, &now->packet, &now->packet.tuple.src, &now->selection.address, ports,
			    &scratch->fib, &scratch->hop, v6) == SLUICE_ROUTE_LOCAL;
}

#include "bpf/lib/decide.h"

SLUICE_ALWAYS_INLINE int sluice_refuse_packet(struct __sk_buff *ctx, struct sluice_scratch *scratch,
					      const int v6)
{
	const struct sluice_case *now = &scratch->now;

	/* The node's own packet came down from the stack: its answer goes up again. */
	return sluice_refuse(ctx, &now->flows, &now->packet, &scratch->reply,
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
	return v6 ? sluice_refuse6(ctx, scratch) : sluice_refuse4(ctx, scratch);
}

/* A packet with ports. */
SLUICE_ALWAYS_INLINE int sluice_process(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	int decision = sluice_decide(ctx, &scratch->now, image, v6);

	if (decision == SLUICE_DECIDE_PASS)
		return TC_ACT_OK;
	if (decision == SLUICE_DECIDE_TRANSLATE)
		return sluice_translate(ctx, scratch, image, v6);
	return sluice_turn_away(ctx, scratch, image, decision == SLUICE_DECIDE_REFUSE, v6);
}

/*
 * A packet without ports that can be used. To a service address it is refused (other protocols, pings) or
 * dropped (broken headers, fragments); ICMP other than pings passes, for it may be an error about a flow.
 */
SLUICE_ALWAYS_INLINE int sluice_process_portless(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image,
				__u32 error, const int v6)
{
	struct sluice_case *now = &scratch->now;

	if (now->packet.tuple.protocol == (v6 ? SLUICE_IPPROTO_ICMPV6 : SLUICE_IPPROTO_ICMP) &&
	    now->packet.icmp_type != (v6 ? 128 : 8) && !error && !now->packet.fragment)
		return TC_ACT_OK;
	/* 255 is reserved, so that only entries for the whole address match. */
	sluice_ask(now, 0, 255, 0);
	if (now->match.verdict == SLUICE_VERDICT_PASS)
		return TC_ACT_OK;
	if (now->match.verdict == SLUICE_VERDICT_REFUSE && (error || now->packet.fragment))
		return sluice_drop_packet(now, error ? error : SLUICE_DROP_FRAGMENT);
	now->reason = now->match.reason;
	return sluice_turn_away(ctx, scratch, image, now->match.verdict == SLUICE_VERDICT_REFUSE, v6);
}

#endif
