/*
 * What becomes of a packet with ports: the flow table first, then the image. The same decisions for every engine.
 *
 * The includer defines BEFORE including this header, beside the views of lookup.h and flow.h:
 *
 *   typedef ... sluice_env;    what a packet is to the engine (struct __sk_buff *), passed on and not looked at
 *   __u32 sluice_env_random(void);
 *   int   sluice_env_stays(sluice_env, struct sluice_case *, const int v6)
 *                              whether what is sent to selection.address is for this node itself
 *   int   sluice_select_affine(const struct sluice_view *, const struct sluice_match *, const struct sluice_address
 *                              *client, __u32 point, struct sluice_selection *)
 *   void  sluice_note_opened(const struct sluice_view *, const struct sluice_case *)
 *                              a service's flow, case.pair, was inserted: to be counted and perhaps logged
 *
 * They may use struct sluice_case (bpf/lib/case.h). And, if not all of the image's source ports are this engine's:
 *
 *   #define SLUICE_ENV_PORTS   and   void sluice_env_ports(const struct sluice_view *, struct sluice_flow_pair *)
 *                              fills in port_min and port_max
 *
 * `v6` is a constant in every call, so that each family has straight code of its own. Nothing here changes a packet.
 */
#ifndef SLUICE_LIB_DECIDE_H
#define SLUICE_LIB_DECIDE_H

#include "bpf/lib/case.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/select.h"

#ifndef SLUICE_ENV_PORTS
SLUICE_ALWAYS_INLINE void sluice_env_ports(const struct sluice_view *image, struct sluice_flow_pair *pair)
{
	pair->port_min = image->header->snat_port_min;
	pair->port_max = image->header->snat_port_max;
}
#endif

/* Asks the image about a destination; the answer is in match. */
SLUICE_SUBPROGRAM int sluice_ask(struct sluice_case *now, __u32 port_be, __u32 protocol, __u32 inside)
{
	struct sluice_view image;

	if (!now)
		return 0;
	__builtin_memset(&now->match, 0, sizeof(now->match));
	if (!sluice_view_open(&image))
		return 0;
	now->key.address = now->packet.tuple.dst;
	now->key.port_be = (__u16)port_be;
	now->key.protocol = (__u8)protocol;
	now->key.scope = SLUICE_SCOPE_ADDRESS;
	sluice_classify(&image, &now->key, (int)inside, &now->match);
	return 0;
}

/* Whether the source is in the pods' ranges. */
SLUICE_SUBPROGRAM int sluice_from_pod_range(const struct sluice_case *now)
{
	struct sluice_view image;

	if (!now || !sluice_view_open(&image))
		return 0;
	return sluice_in_any_cidr(&image, &now->packet.tuple.src, SLUICE_CIDR_CLUSTER);
}

/* Whether the client is in one of the service's ranges. */
SLUICE_SUBPROGRAM int sluice_in_sources(const struct sluice_case *now)
{
	struct sluice_view image;

	if (!now || !sluice_view_open(&image))
		return 0;
	return sluice_source_allowed(&image, now->match.sources, &now->packet.tuple.src);
}

/* detectLocal: whether the source is a pod. */
SLUICE_ALWAYS_INLINE int sluice_from_pod(const struct sluice_case *now, const struct sluice_view *image)
{
	__u32 flags = image->header->flags;

	if (flags & SLUICE_HEADER_DETECT_DEVICE)
		return now->place == SLUICE_PLACE_POD_INGRESS;
	return (flags & SLUICE_HEADER_DETECT_LOCAL) && sluice_from_pod_range(now);
}

/* Whether the source is a pod of this cluster or this node: external policy Local does not narrow its choice. */
SLUICE_ALWAYS_INLINE int sluice_from_inside(const struct sluice_case *now, const struct sluice_view *image)
{
	return now->place == SLUICE_PLACE_POD_INGRESS || now->place == SLUICE_PLACE_NODE_EGRESS ||
	       sluice_from_pod(now, image);
}

/* Whether the backend's node shall answer the client itself: the flag of the flow, or 0. */
SLUICE_ALWAYS_INLINE __u32 sluice_direct_return(const struct sluice_case *now)
{
	__u32 frontend = now->match.frontend_flags;

	if (!(frontend & SLUICE_FRONTEND_DSR) ||
	    now->place != SLUICE_PLACE_NODE_INGRESS || (now->selection.flags & SLUICE_BACKEND_LOCAL))
		return 0;
	/* Nobody answers himself under another name: hairpin goes through this node, both ways. */
	if (sluice_address_equal(&now->packet.tuple.src, &now->selection.address))
		return 0;
	/* Another node could not answer. */
	if (sluice_is_link_local(&now->packet.tuple.src))
		return 0;
	if (frontend & SLUICE_FRONTEND_DSR_LINK)
		return SLUICE_FLOW_LINK;
	return frontend & SLUICE_FRONTEND_DSR_TUNNEL ? SLUICE_FLOW_TUNNEL : SLUICE_FLOW_OPTION;
}

