/*
 * Sending a translated packet on its way.
 *
 * A packet whose source was changed cannot go up the stack: a service address fails the reverse path filter, an
 * address of this node is a martian. So what can be forwarded is routed here and leaves at once, in both
 * directions, which also keeps connection tracking from seeing one half of a connection.
 */
#ifndef SLUICE_PROGS_TC_ROUTE_H
#define SLUICE_PROGS_TC_ROUTE_H

#include "bpf/lib/parse.h"

#define SLUICE_AF_INET 2
#define SLUICE_AF_INET6 10

enum sluice_route {
	SLUICE_ROUTE_FORWARD = 0, /* next hop and device are filled in */
	SLUICE_ROUTE_LOCAL,       /* for this node itself, or nothing to forward by: the stack decides */
	SLUICE_ROUTE_TOO_BIG, /* fib->mtu_result says how large it may be */
};

struct sluice_next_hop {
	struct bpf_redir_neigh neighbour;
	__u32 ifindex;
};

/* The largest IP packet that this one becomes on the wire; 0 if that is not known. */
SLUICE_ALWAYS_INLINE __u16 sluice_wire_length(struct __sk_buff *ctx, const struct sluice_packet *packet)
{
	__u32 length = packet->end - packet->l3;

	if (ctx->gso_size) {
		/* Segments of SCTP are as large as they are: 65535 stands for that. */
		if (!packet->l4_size || ctx->gso_size == 0xffff)
			return 0;
		length = packet->l4 - packet->l3 + packet->l4_size + ctx->gso_size;
	}
	return length <= 0xffff ? (__u16)length : 0;
}

SLUICE_ALWAYS_INLINE int sluice_route(struct __sk_buff *ctx, const struct sluice_packet *packet,
				      const struct sluice_address *src,
				      const struct sluice_address *dst, union sluice_ports ports,
				      struct bpf_fib_lookup *fib, struct sluice_next_hop *hop,
				      const int v6)
{
	long result;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->l4_protocol = packet->tuple.protocol;
	/* The route's own MTU counts, which may be less than the device's. */
	fib->tot_len = sluice_wire_length(ctx, packet);
	fib->sport = ports.port_be[SLUICE_SOURCE];
	fib->dport = ports.port_be[SLUICE_DESTINATION];
	fib->ifindex = ctx->ifindex;
	if (v6) {
		fib->family = SLUICE_AF_INET6;
		__builtin_memcpy(fib->ipv6_src, src->word_be, 16);
		__builtin_memcpy(fib->ipv6_dst, dst->word_be, 16);
	} else {
		fib->family = SLUICE_AF_INET;
		fib->ipv4_src = src->word_be[3];
		fib->ipv4_dst = dst->word_be[3];
	}
	result = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return SLUICE_ROUTE_TOO_BIG;
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return SLUICE_ROUTE_LOCAL;
	hop->ifindex = fib->ifindex;
	hop->neighbour.nh_family = fib->family;
	__builtin_memcpy(hop->neighbour.ipv6_nh, fib->ipv6_dst, 16);
	return SLUICE_ROUTE_FORWARD;
}

#endif
