/*
 * Next hops for XDP: from the cache, else from the kernel's routing tables. Include after xdp_maps.h.
 */
#ifndef SLUICE_PROGS_XDP_ROUTE_H
#define SLUICE_PROGS_XDP_ROUTE_H

#define SLUICE_AF_INET 2
#define SLUICE_AF_INET6 10

SLUICE_ALWAYS_INLINE struct sluice_hop_set *sluice_hops_for(const struct sluice_address *dst, const int v6)
{
	__u32 index = sluice_hop_set_of(dst, v6);

	return bpf_map_lookup_elem(&sluice_hops, &index);
}

/* What a destination that is not in the cache is, now and until the tick ends. */
SLUICE_ALWAYS_INLINE int sluice_resolve(struct xdp_md *ctx, struct sluice_xdp_work *work,
					const struct sluice_address *dst, const int v6)
{
	struct sluice_hop_set *set = sluice_hops_for(dst, v6);
	struct bpf_fib_lookup *fib = &work->fib;
	struct sluice_view image;
	struct sluice_hop *hop;
	__u32 ifindex;
	long result;

	if (!set || !sluice_view_open(&image))
		return 0;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = ctx->ingress_ifindex;
	if (v6) {
		fib->family = SLUICE_AF_INET6;
		__builtin_memcpy(fib->ipv6_src, image.header->node_address[1].word_be, 16);
		__builtin_memcpy(fib->ipv6_dst, dst->word_be, 16);
	} else {
		fib->family = SLUICE_AF_INET;
		fib->ipv4_src = image.header->node_address[0].word_be[3];
		fib->ipv4_dst = dst->word_be[3];
	}
	result = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	hop = sluice_hop_take(set, dst);
	hop->tick = work->now.flows.now;
	hop->kind = SLUICE_HOP_LOCAL;
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH || result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		hop->kind = SLUICE_HOP_STACK;
	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return 1;
	ifindex = fib->ifindex;
	hop->ifindex = ifindex;
	hop->mtu = fib->mtu_result;
	__builtin_memcpy(hop->mac, fib->dmac, 6);
	__builtin_memcpy(hop->mac + 6, fib->smac, 6);
	hop->kind = ifindex == ctx->ingress_ifindex || bpf_map_lookup_elem(&sluice_xdp_out, &ifindex) ?
			    SLUICE_HOP_FORWARD :
			    SLUICE_HOP_STACK;
	return 1;
}

SLUICE_SUBPROGRAM int sluice_resolve4(struct xdp_md *ctx, struct sluice_xdp_work *work,
				      const struct sluice_address *dst)
{
	return work && dst ? sluice_resolve(ctx, work, dst, 0) : 0;
}

SLUICE_SUBPROGRAM int sluice_resolve6(struct xdp_md *ctx, struct sluice_xdp_work *work,
				      const struct sluice_address *dst)
{
	return work && dst ? sluice_resolve(ctx, work, dst, 1) : 0;
}

/* The next hop of a destination; NULL if the cache cannot say. All four words of `dst` are in memory. */
SLUICE_ALWAYS_INLINE const struct sluice_hop *
sluice_next_hop(struct xdp_md *ctx, const struct sluice_address *dst, __u16 tick, const int v6)
{
	struct sluice_hop_set *set = sluice_hops_for(dst, v6);
	struct sluice_xdp_work *work;
	__u32 zero = 0;
	__u32 way;

	if (!set)
		return 0;
	/* Nearly always: the only destination of its set. */
	if (sluice_hop_is(&set->way[0], dst, tick, v6))
		return &set->way[0];
	work = bpf_map_lookup_elem(&sluice_xdp_work, &zero);
	if (!work)
		return 0;
	way = sluice_hop_find(set, dst, tick, v6);
	if (way == SLUICE_HOP_WAYS) {
		work->now.flows.now = tick;
		if (!(v6 ? sluice_resolve6(ctx, work, dst) : sluice_resolve4(ctx, work, dst)))
			return 0;
		way = sluice_hop_find(set, dst, tick, v6);
		if (way == SLUICE_HOP_WAYS)
			return 0;
	}
	*(volatile __u32 *)&work->way = way;
	way = *(volatile __u32 *)&work->way;
	return &set->way[way & (SLUICE_HOP_WAYS - 1)];
}

#endif
