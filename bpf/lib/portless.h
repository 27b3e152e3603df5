/*
 * What becomes of a packet without ports: an ICMP error about a flow, or what is sent to a service's address. Include
 * after what bpf/lib/decide.h asks for.
 */
#ifndef SLUICE_LIB_PORTLESS_H
#define SLUICE_LIB_PORTLESS_H

#include "bpf/lib/case.h"
#include "bpf/lib/decide.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/onward.h"

/*
 * Makes an ICMP error, of which `quote` holds the beginning and its length, one about the packet as its sender knows
 * it. now->hit is then what the error itself becomes. Returns 0 if it is about none of our flows.
 */
SLUICE_ALWAYS_INLINE int sluice_turn_quote(struct sluice_case *now, struct sluice_quote *quote, const int v6)
{
	const struct sluice_tuple *outer = &now->packet.tuple;
	struct sluice_address *src = &now->pair.forward.src;
	struct sluice_flow_hit *hit = &now->hit;

	/* What the image said last was said of another packet. */
	now->match.has_service = 0;
	/* It is told to who sent the packet in question, and by one host, or it is not honest. */
	if (!sluice_source_is_host(&now->packet) || !sluice_quote_parse(quote, v6) ||
	    !sluice_address_equal(&outer->dst, &quote->quoted.src))
		return 0;
	/* An error follows no flow, so it need not bring one over either. */
	if (!sluice_flow_find_any(&now->flows, &quote->turned, sluice_flow_hash(&now->flows, &quote->turned, v6),
				  hit, v6) ||
	    (now->place == SLUICE_PLACE_POD_EGRESS && !(hit->meta.flags & SLUICE_FLOW_REVERSE)))
		return 0;
	/* The end itself is hidden behind the service, or behind the node; a router on the way is not. */
	*src = sluice_address_equal(&outer->src, &quote->quoted.dst) ? hit->new_src : outer->src;
	sluice_quote_translate(quote, hit, outer, src, &hit->new_dst, v6);
	hit->new_src = *src;
	hit->new_ports.both_be = 0;
	return 1;
}

/*
 * A packet without ports that can be used. To a service address it is refused (other protocols, pings) or dropped:
 * broken headers, fragments, and ICMP errors and answers that belong to no flow. PASS, REFUSE or DROP; then now->reason
 * says why.
 */
SLUICE_ALWAYS_INLINE int sluice_decide_portless(struct sluice_case *now, __u32 error, const int v6)
{
	const struct sluice_packet *packet = &now->packet;

	if (now->place == SLUICE_PLACE_POD_EGRESS)
		return SLUICE_DECIDE_PASS;
	/* 255 is reserved, so that only entries for the whole address match. */
	sluice_ask(now, 0, 255, 0);
	if (now->match.verdict == SLUICE_VERDICT_PASS)
		return SLUICE_DECIDE_PASS;
	now->reason = now->match.reason;
	if (now->match.verdict != SLUICE_VERDICT_REFUSE)
		return SLUICE_DECIDE_DROP;
	if (error)
		return sluice_decide_drop(now, error);
	if (packet->fragment)
		return sluice_decide_drop(now, SLUICE_DROP_FRAGMENT);
	if (sluice_is_icmp(packet, 0, v6) && !sluice_icmp_is_question(packet->icmp_type, v6))
		return sluice_decide_drop(now, SLUICE_DROP_NO_FLOW);
	if (!sluice_source_is_host(packet))
		return sluice_decide_drop(now, SLUICE_DROP_BAD_SOURCE);
	return SLUICE_DECIDE_REFUSE;
}

#endif
