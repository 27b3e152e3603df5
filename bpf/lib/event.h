/*
 * What the flow log (api/abi/event.h) says of one packet. Include after bpf/lib/case.h.
 */
#ifndef SLUICE_LIB_EVENT_H
#define SLUICE_LIB_EVENT_H

#include "api/abi/event.h"
#include "bpf/lib/case.h"

/* Fills in a zeroed event but for kind and time. Of a flow that was opened, now->pair is what was inserted. */
SLUICE_ALWAYS_INLINE void sluice_event_tell(struct sluice_event *event, const struct sluice_case *now,
					    __u32 kind)
{
	event->client = now->packet.tuple.src;
	event->destination = now->packet.tuple.dst;
	event->client_port_be = now->packet.tuple.ports.port_be[SLUICE_SOURCE];
	event->destination_port_be = now->packet.tuple.ports.port_be[SLUICE_DESTINATION];
	event->protocol = now->packet.tuple.protocol;
	event->place = (__u8)now->place;
	if (now->match.has_service) {
		event->flags = SLUICE_EVENT_SERVICE;
		event->service = now->match.service;
		if (now->match.affinity_timeout_s)
			event->flags |= SLUICE_EVENT_AFFINITY;
	}
	if (kind == SLUICE_EVENT_OPENED) {
		event->backend = now->pair.reverse.src;
		event->source = now->pair.reverse.dst;
		event->backend_port_be = now->pair.reverse.ports.port_be[SLUICE_SOURCE];
		event->source_port_be = now->pair.reverse.ports.port_be[SLUICE_DESTINATION];
		event->backend_index = now->pair.backend;
		if (now->pair.snat)
			event->flags |= SLUICE_EVENT_SNAT;
		if (now->pair.flags & SLUICE_FLOW_TUNNEL)
			event->flags |= SLUICE_EVENT_TUNNEL;
		if (now->pair.flags & SLUICE_FLOW_OPTION)
			event->flags |= SLUICE_EVENT_OPTION;
		if (now->pair.flags & SLUICE_FLOW_LINK)
			event->flags |= SLUICE_EVENT_LINK;
	} else {
		event->reason = (__u8)now->reason;
	}
}

#endif
