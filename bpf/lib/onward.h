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

/*
 * Whether the packet goes on to the frontend as it came, only one hop older, by the way to its backend: the backend's
 * node chooses the same and answers. Routers count hops so that what two nodes disagree about does not go to and fro
 * for ever. ICMP errors about such a flow are translated for the backend itself.
 */
SLUICE_ALWAYS_INLINE int sluice_by_link(const struct sluice_case *now)
{
	__u8 protocol = now->packet.tuple.protocol;

	return (now->hit.meta.flags & SLUICE_FLOW_LINK) && protocol != SLUICE_IPPROTO_ICMP &&
	       protocol != SLUICE_IPPROTO_ICMPV6;
}

/* To be called once the packet was routed to hit.new_dst: what it becomes is then what it is. */
SLUICE_ALWAYS_INLINE void sluice_keep_frontend(struct sluice_case *now)
{
	if (!sluice_by_link(now))
		return;
	now->hit.new_dst = now->packet.tuple.dst;
	now->hit.new_ports = now->packet.tuple.ports;
}

/* Whether the stack cannot take it on: what SNAT has changed forward, what leaves the node, what is not its own. */
SLUICE_ALWAYS_INLINE int sluice_must_route(const struct sluice_case *now)
{
	__u32 flags = now->hit.meta.flags;

	if (now->place == SLUICE_PLACE_NODE_EGRESS)
		return !(flags & SLUICE_FLOW_REVERSE);
	return (flags & (SLUICE_FLOW_SNAT | SLUICE_FLOW_REVERSE)) == SLUICE_FLOW_SNAT || sluice_by_link(now);
}

/*
 * Larger than the next link takes. Its sender is told, as routers do (RFC 1191, RFC 8201). IPv4 without DF is
 * the stack's to cut up, but only if the source is still the sender's own: what has got another cannot go up the
 * stack. Then the sender is told all the same; hosts note the path's MTU whatever they set DF to, and cut up what
 * follows. Nor can the stack take what goes by link: it would route it to the frontend.
 */
SLUICE_ALWAYS_INLINE int sluice_too_big_for_us(const struct sluice_case *now)
{
	return now->packet.whole_only || now->place == SLUICE_PLACE_NODE_EGRESS || sluice_by_link(now) ||
	       !sluice_address_equal(&now->packet.tuple.src, &now->hit.new_src);
}

/* Whether the packet is a whole message of the family's ICMP. `error`: why it is broken, or 0. */
SLUICE_ALWAYS_INLINE int sluice_is_icmp(const struct sluice_packet *packet, __u32 error, const int v6)
{
	return packet->tuple.protocol == (v6 ? SLUICE_IPPROTO_ICMPV6 : SLUICE_IPPROTO_ICMP) && !error &&
	       packet->fragment == SLUICE_WHOLE;
}

#endif
