/*
 * How a packet that a flow takes goes on: what every engine asks between the decision and the change of the packet.
 */
#ifndef SLUICE_LIB_ONWARD_H
#define SLUICE_LIB_ONWARD_H

#include "bpf/lib/case.h"
#include "bpf/lib/icmp.h"

/* Whether the packet is to be routed here; an answer that leaves by a device was routed for its client already. */
SLUICE_ALWAYS_INLINE int sluice_may_route(const struct sluice_case *now)
{
	return now->place != SLUICE_PLACE_POD_EGRESS &&
	       (now->place != SLUICE_PLACE_NODE_EGRESS || !(now->hit.meta.flags & SLUICE_FLOW_REVERSE));
}

/* Whether the stack cannot take it on: only what SNAT has changed forward, and what leaves the node. */
SLUICE_ALWAYS_INLINE int sluice_must_route(const struct sluice_case *now)
{
	__u32 flags = now->hit.meta.flags;

	return now->place == SLUICE_PLACE_NODE_EGRESS ?
		       !(flags & SLUICE_FLOW_REVERSE) :
		       (flags & (SLUICE_FLOW_SNAT | SLUICE_FLOW_REVERSE)) == SLUICE_FLOW_SNAT;
}

/*
 * Larger than the next link takes. Its sender is told, as routers do (RFC 1191, RFC 8201). IPv4 without DF is
 * the stack's to cut up, but only if the source is still the sender's own: what has got another cannot go up the
 * stack. Then the sender is told all the same; hosts note the path's MTU whatever they set DF to, and cut up what
 * follows.
 */
SLUICE_ALWAYS_INLINE int sluice_too_big_for_us(const struct sluice_case *now)
{
	return now->packet.whole_only || now->place == SLUICE_PLACE_NODE_EGRESS ||
	       !sluice_address_equal(&now->packet.tuple.src, &now->hit.new_src);
}

/* Whether the packet is a whole message of the family's ICMP. `error`: why it is broken, or 0. */
SLUICE_ALWAYS_INLINE int sluice_is_icmp(const struct sluice_packet *packet, __u32 error, const int v6)
{
	return packet->tuple.protocol == (v6 ? SLUICE_IPPROTO_ICMPV6 : SLUICE_IPPROTO_ICMP) && !error &&
	       packet->fragment == SLUICE_WHOLE;
}

#endif
