/*
 * What the XDP program keeps beside the tables that it shares with tc: memory for the packet at
 * hand, next hops, and the
 * devices that take frames.
 */
#ifndef SLUICE_PROGS_XDP_MAPS_H
#define SLUICE_PROGS_XDP_MAPS_H

#include "bpf/lib/case.h"
#include "bpf/lib/next_hop.h"
#include "bpf/lib/recent.h"

/* Devices that frames may be redirected to; more are served by tc. */
#define SLUICE_XDP_MAX_DEVICES 1024

/* What the headers of a plain packet say, checked against the frame. */
struct sluice_plain {
	__u32 total; /* bytes of the IP packet */
	__u8 ttl;
	__u8 tcp_flags;
	__u8 tos;
	__u8 reserved;
};

/* What the stack cannot hold. XDP runs with softirqs off, so each CPU has one user at a time. */
struct sluice_xdp_work {
	struct sluice_case now;
	struct bpf_fib_lookup fib;
	__u32 way; /* of the next hop in its set: the verifier forgets here which one it was */
	/* For the next stage, beside the tuple and the view of the flows: */
	__u32 missed; /* there is no flow, rather than one that is of no use any more or in its second bucket */
	__u64 hash; /* of the tuple */
	struct sluice_plain plain;
};

/* Programs reached by a tail call, in sluice_xdp_stages. */
enum sluice_xdp_stage {
	SLUICE_XDP_BEGIN = 0,  /* a packet without a flow */
	SLUICE_XDP_UNWRAP = 1, /* a packet in a tunnel */
	SLUICE_XDP_STAGES = 2,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_xdp_work);
} sluice_xdp_work SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_HOP_SETS);
	__type(key, __u32);
	__type(value, struct sluice_hop_set);
} sluice_hops SEC(".maps");

/*
 * Recent flows. Sets and places of a CPU follow one another; the loader says how many sets each has, sizes the maps,
 * and draws the keys. Programs with other keys that share the maps see nothing of each other's.
 */
const volatile __u32 sluice_recent_sets;
const volatile struct sluice_recent_keys sluice_recent_keys;
/* Of all CPUs: a tick that is written twice is the same. */
struct sluice_recent_fronts sluice_recent_fronts;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_recent_set);
} sluice_recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_recent_place);
} sluice_recent_to SEC(".maps");

/* By ifindex: devices that this program is attached to in native mode, the only ones sure to take
 * a redirected frame. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_XDP_MAX_DEVICES);
	__type(key, __u32);
	__type(value, __u32);
} sluice_xdp_out SEC(".maps");

#endif
