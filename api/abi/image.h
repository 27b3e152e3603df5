/*
 * The table image: what the agent publishes and every engine reads.
 *
 * Flat arrays, no pointers, indices only. Integers are in host order unless the name ends in _be
 * (network order). Each array is one BPF map with BPF_F_MMAPABLE, or one span of shared memory;
 * user space writes with plain stores, in the order that makes every state that a packet can see
 * complete: backends, then set slots, then the service word; frontend record, then the bucket slot.
 * What was unpublished is reused only after a grace period.
 *
 * A look-up: bucket slot -> frontend -> service -> word -> set slot -> backend (bpf/lib/lookup.h).
 *
 * The header does not change while the image lives, but for `generation` and `filter`: other node
 * facts make a new image, so that no packet sees half of a change. Element sizes are multiples of 8, which is
 * the stride of BPF arrays.
 */
#ifndef SLUICE_ABI_IMAGE_H
#define SLUICE_ABI_IMAGE_H

#include "api/abi/types.h"

#define SLUICE_IMAGE_MAGIC 0x5343554c53454c42ULL
#define SLUICE_LAYOUT_VERSION 2

/* IPv4 stands as ::ffff:a.b.c.d. Network order. */
struct sluice_address {
	__u32 word_be[4];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_address) == 16, "address");

/* Which traffic a frontend takes, chosen by where the destination was found. */
enum sluice_scope {
	SLUICE_SCOPE_ADDRESS = 0, /* this address: ClusterIP, external or load-balancer address */
	/* Any address marked SLUICE_FRONTEND_NODE. The key holds the family's unspecified address
	 * (::ffff:0.0.0.0 or ::), since a dual-stack service has one port number and two sets of
	 * backends. */
	SLUICE_SCOPE_NODEPORT = 1,
};

/* frontend.flags */
#define SLUICE_FRONTEND_EXTERNAL 0x1 /* follow the external word; else the internal one */
#define SLUICE_FRONTEND_OWNED 0x2    /* port and protocol 0: refuse what no other entry lists */
#define SLUICE_FRONTEND_NODE                                                                       \
	0x4 /* port and protocol 0: an address of this node; try NODEPORT, else                    \
	     * leave the packet to the host */
#define SLUICE_FRONTEND_MASQUERADE                                                                 \
	0x8 /* source NAT towards the backend (external, policy Cluster) */
#define SLUICE_FRONTEND_SOURCES 0x10 /* only clients in the service's source ranges */
/* Direct server return: the backend's node answers the client itself. Traffic from outside only. */
#define SLUICE_FRONTEND_DSR_TUNNEL 0x20 /* IP in IP to the backend's address */
#define SLUICE_FRONTEND_DSR_OPTION 0x40 /* an IPv4 option, or an IPv6 destination option */
/* In a frame to the next hop towards the backend, whose node chooses the same by its own ring. */
#define SLUICE_FRONTEND_DSR_LINK 0x80
/* Those whose packets say which backend was chosen. */
#define SLUICE_FRONTEND_DSR_NAMED (SLUICE_FRONTEND_DSR_TUNNEL | SLUICE_FRONTEND_DSR_OPTION)
#define SLUICE_FRONTEND_DSR (SLUICE_FRONTEND_DSR_NAMED | SLUICE_FRONTEND_DSR_LINK)

struct sluice_frontend_key {
	struct sluice_address address;
	__u16 port_be;
	__u8 protocol; /* IPPROTO_*; 0 in a whole-address entry */
	__u8 scope;    /* enum sluice_scope */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_frontend_key) == 20, "frontend key");

struct sluice_frontend {
	struct sluice_frontend_key key;
	__u32 flags;
	__u32 service; /* index; unused in a whole-address entry */
	__u32 reserved;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_frontend) == 32, "frontend");

/*
 * One cache line. A slot is published and retired with one 8-byte store: low half the tag (never
 * 0), high half the frontend's index. Slot 0 is empty. A key lives in one of two buckets
 * (bpf/lib/hash.h), the emptier when it was inserted; no bucket holds one tag twice, so a tag match
 * is the only candidate.
 */