/* The table "Masquerade": whether the backend shall see the node instead of the client. */
SLUICE_ALWAYS_INLINE int sluice_wants_snat(const struct sluice_case *now, const struct sluice_view *image)
{
	__u32 flags = image->header->flags;
	__u32 frontend = now->match.frontend_flags;

	if (sluice_address_equal(&now->packet.tuple.src, &now->selection.address))
		return 1;
	/* Whose answers need not come back through this node keeps its address. */
	if ((frontend & SLUICE_FRONTEND_DSR) && now->place == SLUICE_PLACE_NODE_INGRESS)
		return 0;
	if (frontend & SLUICE_FRONTEND_MASQUERADE)
		return 1;
	if (frontend & SLUICE_FRONTEND_EXTERNAL)
		return now->place == SLUICE_PLACE_NODE_EGRESS;
	if (flags & SLUICE_HEADER_MASQUERADE_ALL)
		return 1;
	return (flags & (SLUICE_HEADER_DETECT_LOCAL | SLUICE_HEADER_DETECT_DEVICE)) &&
	       !sluice_from_pod(now, image);
}

/* Fills the pair for a new flow to the selected backend. Returns 0, or why it cannot be. */
SLUICE_ALWAYS_INLINE __u32 sluice_plan_flow(sluice_env env, struct sluice_case *now,
					    const struct sluice_view *image, const int v6)
{
	const struct sluice_tuple *tuple = &now->packet.tuple;
	const struct sluice_header *header = image->header;
	const struct sluice_selection *selection = &now->selection;
	struct sluice_flow_pair *pair = &now->pair;
	const struct sluice_address *node = &header->node_address[v6];

	pair->forward = *tuple;
	pair->reverse = *tuple;
	pair->reverse.src = selection->address;
	pair->reverse.dst = tuple->src;
	pair->reverse.ports.port_be[SLUICE_SOURCE] = selection->port_be;
	pair->reverse.ports.port_be[SLUICE_DESTINATION] = tuple->ports.port_be[SLUICE_SOURCE];
	pair->service = now->match.service;
	pair->backend = selection->backend;
	pair->incarnation = selection->incarnation;
	pair->random = sluice_env_random();
	sluice_env_ports(image, pair);
	pair->fixed_port = 0;
	pair->state = SLUICE_FLOW_NEW;
	pair->flags = (__u8)sluice_direct_return(now);
	pair->snat = 0;
	if (!sluice_wants_snat(now, image) || sluice_address_equal(&tuple->src, node))
		return SLUICE_DROP_NONE;
	/*
	 * A backend on the node's own address answers through the stack, whatever the source is; and the stack would
	 * not take a packet from outside that claims to come from the node. A link-local source keeps to its link: the
	 * stack delivers what is for the node and tells the client of the rest, to the address that it has.
	 */
	if (now->place != SLUICE_PLACE_NODE_EGRESS &&
	    ((v6 && sluice_is_link_local(&tuple->src)) || sluice_env_stays(env, now, v6)))
		return SLUICE_DROP_NONE;
	if (v6 ? (node->word_be[0] | node->word_be[1] | node->word_be[2] | node->word_be[3]) == 0 :
		 node->word_be[3] == 0)
		return SLUICE_DROP_NO_NODE_ADDRESS;
	pair->reverse.dst = *node;
	pair->snat = 1;
	return SLUICE_DROP_NONE;
}

/*
 * Whether a packet may be the first of its connection. Any datagram may, and any of SCTP: on a further path of an
 * association a heartbeat comes first.
 */
SLUICE_ALWAYS_INLINE int sluice_begins(const struct sluice_packet *packet)
{
	if (packet->tuple.protocol == SLUICE_IPPROTO_TCP)
		return (packet->tcp_flags & (SLUICE_TCP_SYN | SLUICE_TCP_ACK)) == SLUICE_TCP_SYN;
	return 1;
}

/* Whether a flow that is not over answers with pair->reverse; it is in `hit` then. One that is over makes room. */
SLUICE_ALWAYS_INLINE int sluice_is_answered(struct sluice_case *now, const int v6)
{
	const struct sluice_flow_view *flows = &now->flows;
	const struct sluice_tuple *answer = &now->pair.reverse;
	struct sluice_flow_hit *hit = &now->hit;

	if (!sluice_flow_find_any(flows, answer, sluice_flow_hash(flows, answer, v6), hit, v6))
		return 0;
	if (hit->state != SLUICE_FLOW_CLOSED && hit->state != SLUICE_FLOW_CLOSING && !sluice_flow_expired(flows, hit))
		return 1;
	sluice_flow_forget(flows, hit, v6);
	return 0;
}

