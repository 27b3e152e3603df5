/*
 * What becomes of a packet: the flow table first, then the image.
 *
 * Each function returns a TC action. `v6` is a constant, so each family has straight code of its own.
 */
#ifndef SLUICE_PROGS_TC_TRANSLATE_H
#define SLUICE_PROGS_TC_TRANSLATE_H

#include "bpf/progs/tc_refuse.h"
#include "bpf/progs/tc_rewrite.h"
#include "bpf/progs/tc_route.h"

enum sluice_place {
	SLUICE_PLACE_POD_INGRESS,  /* sent by a pod */
	SLUICE_PLACE_NODE_INGRESS, /* from other nodes and from outside */
	SLUICE_PLACE_NODE_EGRESS,  /* leaving: the node's own, or forwarded */
	SLUICE_PLACE_POD_EGRESS,   /* to a pod: only answers of the node's own sockets are still to be translated */
};

/*
 * In a redirected packet's tc_index: the program at the egress of its device is to let it pass. What it has become may
 * be the key of another flow, that of a direct connection between the same two ends.
 */
#define SLUICE_TRANSLATED 0x51ce

/* Everything about one packet on its way through. */
struct sluice_work {
	struct sluice_packet packet;
	struct sluice_flow_view flows;
	__u32 place;
	__u32 reserved;
};