#define SLUICE_BUCKET_SLOTS 8
struct sluice_bucket {
	__u64 slot[SLUICE_BUCKET_SLOTS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_bucket) == 64, "bucket");

/*
 * The service word: the backend set in force, as one 8-byte store.
 * Bits 0-31 first set slot, 32-51 count, 52 whether the set has a ring, 53-63 generation (changes with every flip,
 * wraps). With count 0, bits 0-31 are an enum sluice_empty.
 *
 * Set and ring are published by the one store: the set slot before the first is then a struct sluice_ring.
 */
#define SLUICE_WORD_COUNT_SHIFT 32
#define SLUICE_WORD_COUNT_MASK 0xfffffULL
#define SLUICE_WORD_RING (1ULL << 52)
#define SLUICE_WORD_GENERATION_SHIFT 53
#define SLUICE_MAX_SET_SIZE 0xfffffU

/* One member of a backend set. A backend's incarnation is repeated so that who chooses needs no
 * second look. */
struct sluice_set_slot {
	__u32 backend;
	__u32 incarnation;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_set_slot) == 8, "set slot");

/*
 * A Maglev ring: `size` positions (a prime), each a position within the set (not a backend's index, so that services
 * with equal endpoints share one ring). It starts with line `line` of the rings.
 */
struct sluice_ring {
	__u32 line;
	__u32 size; /* positions, and SLUICE_RING_* */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_ring) == sizeof(struct sluice_set_slot), "ring");
#define SLUICE_RING_SIZE_MASK 0x1fffffffU
#define SLUICE_RING_WIDE 0x20000000U   /* positions of 4 bytes, else of 2 */
#define SLUICE_RING_CLIENT 0x40000000U /* a flow's place is by the client's address, else by all five of the tuple */
#define SLUICE_RING_RANDOM 0x80000000U /* no consistent hash: the ring serves weights alone */

/* One cache line of ring positions, in host order. */
#define SLUICE_RING_LINE_BYTES 64
struct sluice_ring_line {
	__u16 position[SLUICE_RING_LINE_BYTES / 2]; /* or __u32 [16], if wide */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_ring_line) == SLUICE_RING_LINE_BYTES, "ring line");

/* Clients that may come in, first and last address both included. A service's ranges are sorted and disjoint. */
struct sluice_range {
	struct sluice_address first;
	struct sluice_address last;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_range) == 32, "range");

enum sluice_empty {
	SLUICE_EMPTY_REFUSE =
	    0, /* no usable endpoint anywhere: RST, port unreachable, ECONNREFUSED */
	SLUICE_EMPTY_DROP = 1, /* usable elsewhere, but the policy is Local: silence */
};

enum sluice_traffic {
	SLUICE_TRAFFIC_INTERNAL = 0,
	SLUICE_TRAFFIC_EXTERNAL = 1, /* external frontends, clients outside of the cluster */
	SLUICE_TRAFFIC_INSIDE = 2,   /* external frontends, clients on this node or in pods */
	SLUICE_TRAFFIC_KINDS = 3,
};

struct sluice_service {
	__u64 word[SLUICE_TRAFFIC_KINDS];
	__u64 sources; /* bits 0-31 first of its ranges, 32-51 how many; for frontends with SLUICE_FRONTEND_SOURCES */
	__u32 flags;              /* SLUICE_SERVICE_* */
	__u32 affinity_timeout_s; /* 0: no ClientIP affinity */
	__u32 name;               /* offset into the names: "namespace/name:port", NUL-terminated */
	__u16 port_be;            /* the service port, for people */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u32 reserved[4];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_service) == 64, "service");

#define SLUICE_SERVICE_IN_USE 0x1

/* backend.flags */
#define SLUICE_BACKEND_LOCAL 0x1       /* on this node */
#define SLUICE_BACKEND_TERMINATING 0x2 /* serving out its last connections */

/*
 * A backend belongs to one service. `incarnation` is even while the slot is free and odd while it
 * is in use; it rises by one at each change, so a flow that remembers (index, incarnation) knows in
 * one load whether its backend still serves.
 */
