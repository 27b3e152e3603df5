/*
 * What the socket hooks remember per socket. Network order where the name
 * says _be; IPv4 stands as ::ffff:a.b.c.d, so that a datagram socket of either family compares the
 * same.
 */
#ifndef SLUICE_ABI_SOCKET_H
#define SLUICE_ABI_SOCKET_H

#include <linux/bpf.h>

#include "api/abi/image.h"

/* Constants of socket.o, which the loader sets. */
struct sluice_socket_facts {
	__u64 node_netns;     /* cookie of the node's network namespace; 0: every namespace is served alike */
	__u32 has_set_retval; /* bpf_set_retval exists (Linux 5.18); else a refusal reads EPERM */
	__u32 reserved;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_socket_facts) == 16, "socket facts");

struct sluice_endpoint {
	struct sluice_address address;
	__u16 port_be;
	__u16 reserved0;
	__u32 reserved1;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_endpoint) == 24, "endpoint");

/* The application connected to `service`; the socket is connected to `backend`. Port 0: nothing. */
struct sluice_peer {
	struct sluice_endpoint service;
	struct sluice_endpoint backend;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_peer) == 48, "peer");

/* Sockets that have a peer, by cookie (bpf/progs/socket_peers.h). Cookie 0: free. */
#define SLUICE_PEER_SLOTS 8
#define SLUICE_PEER_BUCKETS 8192 /* a power of two; 65,536 sockets, 3.5 MiB */
struct sluice_peer_bucket {
	__u64 cookie[SLUICE_PEER_SLOTS];
	struct sluice_peer peer[SLUICE_PEER_SLOTS];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_peer_bucket) == 56 * SLUICE_PEER_SLOTS, "peer bucket");

/* The backend that a UDP socket uses for a service while it serves. */
struct sluice_udp_choice {
	struct sluice_endpoint backend_at;
	__u32 backend; /* index */
	__u32 incarnation;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_udp_choice) == 32, "udp choice");

struct sluice_udp_entry {
	struct sluice_endpoint service_at;
	struct sluice_udp_choice choice;
	__u64 used; /* the socket's clock when last sent to; 0: free */
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_udp_entry) == 64, "udp entry");

/* Services that a socket may talk to before the overflow maps take over. */
#define SLUICE_UDP_INLINE_ENTRIES 4

struct sluice_udp_socket {
	struct bpf_spin_lock lock; /* guards entry[] and clock: threads share a socket */
	__u32 overflowed;          /* 1 once the overflow maps hold entries of this socket */
	__u64 clock;
	struct sluice_udp_entry entry[SLUICE_UDP_INLINE_ENTRIES];
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_udp_socket) == 16 + 64 * SLUICE_UDP_INLINE_ENTRIES,
		     "udp socket");

#define SLUICE_UDP_OVERFLOW_ENTRIES 16384

struct sluice_udp_key {
	__u64 cookie; /* of the socket */
	struct sluice_endpoint at;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_udp_key) == 32, "udp key");

#endif