/* What the stack cannot hold. Programs of tc run with softirqs off, so each CPU has one user at a time. */
struct sluice_scratch {
	struct sluice_work work;
	struct sluice_flow_hit hit;
	struct sluice_next_hop hop;
	struct bpf_fib_lookup fib;
	struct sluice_flow_pair pair;
	struct sluice_match match;
	struct sluice_frontend_key key;
	struct sluice_selection selection;
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

SLUICE_ALWAYS_INLINE void sluice_count_packet(struct __sk_buff *ctx, const struct sluice_view *image,
					      __u32 service)
{
	struct sluice_service_counters *counters = sluice_counters_of(image, service);
	__u32 segments = ctx->gso_segs;

	if (!counters)
		return;
	SLUICE_COUNT(counters->packets, segments ? segments : 1);
	SLUICE_COUNT(counters->bytes, ctx->len);
}

/* Rewrites the packet to the hit's tuple and sends it on. */
SLUICE_ALWAYS_INLINE int sluice_translate(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_work *work = &scratch->work;
	const struct sluice_flow_hit *hit = &scratch->hit;
	struct sluice_next_hop *hop = &scratch->hop;
	/* The other half's key is what leaves here; only SNAT and egress cannot leave it to the stack. */
	int must_route = work->place == SLUICE_PLACE_NODE_EGRESS ?
				 !(hit->meta.flags & SLUICE_FLOW_REVERSE) :
				 (hit->meta.flags & (SLUICE_FLOW_SNAT | SLUICE_FLOW_REVERSE)) ==
					 SLUICE_FLOW_SNAT;
	int may_route = work->packet.vlan_tags == 0;
	int route = SLUICE_ROUTE_LOCAL;
	__u8 ttl = work->packet.ttl;
	__u32 reason;

	sluice_count_packet(ctx, image, hit->meta.service);
	/* An answer that leaves by a device was routed for its client already. */
	if (work->place == SLUICE_PLACE_POD_EGRESS ||
	    (work->place == SLUICE_PLACE_NODE_EGRESS && (hit->meta.flags & SLUICE_FLOW_REVERSE)))
		may_route = 0;
	if (may_route) {
		route = sluice_route(ctx, &work->packet, &hit->new_src, &hit->new_dst,
				     hit->new_ports, &scratch->fib, hop, v6);
		if (route == SLUICE_ROUTE_FORWARD && work->place != SLUICE_PLACE_NODE_EGRESS) {
			if (ttl <= 1) {
				if (must_route)
					return sluice_drop(SLUICE_DROP_TTL_EXPIRED);
				route = SLUICE_ROUTE_LOCAL;
			} else {
				ttl--;
			}
		}
		if (route != SLUICE_ROUTE_FORWARD && must_route)
			return sluice_drop(route == SLUICE_ROUTE_TOO_BIG ? SLUICE_DROP_TOO_BIG :
									   SLUICE_DROP_NO_ROUTE);
	}
	reason = sluice_rewrite(ctx, &work->packet, &hit->new_src, &hit->new_dst, hit->new_ports, ttl,
				v6);
	if (reason)
		return sluice_drop(reason);
	if (route != SLUICE_ROUTE_FORWARD)
		return TC_ACT_OK;
	ctx->tc_index = SLUICE_TRANSLATED;
	return (int)bpf_redirect_neigh(hop->ifindex, &hop->neighbour, sizeof(hop->neighbour), 0);
}

/* Asks the image about the destination; the answer is in scratch->match. */
SLUICE_SUBPROGRAM int sluice_ask(struct sluice_scratch *scratch, __u32 port_be, __u32 protocol)
{
	struct sluice_view image;

	if (!scratch)
		return 0;
	__builtin_memset(&scratch->match, 0, sizeof(scratch->match));
	if (!sluice_view_open(&image))
		return 0;
	scratch->key.address = scratch->work.packet.tuple.dst;
	scratch->key.port_be = (__u16)port_be;
	scratch->key.protocol = (__u8)protocol;
	scratch->key.scope = SLUICE_SCOPE_ADDRESS;
	sluice_classify(&image, &scratch->key, &scratch->match);
	return 0;
}

/* Whether the source is in the pods' ranges. */
SLUICE_SUBPROGRAM int sluice_from_pod_range(const struct sluice_scratch *scratch)
{
	struct sluice_view image;

	if (!scratch || !sluice_view_open(&image))
		return 0;
	return sluice_in_any_cidr(&image, &scratch->work.packet.tuple.src, SLUICE_CIDR_CLUSTER);
}

/* Whether the source is a pod of this cluster or this node: policy Local does not narrow its choice. */
SLUICE_ALWAYS_INLINE int sluice_from_inside(const struct sluice_scratch *scratch,
					    const struct sluice_view *image)
{
	if (scratch->work.place == SLUICE_PLACE_POD_INGRESS ||
	    scratch->work.place == SLUICE_PLACE_NODE_EGRESS)
		return 1;
	return (image->header->flags & SLUICE_HEADER_DETECT_LOCAL) && sluice_from_pod_range(scratch);
}

/* The table "Masquerade": whether the backend shall see the node instead of the client. */
SLUICE_ALWAYS_INLINE int sluice_wants_snat(const struct sluice_scratch *scratch,
					   const struct sluice_view *image)
{
	__u32 flags = image->header->flags;
	__u32 frontend = scratch->match.frontend_flags;

	if (sluice_address_equal(&scratch->work.packet.tuple.src, &scratch->selection.address))
		return 1;
	if (frontend & SLUICE_FRONTEND_MASQUERADE)
		return 1;
	if (frontend & SLUICE_FRONTEND_EXTERNAL)
		return scratch->work.place == SLUICE_PLACE_NODE_EGRESS;
	if (flags & SLUICE_HEADER_MASQUERADE_ALL)
		return 1;
	return (flags & SLUICE_HEADER_DETECT_LOCAL) && !sluice_from_pod_range(scratch);
}

SLUICE_ALWAYS_INLINE int sluice_refuse_packet(struct __sk_buff *ctx, struct sluice_scratch *scratch,
					      const int v6)
{
	const struct sluice_work *work = &scratch->work;

	/* The node's own packet came down from the stack: its answer goes up again. */
	return sluice_refuse(ctx, &work->flows, &work->packet, &scratch->reply,
			     work->place == SLUICE_PLACE_NODE_EGRESS ? BPF_F_INGRESS : 0, v6);
}

SLUICE_SUBPROGRAM int sluice_refuse4(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	return scratch ? sluice_refuse_packet(ctx, scratch, 0) : TC_ACT_SHOT;
}

SLUICE_SUBPROGRAM int sluice_refuse6(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	return scratch ? sluice_refuse_packet(ctx, scratch, 1) : TC_ACT_SHOT;
}

SLUICE_ALWAYS_INLINE int sluice_turn_away(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_service_counters *counters;

	if (scratch->match.has_service) {
		counters = sluice_counters_of(image, scratch->match.service);
		if (counters)
			SLUICE_COUNT(counters->refused, 1);
	}
	sluice_count_drop(scratch->match.reason);
	if (scratch->match.verdict != SLUICE_VERDICT_REFUSE)
		return TC_ACT_SHOT;
	return v6 ? sluice_refuse6(ctx, scratch) : sluice_refuse4(ctx, scratch);
}

/* External policy Local narrows the choice for traffic from outside only: inside chooses among all. */
SLUICE_ALWAYS_INLINE void sluice_widen(struct sluice_scratch *scratch, const struct sluice_view *image)
{
	struct sluice_match *match = &scratch->match;
	const struct sluice_service *service;

	if (!(match->frontend_flags & SLUICE_FRONTEND_EXTERNAL) ||
	    (match->frontend_flags & SLUICE_FRONTEND_MASQUERADE) || !sluice_from_inside(scratch, image))
		return;
	service = sluice_view_service(image, match->service);
	if (!service)
		return;
	match->word = SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_INTERNAL]);
	sluice_decide(match);
}