/*
 * A connection that no service translates may still be answered with a tuple that a flow claims: a client reaches a
 * backend through the service and directly, from one source port. A flow that is over makes room; beside a live one
 * the new connection gets another source port, as a translated one would. Returns 1 if the pair of such a flow was
 * filled in.
 */
SLUICE_ALWAYS_INLINE int sluice_avoid_flow(struct sluice_case *now,
					   const struct sluice_view *image, const int v6)
{
	const struct sluice_tuple *tuple = &now->packet.tuple;
	struct sluice_flow_pair *pair = &now->pair;
	struct sluice_flow_hit *hit = &now->hit;

	pair->forward = *tuple;
	pair->reverse = *tuple;
	pair->reverse.src = tuple->dst;
	pair->reverse.dst = tuple->src;
	pair->reverse.ports.port_be[SLUICE_SOURCE] = tuple->ports.port_be[SLUICE_DESTINATION];
	pair->reverse.ports.port_be[SLUICE_DESTINATION] = tuple->ports.port_be[SLUICE_SOURCE];
	if (!sluice_is_answered(now, v6))
		return 0;
	pair->service = hit->meta.service;
	pair->backend = hit->meta.backend;
	pair->incarnation = hit->meta.incarnation;
	pair->random = sluice_env_random();
	sluice_env_ports(image, pair);
	pair->fixed_port = 0;
	pair->state = SLUICE_FLOW_NEW;
	pair->flags = SLUICE_FLOW_DIRECT;
	pair->snat = 0;
	return 1;
}

/*
 * How often an insert is tried that meets claimed buckets. One wait (SLUICE_FLOW_CLAIM_LOOKS) is shorter than an
 * insert with cold caches takes: of two datagrams that a socket sends at once, the second would be lost (kubernetes
 * 56903). All of them take less than a millisecond: the other CPU may be answering an interrupt, or be a virtual one
 * that waits.
 */
#define SLUICE_ESTABLISH_TRIES 1024

/* Inserts the pair and finds the flow that is then in the table. Returns 0, or why there is none. */
SLUICE_ALWAYS_INLINE __u32 sluice_establish(struct sluice_case *now, const struct sluice_view *image,
					    const int v6)
{
	struct sluice_flow_view *flows = &now->flows;
	const struct sluice_tuple *tuple = &now->packet.tuple;
	int result = SLUICE_FLOW_CLAIMED;
	int i;

	for (i = 0; i < SLUICE_ESTABLISH_TRIES && result == SLUICE_FLOW_CLAIMED; i++)
		result = v6 ? sluice_flow_insert6(flows, &now->pair) : sluice_flow_insert4(flows, &now->pair);
	if (result == SLUICE_FLOW_FULL)
		return SLUICE_DROP_FLOW_TABLE_FULL;
	if (result == SLUICE_FLOW_NO_PORT)
		return SLUICE_DROP_NO_SNAT_PORT;
	if (result == SLUICE_FLOW_INSERTED && now->match.has_service)
		sluice_note_opened(image, now);
	if (result == SLUICE_FLOW_INSERTED) {
		sluice_flow_hit_of(&now->pair, &now->hit);
		return SLUICE_DROP_NONE;
	}
	/* By another CPU: the table's choice is the choice. */
	if (!sluice_flow_find(flows, tuple, sluice_flow_hash(flows, tuple, v6), &now->hit, v6))
		return SLUICE_DROP_FLOW_TABLE_FULL;
	return SLUICE_DROP_NONE;
}

SLUICE_ALWAYS_INLINE int sluice_decide_drop(struct sluice_case *now, __u32 reason)
{
	now->reason = reason;
	return SLUICE_DECIDE_DROP;
}

/* Chooses a backend for a new flow. Returns 0 if the image gave none. */
SLUICE_ALWAYS_INLINE int sluice_choose(struct sluice_case *now, const struct sluice_view *image)
{
	const struct sluice_tuple *tuple = &now->packet.tuple;
	__u32 kind = sluice_hash_kind(image, now->match.word);
	__u32 point;

	if (kind & SLUICE_RING_RANDOM)
		point = sluice_env_random();
	else
		point = sluice_ring_hash(tuple, kind);
	if (now->match.affinity_timeout_s)
		return sluice_select_affine(image, &now->match, &tuple->src, point, &now->selection);
	return sluice_select(image, now->match.word, point, &now->selection);
}

