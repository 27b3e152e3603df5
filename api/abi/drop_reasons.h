/*
 * Why a packet or a connect was not forwarded: the one list from which come the enum, the names that
 * `sluice drops` shows, and the metric labels. Append only; the numbers are pinned in maps.
 */
#ifndef SLUICE_ABI_DROP_REASONS_H
#define SLUICE_ABI_DROP_REASONS_H

/* X(enumerator, "name", "what it means") */
#define SLUICE_DROP_REASONS(X)                                                                         \
	X(NONE, "none", "not dropped")                                                                 \
	X(NO_ENDPOINT, "no_endpoint", "the service has no usable endpoint; refused")                   \
	X(NO_LOCAL_ENDPOINT, "no_local_endpoint", "policy Local and no endpoint on this node; dropped") \
	X(PORT_NOT_SERVED, "port_not_served", "a service address, but not one of its ports; refused")  \
	X(UNALLOCATED, "unallocated", "in a service range, but no service has the address; dropped")   \
	X(TRUNCATED, "truncated", "a header runs past the end of the packet")                          \
	X(BAD_HEADER, "bad_header", "a header contradicts itself")                                     \
	X(FRAGMENT, "fragment", "a fragment of a datagram whose first part was not seen")              \
	X(FLOW_TABLE_FULL, "flow_table_full", "no flow entry could be claimed")                        \
	X(NO_SNAT_PORT, "no_snat_port", "every source port towards the backend is taken")              \
	X(NO_NODE_ADDRESS, "no_node_address", "source NAT is due, but the node has no address of the family") \
	X(REWRITE_FAILED, "rewrite_failed", "the kernel refused a change to the packet")               \
	X(REPLY_RATE_LIMITED, "reply_rate_limited", "a refusal was not answered: too many in this second") \
	X(TTL_EXPIRED, "ttl_expired", "time to live or hop limit used up")                             \
	X(STALE_IMAGE, "stale_image", "a table entry pointed outside its table")                       \
	X(TOO_BIG, "too_big", "larger than the next link takes; answered with packet too big")         \
	X(NO_FLOW, "no_flow", "a reset or an ICMP error for a connection that no flow entry knows")    \
	X(SCTP_PORT, "sctp_port", "a fragment of SCTP whose port would have to change: its checksum covers the rest") \
	X(NO_ROUTE, "no_route", "the backend, or the way back, has no route from this node")           \
	X(SOURCE_RANGE, "source_range", "the client is in none of the service's loadBalancerSourceRanges") \
	X(BAD_CHECKSUM, "bad_checksum", "the checksum of the IPv4 header is wrong")                    \
	X(BAD_TUNNEL, "bad_tunnel", "forwarded to a pod here for direct return, but not for its service") \
	X(BAD_SOURCE, "bad_source", "the source is no single host: broadcast, multicast, loopback or none")

#define SLUICE_DROP_ENUM(enumerator, name, text) SLUICE_DROP_##enumerator,
enum sluice_drop_reason { SLUICE_DROP_REASONS(SLUICE_DROP_ENUM) SLUICE_DROP_REASON_COUNT };
#undef SLUICE_DROP_ENUM

#endif