/* Fills the pair for a new flow to the selected backend. Returns 0, or why it cannot be. */
SLUICE_ALWAYS_INLINE __u32 sluice_plan_flow(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_work *work = &scratch->work;
	const struct sluice_tuple *tuple = &work->packet.tuple;
	const struct sluice_header *header = image->header;
	const struct sluice_selection *selection = &scratch->selection;
	struct sluice_flow_pair *pair = &scratch->pair;
	const struct sluice_address *node = &header->node_address[v6];
	union sluice_ports ports = tuple->ports;

	pair->forward = *tuple;
	pair->reverse = *tuple;
	pair->reverse.src = selection->address;
	pair->reverse.dst = tuple->src;
	pair->reverse.ports.port_be[SLUICE_SOURCE] = selection->port_be;
	pair->reverse.ports.port_be[SLUICE_DESTINATION] = tuple->ports.port_be[SLUICE_SOURCE];
	pair->service = scratch->match.service;
	pair->backend = selection->backend;
	pair->incarnation = selection->incarnation;
	pair->random = bpf_get_prandom_u32();
	pair->port_min = header->snat_port_min;
	pair->port_max = header->snat_port_max;
	pair->fixed_port = tuple->protocol == SLUICE_IPPROTO_SCTP;
	pair->state = SLUICE_FLOW_NEW;
	pair->snat = 0;
	if (pair->fixed_port && selection->port_be != tuple->ports.port_be[SLUICE_DESTINATION])
		return SLUICE_DROP_SCTP_PORT;
	if (!sluice_wants_snat(scratch, image) ||
	    sluice_address_equal(&tuple->src, node))
		return SLUICE_DROP_NONE;
	/*
	 * A backend on the node's own address answers through the stack, whatever the source is; and the stack would
	 * not take a packet from outside that claims to come from the node.
	 */
	ports.port_be[SLUICE_DESTINATION] = selection->port_be;
	if (work->place != SLUICE_PLACE_NODE_EGRESS &&
	    sluice_route(ctx, &work->packet, &tuple->src, &selection->address, ports,
			 &scratch->fib, &scratch->hop, v6) ==
		    SLUICE_ROUTE_LOCAL)
		return SLUICE_DROP_NONE;
	if (v6 ? (node->word_be[0] | node->word_be[1] | node->word_be[2] | node->word_be[3]) == 0 :
		 node->word_be[3] == 0)
		return SLUICE_DROP_NO_NODE_ADDRESS;
	pair->reverse.dst = *node;
	pair->snat = 1;
	return SLUICE_DROP_NONE;
}

/* Whether a packet may be the first of its connection; any datagram may. SCTP's ports cannot be changed. */
SLUICE_ALWAYS_INLINE int sluice_begins(const struct sluice_packet *packet)
{
	if (packet->tuple.protocol == SLUICE_IPPROTO_TCP)
		return (packet->tcp_flags & (SLUICE_TCP_SYN | SLUICE_TCP_ACK)) == SLUICE_TCP_SYN;
	return packet->tuple.protocol == SLUICE_IPPROTO_UDP;
}

/*
 * A connection that no service translates may still be answered with a tuple that a flow claims: a client reaches a
 * backend through the service and directly, from one source port. A flow that is over makes room; beside a live one
 * the new connection gets another source port, as a translated one would. Returns 1 if the pair of such a flow was
 * filled in.
 */
