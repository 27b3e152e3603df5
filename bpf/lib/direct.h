/*
 * The backend's node of direct server return: whether a packet that came in a tunnel or with an option is for a pod
 * here, and the flow by which that pod's answers leave with the frontend's address. Include after bpf/lib/decide.h.
 */
#ifndef SLUICE_LIB_DIRECT_H
#define SLUICE_LIB_DIRECT_H

#include "bpf/lib/decide.h"
#include "bpf/lib/tunnel.h"

/* <0, 0, >0 as a member of a set stands before, at or after (address, port) in the set's order. */
SLUICE_ALWAYS_INLINE int sluice_member_compare(const struct sluice_backend *backend,
					       const struct sluice_address *address, __u16 port_be)
{
	int order = sluice_address_compare(&backend->address, address);

	if (order)
		return order;
	return (int)SLUICE_NTOH16(backend->port_be) - (int)SLUICE_NTOH16(port_be);
}

/* The member of the set in `word` with this address and port: sets are sorted by both. Returns 0 if there is none. */
SLUICE_ALWAYS_INLINE int sluice_find_member(const struct sluice_view *view, __u64 word,
					    const struct sluice_address *address, __u16 port_be,
					    struct sluice_selection *found)
{
	__u32 low = sluice_word_first(word);
	__u32 high = low + sluice_word_count(word);
	const struct sluice_set_slot *slot;
	const struct sluice_backend *backend;
	int i, order;
	__u32 middle;

