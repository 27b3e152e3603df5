/*
 * The flow log: what programs tell whoever follows (`sluice flows --follow`, `sluice drops --follow`).
 *
 * Off unless somebody follows: programs read one word then. A follower writes the configuration and renews its lease,
 * so that one that was killed leaves the log off. Events go through a ring buffer with one reader; what does not fit is
 * counted and lost, for no packet waits for a reader.
 */
#ifndef SLUICE_ABI_EVENT_H
#define SLUICE_ABI_EVENT_H

#include "api/abi/image.h"

enum sluice_event_kind {
	SLUICE_EVENT_OPENED = 0,  /* a new flow, or a socket that was connected to a backend */
	SLUICE_EVENT_REFUSED = 1, /* answered with a reset, an ICMP error or ECONNREFUSED; `reason` says why */
	SLUICE_EVENT_DROPPED = 2, /* in silence; `reason` says why */
	SLUICE_EVENT_KINDS = 3,
};

/* event.flags */
#define SLUICE_EVENT_SERVICE 0x1  /* `service` is valid */
#define SLUICE_EVENT_SNAT 0x2     /* the backend sees `source`, not the client */
#define SLUICE_EVENT_TUNNEL 0x4   /* the backend's node answers the client itself */
#define SLUICE_EVENT_OPTION 0x8   /* the same, by an IP option */
#define SLUICE_EVENT_AFFINITY 0x10 /* the service keeps clients with their backend */
#define SLUICE_EVENT_LINK 0x20    /* as SLUICE_EVENT_TUNNEL, in a frame to the backend's node */

/* event.place beside those of enum sluice_place (bpf/lib/case.h): a socket hook. */
#define SLUICE_EVENT_PLACE_SOCKET 0x80

/* Network order where the name says _be. What is not known is zero: a socket's own address before it connects. */
struct sluice_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct sluice_address client;
	struct sluice_address destination;
	struct sluice_address backend;
	struct sluice_address source; /* as the backend sees it */
	__u16 client_port_be;
	__u16 destination_port_be;
	__u16 backend_port_be;
	__u16 source_port_be;
	__u32 service;       /* index */
	__u32 backend_index; /* valid if opened */
	__u8 kind;           /* enum sluice_event_kind */
	__u8 reason;         /* enum sluice_drop_reason */
	__u8 protocol;
	__u8 place;
	__u8 flags;
	__u8 reserved[3];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_event) == 96, "event");

/* One record, written by the follower but for `lost`; the engine clears `kinds` where until_ns is past. */
struct sluice_log_config {
	__u64 until_ns;  /* CLOCK_MONOTONIC; nothing is logged after it */
	__u32 kinds;     /* bit (1 << kind) for each kind that is wanted; 0: off */
	__u32 below;     /* an event is logged if 32 random bits do not exceed this: 1 of N is 2^32 / N - 1 */
	__u64 lost;      /* events that found the ring full; only rises */
	__u64 reserved;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_log_config) == 32, "log config");

/* Room for 2,600 events. A power of two, a multiple of every page size. */
#define SLUICE_EVENT_RING_BYTES (256 * 1024)

#endif
