/*
 * Unconnected UDP: which backend a socket uses for a service, and which service an answer comes
 * from. The first few services of a socket live in its own storage, the rest in bounded maps.
 * Included by socket.bpf.c alone.
 */
#ifndef SLUICE_PROGS_SOCKET_UDP_H
#define SLUICE_PROGS_SOCKET_UDP_H

SLUICE_ALWAYS_INLINE int sluice_endpoint_equal(const struct sluice_endpoint *a,
					       const struct sluice_endpoint *b)
{
	return a->port_be == b->port_be && sluice_address_equal(&a->address, &b->address);
}

/* Copies the socket's choice for a service. Returns 0 if there is none inline. */
SLUICE_ALWAYS_INLINE int sluice_udp_recall(struct sluice_udp_socket *socket,
					   const struct sluice_endpoint *service,
					   struct sluice_udp_choice *choice)
{
	int found = 0;
	int i;

	bpf_spin_lock(&socket->lock);
#pragma unroll
	for (i = 0; i < SLUICE_UDP_INLINE_ENTRIES; i++) {
		if (!found && socket->entry[i].used &&
		    sluice_endpoint_equal(&socket->entry[i].service_at, service)) {
			*choice = socket->entry[i].choice;
			/* Answers of a backend that two services share go by the latest use. */
			socket->entry[i].used = ++socket->clock;
			found = 1;
		}
	}
	bpf_spin_unlock(&socket->lock);
	return found;
}

/*
 * Records a choice inline. If another thread of the same socket has replaced the stale choice (or
 * filled the gap) meanwhile, that one wins and is copied out, so that both datagrams go to one
 * backend. Returns 0 when every entry is taken by other services.
 */
SLUICE_ALWAYS_INLINE int sluice_udp_record(struct sluice_udp_socket *socket,
					   const struct sluice_endpoint *service,
					   const struct sluice_udp_choice *stale,
					   struct sluice_udp_choice *choice)
{
	int done = 0;
	int i;

	bpf_spin_lock(&socket->lock);
#pragma unroll
	for (i = 0; i < SLUICE_UDP_INLINE_ENTRIES; i++) {
		if (!done && socket->entry[i].used &&
		    sluice_endpoint_equal(&socket->entry[i].service_at, service)) {
			if (socket->entry[i].choice.backend == stale->backend &&
			    socket->entry[i].choice.incarnation == stale->incarnation)
				socket->entry[i].choice = *choice;
			else
				*choice = socket->entry[i].choice;
			socket->entry[i].used = ++socket->clock;
			done = 1;
		}
	}
#pragma unroll
	for (i = 0; i < SLUICE_UDP_INLINE_ENTRIES; i++) {
		if (!done && !socket->entry[i].used) {
			socket->entry[i].service_at = *service;
			socket->entry[i].choice = *choice;
			socket->entry[i].used = ++socket->clock;
			done = 1;
		}
	}
	if (!done)
		socket->overflowed = 1;
	bpf_spin_unlock(&socket->lock);
	return done;
}

/* The same for sockets with more services than fit inline. A lost race takes the winner's choice.
 */
SLUICE_ALWAYS_INLINE void sluice_udp_record_overflow(__u64 cookie,
						     const struct sluice_endpoint *service,
						     int had_stale,
						     struct sluice_udp_choice *choice)
{
	struct sluice_udp_key forward = {.cookie = cookie, .at = *service};
	struct sluice_udp_key back = {.cookie = cookie};
	struct sluice_udp_choice *winner;

	if (bpf_map_update_elem(&sluice_udp_over, &forward, choice,
				had_stale ? BPF_ANY : BPF_NOEXIST)) {
		winner = bpf_map_lookup_elem(&sluice_udp_over, &forward);
		if (winner)
			*choice = *winner;
	}
	back.at = choice->backend_at;
	bpf_map_update_elem(&sluice_udp_back, &back, service, BPF_ANY);
}

/* Replaces the source of a received datagram by the service it answers for. Returns 1 if it did. */
SLUICE_ALWAYS_INLINE int sluice_udp_origin(struct sluice_udp_socket *socket,
					   struct bpf_sock_addr *ctx,
					   struct sluice_endpoint *source)
{
	struct sluice_endpoint service = {};
	struct sluice_udp_key back = {};
	struct sluice_endpoint *known;
	__u32 overflowed;
	__u64 best = 0;
	int i;

	bpf_spin_lock(&socket->lock);
#pragma unroll
	for (i = 0; i < SLUICE_UDP_INLINE_ENTRIES; i++) {
		if (socket->entry[i].used > best &&
		    sluice_endpoint_equal(&socket->entry[i].choice.backend_at, source)) {
			best = socket->entry[i].used;
			service = socket->entry[i].service_at;
		}
	}
	overflowed = socket->overflowed;
	bpf_spin_unlock(&socket->lock);
	if (best) {
		*source = service;
		return 1;
	}
	if (!overflowed)
		return 0;
	back.cookie = bpf_get_socket_cookie(ctx);
	back.at = *source;
	known = bpf_map_lookup_elem(&sluice_udp_back, &back);
	if (!known)
		return 0;
	*source = *known;
	return 1;
}

#endif
