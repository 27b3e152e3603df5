/*
 * What sockets remember between hooks. These maps outlive images and agents: they are pinned once
 * per layout version and handed to each newly loaded program, so a connection made before an
 * upgrade is still known after.
 */
#ifndef SLUICE_PROGS_SOCKET_MAPS_H
#define SLUICE_PROGS_SOCKET_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "api/abi/socket.h"

/* Peers of sockets that found no room in sluice_peer_tab. Goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sluice_peer);
} sluice_peers SEC(".maps");

/* What an unconnected UDP socket has sent to services. Goes with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sluice_udp_socket);
} sluice_udp SEC(".maps");

/* UDP sockets that talk to more services than fit inline: (socket, service) to backend... */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_UDP_OVERFLOW_ENTRIES);
	__type(key, struct sluice_udp_key);
	__type(value, struct sluice_udp_choice);
} sluice_udp_over SEC(".maps");

/* ...and (socket, backend) to service, for the source address of answers. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_UDP_OVERFLOW_ENTRIES);
	__type(key, struct sluice_udp_key);
	__type(value, struct sluice_endpoint);
} sluice_udp_back SEC(".maps");

/* State of the generator that chooses backends, one per CPU; 0 until first used. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sluice_random SEC(".maps");

/*
 * 32 random bits. xorshift64 costs 2 ns where the helper costs 18; nothing secret hangs on the
 * choice of a backend. A preempted step merely repeats a number.
 */
static inline __attribute__((always_inline)) __u32 sluice_random_u32(void)
{
	__u32 zero = 0;
	__u64 *state = bpf_map_lookup_elem(&sluice_random, &zero);
	__u64 x;

	if (!state)
		return bpf_get_prandom_u32();
	x = *state;
	if (!x)
		x = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return (__u32)(x >> 32);
}

#endif
