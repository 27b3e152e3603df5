/*
 * The flow log (api/abi/event.h). Include after maps.h; in programs that see packets after bpf/lib/case.h and before
 * bpf/lib/decide.h, which calls sluice_note_opened.
 *
 * Costs one look at a word while nobody follows. Both maps outlive images, so a follower stays connected while the
 * agent is replaced.
 */
#ifndef SLUICE_PROGS_EVENTS_H
#define SLUICE_PROGS_EVENTS_H

#include "api/abi/event.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLUICE_EVENT_RING_BYTES);
} sluice_events SEC(".maps");

struct sluice_log_config sluice_log SLUICE_DATA(sluice_log);

/* Ring buffers have no type of value: this puts the record's layout into the object's BTF, for who reads it there. */
const struct sluice_event sluice_event_layout = {};

/* Whether somebody wants events of the kind. */
SLUICE_ALWAYS_INLINE int sluice_log_wants(__u32 kind)
{
	return *(volatile __u32 *)&sluice_log.kinds >> kind & 1;
}

/* Room for one event that is wanted, zeroed but for kind and time; NULL if it is not sampled or there is none. */
SLUICE_ALWAYS_INLINE struct sluice_event *sluice_log_begin(__u32 kind)
{
	struct sluice_log_config *config = &sluice_log;
	struct sluice_event *event;
	__u64 now;

	if (bpf_get_prandom_u32() > config->below)
		return 0;
	now = bpf_ktime_get_ns();
	if (now > config->until_ns) {
		/* Who follows no longer was killed. One that still lives asks again with its next look. */
		config->kinds = 0;
		return 0;
	}
	event = bpf_ringbuf_reserve(&sluice_events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&config->lost, 1);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = now;
	event->kind = (__u8)kind;
	return event;
}

#ifdef SLUICE_LIB_CASE_H

#include "bpf/lib/event.h"

/* One packet's event. `now` lies in map memory. */
SLUICE_SUBPROGRAM int sluice_log_packet(const struct sluice_case *now, __u32 kind)
{
	struct sluice_event *event;

	if (!now)
		return 0;
	event = sluice_log_begin(kind);
	if (!event)
		return 0;
	sluice_event_tell(event, now, kind);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SLUICE_ALWAYS_INLINE void sluice_log_event(const struct sluice_case *now, __u32 kind)
{
	if (sluice_log_wants(kind))
		sluice_log_packet(now, kind);
}

/* What bpf/lib/decide.h asks for: a service's flow was inserted. */
SLUICE_ALWAYS_INLINE void sluice_note_opened(const struct sluice_view *view,
					     const struct sluice_case *now)
{
	struct sluice_backend_counters *served = sluice_served_by(view, now->pair.backend);

	if (served)
		SLUICE_COUNT_IN_ROW(view, served->connections, 1);
	sluice_log_event(now, SLUICE_EVENT_OPENED);
}

#endif
#endif