SLUICE_ALWAYS_INLINE int sluice_avoid_flow(struct sluice_scratch *scratch,
					   const struct sluice_view *image, const int v6)
{
	const struct sluice_tuple *tuple = &scratch->work.packet.tuple;
	const struct sluice_flow_view *flows = &scratch->work.flows;
	struct sluice_flow_pair *pair = &scratch->pair;
	struct sluice_flow_hit *hit = &scratch->hit;

	pair->forward = *tuple;
	pair->reverse = *tuple;
	pair->reverse.src = tuple->dst;
	pair->reverse.dst = tuple->src;
	pair->reverse.ports.port_be[SLUICE_SOURCE] = tuple->ports.port_be[SLUICE_DESTINATION];
	pair->reverse.ports.port_be[SLUICE_DESTINATION] = tuple->ports.port_be[SLUICE_SOURCE];
	if (!sluice_flow_find(flows, &pair->reverse, sluice_flow_hash(flows, &pair->reverse, v6), hit, v6))
		return 0;
	if (hit->state == SLUICE_FLOW_CLOSED || hit->state == SLUICE_FLOW_CLOSING ||
	    sluice_flow_expired(flows, hit)) {
		sluice_flow_forget(flows, hit, v6);
		return 0;
	}
	pair->service = hit->meta.service;
	pair->backend = hit->meta.backend;
	pair->incarnation = hit->meta.incarnation;
	pair->random = bpf_get_prandom_u32();
	pair->port_min = image->header->snat_port_min;
	pair->port_max = image->header->snat_port_max;
	pair->fixed_port = 0;
	pair->state = SLUICE_FLOW_NEW;
	pair->snat = 0;
	return 1;
}

/* Inserts scratch->pair and finds the flow that is then in the table. Returns 0, or why there is none. */
SLUICE_ALWAYS_INLINE __u32 sluice_establish(struct sluice_scratch *scratch, const struct sluice_view *image,
					    const int v6)
{
	struct sluice_flow_view *flows = &scratch->work.flows;
	const struct sluice_tuple *tuple = &scratch->work.packet.tuple;
	struct sluice_service_counters *counters;
	int result = v6 ? sluice_flow_insert6(flows, &scratch->pair) :
			  sluice_flow_insert4(flows, &scratch->pair);

	if (result == SLUICE_FLOW_FULL)
		return SLUICE_DROP_FLOW_TABLE_FULL;
	if (result == SLUICE_FLOW_NO_PORT)
		return SLUICE_DROP_NO_SNAT_PORT;
	if (result == SLUICE_FLOW_INSERTED && scratch->match.has_service) {
		counters = sluice_counters_of(image, scratch->match.service);
		if (counters)
			SLUICE_COUNT(counters->connections, 1);
	}
	/* Inserted here or by another CPU: the table's choice is the choice. */
	if (!sluice_flow_find(flows, tuple, sluice_flow_hash(flows, tuple, v6), &scratch->hit, v6))
		return SLUICE_DROP_FLOW_TABLE_FULL;
	return SLUICE_DROP_NONE;
}

/* What sluice_admit returns when scratch->pair is a flow to establish; no TC action. */
#define SLUICE_ADMITTED 0x100

/* A packet without a flow: the action that ends its way here, or SLUICE_ADMITTED. */
SLUICE_ALWAYS_INLINE int sluice_admit(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_work *work = &scratch->work;
	const struct sluice_tuple *tuple = &work->packet.tuple;
	__u32 reason;
	int chosen;

	sluice_ask(scratch, tuple->ports.port_be[SLUICE_DESTINATION], tuple->protocol);
	if (scratch->match.verdict == SLUICE_VERDICT_PASS) {
		if (work->place == SLUICE_PLACE_NODE_EGRESS || !sluice_begins(&work->packet) ||
		    !sluice_avoid_flow(scratch, image, v6))
			return TC_ACT_OK;
		return SLUICE_ADMITTED;
	}
	if (scratch->match.has_service)
		sluice_widen(scratch, image);
	if (scratch->match.verdict != SLUICE_VERDICT_TRANSLATE)
		return sluice_turn_away(ctx, scratch, image, v6);
	if (tuple->protocol == SLUICE_IPPROTO_TCP && (work->packet.tcp_flags & SLUICE_TCP_RST))
		return sluice_drop(SLUICE_DROP_NO_FLOW);

	if (scratch->match.affinity_timeout_s)
		chosen = sluice_select_affine(image, &scratch->match, &tuple->src,
					      bpf_get_prandom_u32(), &scratch->selection);
	else
		chosen = sluice_select(image, scratch->match.word, bpf_get_prandom_u32(),
				       &scratch->selection);
	if (!chosen)
		return sluice_drop(SLUICE_DROP_STALE_IMAGE);
	reason = sluice_plan_flow(ctx, scratch, image, v6);
	if (reason)
		return sluice_drop(reason);
	return SLUICE_ADMITTED;
}

