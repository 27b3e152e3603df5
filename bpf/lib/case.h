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

#endif
