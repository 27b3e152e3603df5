/*
 * One packet on its way through an engine: all that is known of it. In BPF it lies in map memory, for the stack
 * cannot hold it and the verifier forgets what stands there.
 */
#ifndef SLUICE_LIB_CASE_H
#define SLUICE_LIB_CASE_H

#include "bpf/lib/flow.h"
#include "bpf/lib/select.h"

/* Where the packet was seen. */
enum sluice_place {
	SLUICE_PLACE_POD_INGRESS,  /* sent by a pod */
	SLUICE_PLACE_NODE_INGRESS, /* from other nodes and from outside */
	SLUICE_PLACE_NODE_EGRESS,  /* leaving: the node's own, or forwarded */
	SLUICE_PLACE_POD_EGRESS,   /* to a pod: only answers of the node's own sockets are still to be translated */
};

enum sluice_decision {
	SLUICE_DECIDE_PASS = 0,      /* not ours: as it is, on its way */
	SLUICE_DECIDE_TRANSLATE = 1, /* case.hit says into what */
	SLUICE_DECIDE_REFUSE = 2,    /* answer it; case.reason says why */
	SLUICE_DECIDE_DROP = 3,      /* case.reason says why */
	SLUICE_DECIDE_ESTABLISH = 4, /* between functions of decide.h: case.pair is a flow to insert */
};

/* What direct.h says of a packet that another node sent. */
enum sluice_direct {
	SLUICE_DIRECT_PASS = 0, /* none of ours: as it is, on its way */
	SLUICE_DIRECT_ACCEPT,   /* the flow is in the table: deliver what was inside */
	SLUICE_DIRECT_DROP,     /* case.reason says why */
};

struct sluice_case {
	struct sluice_packet packet;
	__u32 place; /* enum sluice_place */
	struct sluice_flow_view flows;
	struct sluice_flow_hit hit;
	struct sluice_flow_pair pair;
	struct sluice_match match;
	struct sluice_frontend_key key;
	__u32 reason; /* enum sluice_drop_reason */
	struct sluice_selection selection;
};

/*
 * Whether a packet of the client may go on using its flow. A connection keeps its backend, also one that no longer
 * serves; what starts anew chooses anew; datagrams leave a backend that no longer serves at once.
 */
SLUICE_ALWAYS_INLINE int sluice_flow_usable_by(const struct sluice_flow_view *flows, __u8 flags,
					       const struct sluice_view *image,
					       const struct sluice_flow_hit *hit)
{
	if (hit->meta.flags & SLUICE_FLOW_REVERSE)
		return 1;
	if (hit->meta.protocol != SLUICE_IPPROTO_UDP) {
		if ((flags & (SLUICE_TCP_SYN | SLUICE_TCP_ACK | SLUICE_TCP_RST)) != SLUICE_TCP_SYN)
			return 1;
		if (hit->state == SLUICE_FLOW_CLOSED || hit->state == SLUICE_FLOW_CLOSING)
			return 0;
	}
	if (sluice_flow_expired(flows, hit))
		return 0;
	/* Made by sluice_avoid_flow: nobody chose the backend for the client, and nobody may take it away. */
	if (hit->meta.flags & SLUICE_FLOW_DIRECT)
		return 1;
	return sluice_backend_serves(image, hit->meta.backend, hit->meta.incarnation);
}

SLUICE_ALWAYS_INLINE int sluice_flow_usable(const struct sluice_case *now,
					    const struct sluice_view *image,
					    const struct sluice_flow_hit *hit)
{
	return sluice_flow_usable_by(&now->flows, now->packet.tcp_flags, image, hit);
}

/* Whether the packet of a flow by option was counted before it grew; an ICMP error about the flow was not. */
SLUICE_ALWAYS_INLINE int sluice_counted_direct(const struct sluice_case *now)
{
	__u8 protocol = now->packet.tuple.protocol;

	return (now->hit.meta.flags & SLUICE_FLOW_OPTION) && protocol != SLUICE_IPPROTO_ICMP &&
	       protocol != SLUICE_IPPROTO_ICMPV6;
}

#endif