SLUICE_ALWAYS_INLINE int sluice_admit_family(sluice_env env, struct sluice_case *now,
				      const struct sluice_view *image, const int v6)
{
	const struct sluice_tuple *tuple = &now->packet.tuple;
	__u32 reason;

	sluice_ask(now, tuple->ports.port_be[SLUICE_DESTINATION], tuple->protocol,
		   (__u32)sluice_from_inside(now, image));
	if (now->match.verdict == SLUICE_VERDICT_PASS) {
		if (now->place == SLUICE_PLACE_NODE_EGRESS || !sluice_begins(&now->packet) ||
		    !sluice_avoid_flow(now, image, v6))
			return SLUICE_DECIDE_PASS;
		return SLUICE_DECIDE_ESTABLISH;
	}
	if (!sluice_source_is_host(&now->packet))
		return sluice_decide_drop(now, SLUICE_DROP_BAD_SOURCE);
	/* Before anything is answered, whether there are endpoints or not. */
	if (now->match.sources && !sluice_in_sources(now))
		return sluice_decide_drop(now, SLUICE_DROP_SOURCE_RANGE);
	/* Another choice of backend would end a connection that kube-proxy's rules have begun. */
	if ((image->header->flags & SLUICE_HEADER_BESIDE_PROXY) && !sluice_begins(&now->packet))
		return SLUICE_DECIDE_PASS;
	if (now->match.verdict != SLUICE_VERDICT_TRANSLATE) {
		now->reason = now->match.reason;
		return now->match.verdict == SLUICE_VERDICT_REFUSE ? SLUICE_DECIDE_REFUSE : SLUICE_DECIDE_DROP;
	}
	/* Of SCTP: ABORT and SHUTDOWN COMPLETE. */
	if (now->packet.tcp_flags & SLUICE_TCP_RST)
		return sluice_decide_drop(now, SLUICE_DROP_NO_FLOW);
	if (!sluice_choose(now, image))
		return sluice_decide_drop(now, SLUICE_DROP_STALE_IMAGE);
	reason = sluice_plan_flow(env, now, image, v6);
	if (reason)
		return sluice_decide_drop(now, reason);
	return SLUICE_DECIDE_ESTABLISH;
}

/* Functions of their own also for the sake of BPF's stack: what they need is gone when the flow is inserted. */
SLUICE_SUBPROGRAM int sluice_admit4(sluice_env env, struct sluice_case *now)
{
	struct sluice_view image;

	return now && sluice_view_open(&image) ? sluice_admit_family(env, now, &image, 0) : SLUICE_DECIDE_PASS;
}

SLUICE_SUBPROGRAM int sluice_admit6(sluice_env env, struct sluice_case *now)
{
	struct sluice_view image;

	return now && sluice_view_open(&image) ? sluice_admit_family(env, now, &image, 1) : SLUICE_DECIDE_PASS;
}

/* A packet without a flow: PASS, REFUSE, DROP, or ESTABLISH. */
SLUICE_ALWAYS_INLINE int sluice_admit(sluice_env env, struct sluice_case *now, const int v6)
{
	return v6 ? sluice_admit6(env, now) : sluice_admit4(env, now);
}

/* A packet with ports: PASS, TRANSLATE, REFUSE or DROP. */
SLUICE_ALWAYS_INLINE int sluice_decide(sluice_env env, struct sluice_case *now,
				       const struct sluice_view *image, const int v6)
{
	const struct sluice_tuple *tuple = &now->packet.tuple;
	__u64 hash = sluice_flow_hash(&now->flows, tuple, v6);
	struct sluice_flow_hit *hit = &now->hit;
	int decision;
	__u32 reason;

	now->match.has_service = 0;
	if (sluice_flow_find_or_move(&now->flows, tuple, hash, hit, v6)) {
		/* What a service's client sends was translated where it came in. */
		if (now->place == SLUICE_PLACE_POD_EGRESS && !(hit->meta.flags & SLUICE_FLOW_REVERSE))
			return SLUICE_DECIDE_PASS;
		if (!sluice_flow_usable(now, image, hit))
			sluice_flow_forget(&now->flows, hit, v6);
		else if (sluice_flow_follow(&now->flows, hit, now->packet.tcp_flags, v6))
			return SLUICE_DECIDE_TRANSLATE;
	}
	if (now->place == SLUICE_PLACE_POD_EGRESS)
		return SLUICE_DECIDE_PASS;
	/* Its first fragment was translated, by a flow that has gone since. */
	if (now->packet.fragment == SLUICE_LATER_FRAGMENT)
		return sluice_decide_drop(now, SLUICE_DROP_FRAGMENT);
	decision = sluice_admit(env, now, v6);
	if (decision != SLUICE_DECIDE_ESTABLISH)
		return decision;
	reason = sluice_establish(now, image, v6);
	return reason ? sluice_decide_drop(now, reason) : SLUICE_DECIDE_TRANSLATE;
}

#endif
