/*
 * The peer that an application named in connect(), by socket. Included by socket.bpf.c alone.
 *
 * Socket storage costs 0.7 us to create, ten times the rest of the hook; so peers live in a
 * bucketed array keyed by the socket's cookie, and only when eight live sockets share a bucket does
 * the ninth use storage. Entries are freed when their socket is released: nothing is ever evicted,
 * so nothing is forgotten however many sockets there are.
 *
 * A slot is claimed by compare-and-swap of its cookie. Only its own socket reads or writes the
 * peer, in system calls that the application orders itself.
 */
#ifndef SLUICE_PROGS_SOCKET_PEERS_H
#define SLUICE_PROGS_SOCKET_PEERS_H

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLUICE_PEER_BUCKETS);
	__type(key, __u32);
	__type(value, struct sluice_peer_bucket);
} sluice_peer_tab SEC(".maps");

/* Not 0 once some socket's peer lies in storage: until then nobody needs to look there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sluice_peer_over SEC(".maps");

SLUICE_ALWAYS_INLINE __u64 *peer_overflowed(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_peer_over, &zero);
}

/*
 * Cookies are handed out in sequence on each CPU, so neighbours fill a bucket and share its cache lines, and no two
 * CPUs do.
 */
SLUICE_ALWAYS_INLINE struct sluice_peer_bucket *peer_bucket(__u64 cookie)
{
	__u32 index = (__u32)(cookie / SLUICE_PEER_SLOTS) & (SLUICE_PEER_BUCKETS - 1);

	return bpf_map_lookup_elem(&sluice_peer_tab, &index);
}

/* The slot that holds the cookie; 0 is the cookie of free slots. NULL: none. */
SLUICE_ALWAYS_INLINE struct sluice_peer *peer_slot(struct sluice_peer_bucket *bucket, __u64 cookie)
{
	struct sluice_peer *found = 0;
	int i;

#pragma unroll
	for (i = 0; i < SLUICE_PEER_SLOTS; i++) {
		if (bucket->cookie[i] == cookie)
			found = &bucket->peer[i];
	}
	return found;
}

SLUICE_ALWAYS_INLINE struct sluice_peer *peer_claim(struct sluice_peer_bucket *bucket, __u64 cookie)
{
	int i;

#pragma unroll
	for (i = 0; i < SLUICE_PEER_SLOTS; i++) {
		if (!bucket->cookie[i] &&
		    __sync_val_compare_and_swap(&bucket->cookie[i], 0, cookie) == 0)
			return &bucket->peer[i];
	}
	return 0;
}

/* The socket's peer wherever it is; NULL if it has none. */
SLUICE_ALWAYS_INLINE struct sluice_peer *peer_find(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct sluice_peer_bucket *bucket = peer_bucket(cookie);
	struct sluice_peer *peer = 0;
	__u64 *overflowed;

	if (bucket)
		peer = peer_slot(bucket, cookie);
	if (peer)
		return peer;
	overflowed = peer_overflowed();
	if (!overflowed || !*overflowed)
		return 0;
	return bpf_sk_storage_get(&sluice_peers, sk, 0, 0);
}

/*
 * Where to remember the socket's peer; the caller writes it in place. Without memory, NULL: the socket is translated
 * all the same, and getpeername then names the backend.
 */
SLUICE_ALWAYS_INLINE struct sluice_peer *peer_place(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct sluice_peer_bucket *bucket = peer_bucket(cookie);
	struct sluice_peer *slot = 0;
	__u64 *overflowed;

	if (bucket) {
		slot = peer_slot(bucket, cookie);
		if (!slot)
			slot = peer_claim(bucket, cookie);
	}
	if (slot)
		return slot;
	overflowed = peer_overflowed();
	if (!overflowed)
		return 0;
	*(volatile __u64 *)overflowed = 1;
	return bpf_sk_storage_get(&sluice_peers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/*
 * A socket that connects elsewhere must not go on naming its former service. One that is not connected has none to
 * name, and most are new. (Who dissolves an association with a service by AF_UNSPEC and then connects to the very
 * backend it had is told the service; that the kernel does not say so here is the price.)
 */
SLUICE_ALWAYS_INLINE void peer_forget(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	struct sluice_peer *peer;

	if (sk->state != BPF_TCP_ESTABLISHED)
		return;
	peer = peer_find(ctx, sk);

	if (peer)
		peer->service.port_be = 0;
}

SLUICE_ALWAYS_INLINE void peer_release(__u64 cookie)
{
	struct sluice_peer_bucket *bucket = peer_bucket(cookie);
	int i;

	if (!bucket)
		return;
#pragma unroll
	for (i = 0; i < SLUICE_PEER_SLOTS; i++) {
		if (bucket->cookie[i] == cookie) {
			bucket->peer[i].service.port_be = 0;
			__sync_val_compare_and_swap(&bucket->cookie[i], cookie, 0);
		}
	}
}

#endif