	for (i = 0; i < SLUICE_RANGE_STEPS; i++) {
		if (low >= high)
			return 0;
		middle = low + (high - low) / 2;
		slot = sluice_view_set_slot(view, middle);
		backend = slot ? sluice_view_backend(view, slot->backend) : 0;
		if (!backend)
			return 0;
		order = sluice_member_compare(backend, address, port_be);
		if (!order) {
			found->address = backend->address;
			found->port_be = backend->port_be;
			found->flags = backend->flags;
			found->backend = slot->backend;
			found->incarnation = slot->incarnation;
			return 1;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

/* Looks for the pod among the backends of the service in now->match; the answer is in now->selection. */
SLUICE_SUBPROGRAM int sluice_find_pod(struct sluice_case *now, const struct sluice_address *pod, __u32 port_be)
{
	const struct sluice_service *service;
	struct sluice_view image;

	if (!now || !pod || !sluice_view_open(&image))
		return 0;
	service = sluice_view_service(&image, now->match.service);
	if (!service)
		return 0;
	/* Another node chose, by what it knows of where the client is: either set may hold the pod. */
	if (sluice_find_member(&image, SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_EXTERNAL]), pod,
			       (__u16)port_be, &now->selection))
		return 1;
	return sluice_find_member(&image, SLUICE_READ_ONCE(service->word[SLUICE_TRAFFIC_INSIDE]), pod,
				  (__u16)port_be, &now->selection);
}

/* Whether the flow that was found is the one by which this packet is delivered. */
SLUICE_ALWAYS_INLINE int sluice_direct_known(const struct sluice_case *now, const struct sluice_address *pod)
{
	const struct sluice_flow_hit *hit = &now->hit;

	if ((hit->meta.flags & (SLUICE_FLOW_REVERSE | SLUICE_FLOW_ONE_WAY | SLUICE_FLOW_SNAT)) ||
	    !sluice_address_equal(&hit->new_dst, pod) || sluice_flow_expired(&now->flows, hit))
		return 0;
	/* A connection that begins anew on one that is over gets a flow of its own. */
	return !(now->packet.tuple.protocol == SLUICE_IPPROTO_TCP && sluice_begins(&now->packet) &&
		 (hit->state == SLUICE_FLOW_CLOSED || hit->state == SLUICE_FLOW_CLOSING));
}

/* Whether the destination is in the pods' ranges. */
SLUICE_SUBPROGRAM int sluice_to_pod_range(const struct sluice_case *now)
{
	struct sluice_view image;

	return now && sluice_view_open(&image) &&
	       sluice_in_any_cidr(&image, &now->packet.tuple.dst, SLUICE_CIDR_CLUSTER);
}

/*
 * What the frontend is, as sluice_ask says. A NodePort of the other node's address is looked up as this node's own: all
 * nodes have the same. Only of services that ask for direct return, and never for an address that a pod may have: the
 * pod's answers will carry the address, whoever claimed it.
 */
SLUICE_ALWAYS_INLINE void sluice_direct_ask(struct sluice_case *now, const struct sluice_view *image, const int v6)
{
	struct sluice_tuple *tuple = &now->packet.tuple;

	sluice_ask(now, tuple->ports.port_be[SLUICE_DESTINATION], tuple->protocol, 0);
	if (now->match.verdict != SLUICE_VERDICT_PASS || sluice_to_pod_range(now))
		return;
	/* In the pair, which is not filled yet: the stack is short. */
	now->pair.forward.dst = tuple->dst;
	tuple->dst = image->header->node_address[v6];
	sluice_ask(now, tuple->ports.port_be[SLUICE_DESTINATION], tuple->protocol, 0);
	tuple->dst = now->pair.forward.dst;
	if (now->key.scope != SLUICE_SCOPE_NODEPORT ||
	    !(now->match.frontend_flags & SLUICE_FRONTEND_DSR_NAMED))
		now->match.has_service = 0;
}

/*
 * now->packet: the client's packet to the frontend; now->flows opened. `pod`, `port_be`: the backend that the other
 * node chose. `option`: the packet was not in a tunnel. The other node's choice replaces what this node's table says of
 * the tuple, so that two nodes cannot send a packet to and fro.
 */
SLUICE_ALWAYS_INLINE int sluice_direct_accept(struct sluice_case *now, const struct sluice_view *image,
					      const struct sluice_address *pod, __u16 port_be, int option,
					      const int v6)
{
	const struct sluice_tuple *tuple = &now->packet.tuple;
	struct sluice_flow_pair *pair = &now->pair;
	/* The client's further packets will not name the frontend: of a connection only the SYN has the option. */
	int once = option && tuple->protocol == SLUICE_IPPROTO_TCP;
	int known = sluice_flow_find_any(&now->flows, tuple, sluice_flow_hash(&now->flows, tuple, v6),
					 &now->hit, v6);

	if (known && sluice_direct_known(now, pod))
		return SLUICE_DIRECT_ACCEPT;
	sluice_direct_ask(now, image, v6);
	if (!now->match.has_service || !(now->match.frontend_flags & SLUICE_FRONTEND_EXTERNAL))
		return SLUICE_DIRECT_PASS;
	now->reason = SLUICE_DROP_BAD_TUNNEL;
	if (!sluice_find_pod(now, pod, port_be))
		return SLUICE_DIRECT_DROP;
	/* For another node's pod: this one is merely on the way. */
	if (!(now->selection.flags & SLUICE_BACKEND_LOCAL))
		return SLUICE_DIRECT_PASS;
	if (!sluice_source_is_host(&now->packet)) {
		now->reason = SLUICE_DROP_BAD_SOURCE;
		return SLUICE_DIRECT_DROP;
	}
	if (now->match.sources && !sluice_in_sources(now)) {
		now->reason = SLUICE_DROP_SOURCE_RANGE;
		return SLUICE_DIRECT_DROP;
	}
	if (tuple->protocol == SLUICE_IPPROTO_TCP && (now->packet.tcp_flags & SLUICE_TCP_RST)) {
		now->reason = SLUICE_DROP_NO_FLOW;
		return SLUICE_DIRECT_DROP;
	}
	if (known)
		sluice_flow_forget(&now->flows, &now->hit, v6);
	pair->forward = *tuple;
	pair->reverse = *tuple;
	/* The pod's; `pod` itself may lie in the pair. */
	pair->reverse.src = now->selection.address;
	pair->reverse.dst = tuple->src;
	pair->reverse.ports.port_be[SLUICE_SOURCE] = port_be;
	pair->reverse.ports.port_be[SLUICE_DESTINATION] = tuple->ports.port_be[SLUICE_SOURCE];
	pair->service = now->match.service;
	pair->backend = now->selection.backend;
	pair->incarnation = now->selection.incarnation;
	pair->random = sluice_env_random();
	sluice_env_ports(image, pair);
	/* What follows names the pod and the client's own port. */
	pair->fixed_port = (__u8)once;
	pair->state = SLUICE_FLOW_NEW;
	pair->flags = once ? SLUICE_FLOW_RETURN : 0;
	pair->snat = 0;
	/*
	 * The client may have had a connection to the pod from this port by another frontend. That the pod has closed
	 * it is all that is seen of its end.
	 */
	if (once && sluice_begins(&now->packet))
		sluice_is_answered(now, v6);
	now->reason = sluice_establish(now, image, v6);
	return now->reason ? SLUICE_DIRECT_DROP : SLUICE_DIRECT_ACCEPT;
}

#endif
