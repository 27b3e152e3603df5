/*
 * What the socket hooks tell the flow log. The client's own address is not known in a hook. Included by socket.bpf.c
 * alone.
 */
#ifndef SLUICE_PROGS_SOCKET_EVENTS_H
#define SLUICE_PROGS_SOCKET_EVENTS_H

#include "bpf/progs/events.h"

/* Apart from the hooks, whose registers it would take. `backend` is NULL if there is none. */
static __attribute__((noinline)) void log_hook(const struct sluice_match *match,
					       const struct sluice_endpoint *at,
					       const struct sluice_selection *chosen, __u32 kind,
					       __u8 protocol)
{
	struct sluice_event *event = sluice_log_begin(kind);

	if (!event)
		return;
	event->destination = at->address;
	event->destination_port_be = at->port_be;
	event->protocol = protocol;
	event->place = SLUICE_EVENT_PLACE_SOCKET;
	if (match->has_service) {
		event->flags = SLUICE_EVENT_SERVICE;
		event->service = match->service;
		if (match->affinity_timeout_s)
			event->flags |= SLUICE_EVENT_AFFINITY;
	}
	if (chosen) {
		event->backend = chosen->address;
		event->backend_port_be = chosen->port_be;
		event->backend_index = chosen->backend;
	} else {
		event->reason = match->reason;
	}
	bpf_ringbuf_submit(event, 0);
}

#endif
