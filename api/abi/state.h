/*
 * What outlives images: maps that are handed from one agent to the next, of an older or newer release too. Each has a
 * version of its own, that of its shape: key, value and what they mean. It rises when an agent that knows only the
 * former shape would misread the map; such agents then do not see each other's. A change of the image's layout is none.
 *
 * Maps that are not listed have version 1.
 */
#ifndef SLUICE_ABI_STATE_H
#define SLUICE_ABI_STATE_H

/* Of the directory, state-v1: where the maps are found, whatever their own versions. */
#define SLUICE_STATE_VERSION 1

/* X(name of the map, version of its shape) */
#define SLUICE_STATE_SHAPES(X)                                                                     \
	X(sluice_flows4, 1)                                                                        \
	X(sluice_flows6, 1)                                                                        \
	X(sluice_flow_cfg, 1)                                                                      \
	X(sluice_peer_tab, 1)                                                                      \
	X(sluice_peers, 1)                                                                         \
	X(sluice_udp, 1)                                                                           \
	X(sluice_udp_over, 1)                                                                      \
	X(sluice_udp_back, 1)                                                                      \
	X(sluice_affinity, 2)                                                                      \
	X(sluice_flow_left, 2)                                                                     \
	X(sluice_flow_room, 2)                                                                     \
	X(sluice_scratch, 2)

#endif
