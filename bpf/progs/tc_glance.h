/*
 * The first look at a packet: most are neither of a flow nor for a service, and leave here after some twenty
 * nanoseconds. Nothing is written, no function is called, and each attach point has a copy of its own.
 */
#ifndef SLUICE_PROGS_TC_GLANCE_H
#define SLUICE_PROGS_TC_GLANCE_H

#include "bpf/lib/glance.h"

/*
 * Returns 0 if the packet is none of ours: it goes its way. 1: it may be, or is not as plain as this look can judge.
 *
 * Broken lengths and headers are not looked at. A packet that is broken is ours only by its destination's address, and
 * that is asked here too.
 */
SLUICE_ALWAYS_INLINE int sluice_glance(struct __sk_buff *ctx, const __u32 place)
{
	struct sluice_flow_view flows = {};
	struct sluice_tuple tuple = {};
	struct sluice_view image;
	int kind;

	if (!sluice_view_open(&image) || image.header->magic != SLUICE_IMAGE_MAGIC)
		return 1;
	/* Left to be settled by whoever looks again. */
	if (!sluice_flow_view_peek(&flows))
		return 1;
	kind = sluice_glance_frame((const __u8 *)(long)ctx->data, (const __u8 *)(long)ctx->data_end, &tuple);
	if (kind == SLUICE_GLANCE_PLAIN4) {
		if (sluice_flow_may_know_any(&flows, sluice_flow_hash(&flows, &tuple, 0), 0))
			return 1;
	} else if (kind == SLUICE_GLANCE_PLAIN6) {
		if (sluice_flow_may_know_any(&flows, sluice_flow_hash(&flows, &tuple, 1), 1))
			return 1;
	} else {
		return kind == SLUICE_GLANCE_ODD;
	}
	/* What goes to a pod is ours only as an answer. */
	if (place == SLUICE_PLACE_POD_EGRESS)
		return 0;
	return sluice_may_be_ours(&image, &tuple.dst);
}

#endif