struct SLUICE_WHOLE_WORDS sluice_backend {
	struct sluice_address address;
	__u16 port_be;
	__u16 flags;
	__u32 incarnation;
	__u32 service;
	__u32 name; /* offset into the names: the endpoint's target ("namespace/pod"), 0 if none */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_backend) == 32, "backend");

/* Address ranges that concern the node as a whole. */
enum sluice_cidr_kind {
	SLUICE_CIDR_SERVICE = 1, /* ServiceCIDR: unallocated addresses are dropped */
	SLUICE_CIDR_CLUSTER =
	    2, /* pods' addresses (detectLocal): others are source-NATed to ClusterIPs */
};
struct sluice_cidr {
	struct sluice_address address;
	struct sluice_address mask;
	__u32 kind;
	__u32 reserved[3];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_cidr) == 48, "cidr");
#define SLUICE_MAX_CIDRS 32

/* header.flags */
#define SLUICE_HEADER_MASQUERADE_ALL 0x1 /* source NAT for all ClusterIP traffic */
#define SLUICE_HEADER_DETECT_LOCAL 0x2   /* the CLUSTER ranges decide what is a pod */
#define SLUICE_HEADER_DETECT_DEVICE 0x4  /* what comes in by a pod's device is a pod's */
/* kube-proxy's rules are there: TCP that neither begins a connection nor belongs to a flow is conntrack's */
#define SLUICE_HEADER_BESIDE_PROXY 0x8
/* There is a row of counters for each CPU that there can be: programs that packets run need no atomic additions */
#define SLUICE_HEADER_OWN_ROWS 0x10

/* Words of the filter; a power of two. */
#define SLUICE_FILTER_WORDS 4096

struct sluice_header {
	__u64 magic;
	__u32 layout_version;
	__u32 flags;
	__u64 generation; /* of the image's content; rises with every publish */
	/* Capacities; fixed while the image lives. */
	__u32 bucket_count; /* a power of two */
	__u32 frontend_capacity;
	__u32 service_capacity;
	__u32 set_slot_capacity;
	__u32 backend_capacity;
	__u32 name_bytes;
	__u32 counter_rows; /* a power of two; a CPU writes row (CPU modulo rows) */
	__u32 cidr_count;
	struct sluice_address
	    node_address[2]; /* source of masqueraded traffic; [0] IPv4, [1] IPv6; zero: none */
	__u16 snat_port_min; /* host order, both ends included */
	__u16 snat_port_max;
	__u32 reserved0;
	__u64 hash_seed; /* of the frontends' hash; random, so that nobody can aim at a bucket */
	__u32 ring_line_capacity;
	__u32 range_capacity;
	struct sluice_cidr cidr[SLUICE_MAX_CIDRS]; /* SLUICE_CIDR_SERVICE before the others */
	/*
	 * Which addresses frontends have (bpf/lib/hash.h: two bits of one word each). Set before a frontend is
	 * published, and never cleared while the image lives: a bit says "perhaps", its absence "no".
	 */
	__u64 filter[SLUICE_FILTER_WORDS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_header) ==
			 112 + 48 * SLUICE_MAX_CIDRS + 8 * SLUICE_FILTER_WORDS,
		     "header");

/*
 * What a backend was given, [row][backend] with backend_capacity cells a row. Additions are atomic where CPUs share
 * rows, and in socket hooks always, for a packet can interrupt them; packets do not interrupt each other.
 */
struct sluice_backend_counters {
	__u64 connections; /* choices: connects, new flows, first datagrams */
	__u64 packets;     /* translated on devices, both directions */
	__u64 bytes;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_backend_counters) == 24, "backend counters");

/*
 * [service]. The first three are written by user space alone: what backends had counted that have left. A service's
 * figures are these plus those of its backends.
 */
struct sluice_service_counters {
	__u64 connections;
	__u64 packets;
	__u64 bytes;
	__u64 refused; /* refused or dropped for want of an endpoint or by source range; added to by programs */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_service_counters) == 32, "service counters");

/* Drops, [row][reason] with SLUICE_DROP_STRIDE cells a row; row counter_rows is user space's (earlier images). */
#define SLUICE_DROP_STRIDE 64

#endif