/*
 * Whether a packet of the client may go on using its flow. A connection keeps its backend, also one that no longer
 * serves; what starts anew chooses anew; datagrams leave a backend that no longer serves at once.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_usable(const struct sluice_work *work,
					  const struct sluice_view *image,
					    const struct sluice_flow_hit *hit)
{
	__u8 flags = work->packet.tcp_flags;

	if (hit->meta.flags & SLUICE_FLOW_REVERSE)
		return 1;
	if (hit->meta.protocol == SLUICE_IPPROTO_TCP) {
		if ((flags & (SLUICE_TCP_SYN | SLUICE_TCP_ACK | SLUICE_TCP_RST)) != SLUICE_TCP_SYN)
			return 1;
		if (hit->state == SLUICE_FLOW_CLOSED || hit->state == SLUICE_FLOW_CLOSING)
			return 0;
	}
	if (sluice_flow_expired(&work->flows, hit))
		return 0;
	/* Made by sluice_avoid_flow: nobody chose the backend for the client, and nobody may take it away. */
	if (sluice_address_equal(&hit->new_dst, &work->packet.tuple.dst))
		return 1;
	return sluice_backend_serves(image, hit->meta.backend, hit->meta.incarnation);
}

/* A packet with ports. */
SLUICE_ALWAYS_INLINE int sluice_process(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image, const int v6)
{
	struct sluice_work *work = &scratch->work;
	const struct sluice_tuple *tuple = &work->packet.tuple;
	__u64 hash = sluice_flow_hash(&work->flows, tuple, v6);
	struct sluice_flow_hit *hit = &scratch->hit;
	int known = 0;
	int action;
	__u32 reason;

	if (sluice_flow_find(&work->flows, tuple, hash, hit, v6)) {
		/* What a service's client sends was translated where it came in. */
		if (work->place == SLUICE_PLACE_POD_EGRESS && !(hit->meta.flags & SLUICE_FLOW_REVERSE))
			return TC_ACT_OK;
		if (!sluice_flow_usable(work, image, hit))
			sluice_flow_forget(&work->flows, hit, v6);
		else
			known = sluice_flow_follow(&work->flows, hit, work->packet.tcp_flags, v6);
	}
	if (!known) {
		if (work->place == SLUICE_PLACE_POD_EGRESS)
			return TC_ACT_OK;
		action = sluice_admit(ctx, scratch, image, v6);
		if (action != SLUICE_ADMITTED)
			return action;
		reason = sluice_establish(scratch, image, v6);
		if (reason)
			return sluice_drop(reason);
	}
	return sluice_translate(ctx, scratch, image, v6);
}

/*
 * A packet without ports that can be used. To a service address it is refused (other protocols, pings) or
 * dropped (broken headers, fragments); ICMP other than pings passes, for it may be an error about a flow.
 */
SLUICE_ALWAYS_INLINE int sluice_process_portless(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				const struct sluice_view *image,
				__u32 error, const int v6)
{
	struct sluice_work *work = &scratch->work;

	if (work->packet.tuple.protocol == (v6 ? SLUICE_IPPROTO_ICMPV6 : SLUICE_IPPROTO_ICMP) &&
	    work->packet.icmp_type != (v6 ? 128 : 8) && !error && !work->packet.fragment)
		return TC_ACT_OK;
	/* 255 is reserved, so that only entries for the whole address match. */
	sluice_ask(scratch, 0, 255);
	if (scratch->match.verdict == SLUICE_VERDICT_PASS)
		return TC_ACT_OK;
	if (scratch->match.verdict == SLUICE_VERDICT_REFUSE && (error || work->packet.fragment))
		return sluice_drop(error ? error : SLUICE_DROP_FRAGMENT);
	return sluice_turn_away(ctx, scratch, image, v6);
}

#endif
