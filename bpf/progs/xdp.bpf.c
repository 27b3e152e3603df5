/*
 * XDP on node devices: NodePort, external and load-balancer traffic whose backend is on another node, and what those
 * backends answer through this node. Everything else passes untouched, and tc handles it with the same flow table.
 *
 *   glance -> recent flows -> flow table -> next hop -> rewrite or encapsulate -> out
 *                               miss: decide (bpf/lib/decide.h) as tc would, and insert
 *
 * Passed on purpose: backends on this node, refusals that want an answer, fragments, options, ICMP, VLAN tags, what is
 * too big for its next link, next hops that have no neighbour yet or no native XDP. A flow is
 * inserted here only when its
 * packet can leave from here too; what passes was not decided yet, and tc draws its own lot. So the two never
 * disagree about a flow: whoever inserts decides, the other finds it.
 *
 * One exception goes up the stack changed: a tunnelled packet for a pod here loses its outer header before the
 * stack joins segments (bpf/lib/direct.h).
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/progs/maps.h"
#include "bpf/progs/random.h"
#include "bpf/progs/flow_maps.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/parse.h"
#include "bpf/lib/select.h"
#include "bpf/lib/glance.h"
#include "bpf/lib/case.h"
#include "bpf/progs/affinity.h"
#include "bpf/progs/events.h"
#include "bpf/progs/xdp_maps.h"
#include "bpf/progs/xdp_route.h"
#include "bpf/progs/xdp_send.h"
#include "bpf/progs/xdp_recent.h"

typedef struct xdp_md *sluice_env;

SLUICE_ALWAYS_INLINE __u32 sluice_env_random(void)
{
	return sluice_draw();
}

SLUICE_ALWAYS_INLINE int sluice_env_stays(sluice_env ctx, struct sluice_case *now, const int v6)
{
	/* The case is the work's first member; the verifier knows that only of the map's own pointer. */
	__u32 zero = 0;
	struct sluice_xdp_work *work = bpf_map_lookup_elem(&sluice_xdp_work, &zero);
	const struct sluice_hop *hop = 0;

	if (work)
		hop = sluice_next_hop(ctx, &now->selection.address, work->now.flows.now, v6);
	return hop && hop->kind == SLUICE_HOP_LOCAL;
}

#include "bpf/lib/decide.h"
#include "bpf/lib/direct.h"

/*
 * The packet as tc's parser would have it; its tuple is there, and `plain` was read. Returns 0 if that parser would
 * refuse it.
 */
SLUICE_ALWAYS_INLINE int sluice_fill_packet(struct sluice_case *now, const struct sluice_plain *plain, const int v6)
{
	struct sluice_packet *packet = &now->packet;

	/* As sluice_parse_ipv6: they would be taken for IPv4's. */
	if (v6 && (sluice_words_are_mapped(packet->tuple.src.word_be) ||
		   sluice_words_are_mapped(packet->tuple.dst.word_be)))
		return 0;
	__builtin_memset((__u8 *)packet + sizeof(packet->tuple), 0, sizeof(*packet) - sizeof(packet->tuple));
	packet->l3 = SLUICE_ETH_HEADER;
	packet->l4 = SLUICE_ETH_HEADER + (v6 ? 40 : 20);
	packet->end = SLUICE_ETH_HEADER + plain->total;
	packet->family = v6 ? 6 : 4;
	packet->ttl = plain->ttl;
	packet->tcp_flags = plain->tcp_flags;
	now->place = SLUICE_PLACE_NODE_INGRESS;
	return 1;
}

/* Where the flow that now->pair would make goes, or NULL if it cannot be served here from its first packet on. */
SLUICE_ALWAYS_INLINE const struct sluice_hop *
sluice_serves_new(struct xdp_md *ctx, struct sluice_xdp_work *work, const struct sluice_plain *plain, const int v6)
{
	const struct sluice_case *now = &work->now;
	const struct sluice_hop *hop;

	if ((now->pair.flags & SLUICE_FLOW_DIRECT) || (now->selection.flags & SLUICE_BACKEND_LOCAL))
		return 0;
	hop = sluice_next_hop(ctx, &now->selection.address, now->flows.now, v6);
	if (!hop || !sluice_can_send(hop, plain, now->packet.tuple.protocol, now->pair.flags,
				     now->packet.tuple.ports.port_be[SLUICE_DESTINATION] != now->selection.port_be, v6))
		return 0;
	return hop;
}

/* A packet that no usable flow knows, and that may be a service's. Returns an XDP action. */
SLUICE_ALWAYS_INLINE int sluice_begin(struct xdp_md *ctx, struct sluice_xdp_work *work, const int v6)
{
	struct sluice_case *now = &work->now;
	const struct sluice_tuple *tuple = &now->packet.tuple;
	const struct sluice_plain plain = work->plain;
	const struct sluice_hop *hop;
	struct sluice_view image;
	__u64 undrawn = 0;
	__u64 *random;
	int decision;

	if (!sluice_view_open(&image) || !sluice_fill_packet(now, &plain, v6))
		return XDP_PASS;
	now->match.has_service = 0;
	/* What another CPU inserts meanwhile, the insert finds; what is still in an old table, it would not. */
	if ((!work->missed || now->flows.mode) &&
	    sluice_flow_find_any(&now->flows, tuple, work->hash, &now->hit, v6)) {
		/* Found only now, by a race, and its next packet goes the quick way; or in its second bucket: tc's. */
		if (sluice_flow_usable(now, &image, &now->hit))
			return XDP_PASS;
		sluice_flow_forget(&now->flows, &now->hit, v6);
	}
	random = sluice_random_state();
	if (random)
		undrawn = *random;
	decision = sluice_admit(ctx, now, v6);
	if (decision == SLUICE_DECIDE_DROP) {
		if (now->match.has_service)
			sluice_count_refused(&image, now->match.service);
		sluice_count_drop(now->reason);
		sluice_log_event(now, SLUICE_EVENT_DROPPED);
		return XDP_DROP;
	}
	/* What ends a flow and begins one may be passed to tc after all, which would follow it and find an end. */
	hop = 0;
	if (decision == SLUICE_DECIDE_ESTABLISH && !(plain.tcp_flags & SLUICE_TCP_FIN) &&
	    sluice_has_tunnel(&image, now->pair.flags, v6))
		hop = sluice_serves_new(ctx, work, &plain, v6);
	if (!hop) {
		/* tc decides anew, and draws what was drawn here. */
		if (random)
			*random = undrawn;
		return XDP_PASS;
	}
	now->pair.slot = SLUICE_FLOW_NOWHERE;
	now->reason = sluice_establish(now, &image, v6);
	if (now->reason) {
		if (now->match.has_service)
			sluice_count_refused(&image, now->match.service);
		sluice_count_drop(now->reason);
		sluice_log_event(now, SLUICE_EVENT_DROPPED);
		return XDP_DROP;
	}
	/* Another CPU was first, perhaps with another backend: tc follows what is in the table. */
	if (now->pair.slot == SLUICE_FLOW_NOWHERE)
		return XDP_PASS;
	/* Its source port was chosen by the insert. */
	if (tuple->protocol == SLUICE_IPPROTO_SCTP &&
	    !sluice_can_send(hop, &plain, SLUICE_IPPROTO_SCTP, now->hit.meta.flags,
			     tuple->ports.both_be != now->hit.new_ports.both_be, v6))
		return XDP_PASS;
	return sluice_send(ctx, tuple, &now->hit, &image, hop, &plain, v6);
}

SLUICE_ALWAYS_INLINE int sluice_begin_frame(struct xdp_md *ctx)
{
	const __u8 *frame = (const __u8 *)(long)ctx->data;
	struct sluice_xdp_work *work;
	__u32 zero = 0;

	work = bpf_map_lookup_elem(&sluice_xdp_work, &zero);
	if (!work || frame + SLUICE_ETH_HEADER > (const __u8 *)(long)ctx->data_end)
		return XDP_PASS;
	return sluice_load16(frame + 12) == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6) ? sluice_begin(ctx, work, 1) :
										    sluice_begin(ctx, work, 0);
}

SEC("xdp/begin")
int sluice_xdp_begin(struct xdp_md *ctx)
{
	return sluice_begin_frame(ctx);
}

SEC("xdp/unwrap")
int sluice_xdp_unwrap(struct xdp_md *ctx);

/* The map belongs to the programs of one image, and has to stay pinned while they are attached. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLUICE_XDP_STAGES);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} sluice_xdp_stages SEC(".maps") = {
	.values = { [SLUICE_XDP_BEGIN] = (void *)&sluice_xdp_begin,
		    [SLUICE_XDP_UNWRAP] = (void *)&sluice_xdp_unwrap },
};

/* Nobody there: tc has the rest. */
SLUICE_ALWAYS_INLINE int sluice_go_on(struct xdp_md *ctx, __u32 stage)
{
	bpf_tail_call(ctx, &sluice_xdp_stages, stage);
	return XDP_PASS;
}

/* A plain packet with ports: what is established is done here, without a call. */
SLUICE_ALWAYS_INLINE int sluice_plain_packet(struct xdp_md *ctx, const struct sluice_tuple *tuple, const int v6)
{
	const struct sluice_recent_place *place;
	struct sluice_recent_spot recent;
	struct sluice_xdp_work *work;
	const struct sluice_hop *hop;
	struct sluice_flow_view flows;
	struct sluice_flow_hit hit;
	struct sluice_plain plain;
	struct sluice_view image;
	__u32 zero = 0;
	__u64 hash, to;
	int found;

	/* It goes no further than this node, and next hops are known here by their destination alone. */
	if (v6 && sluice_is_link_local(&tuple->src))
		return XDP_PASS;
	if (!sluice_view_open(&image) || image.header->magic != SLUICE_IMAGE_MAGIC)
		return XDP_PASS;
	/*
	 * Most frames are strangers' and end here. Answers come to the address that their clients' stood in for, which
	 * the filter knows; the few that keep their clients' own are tc's.
	 */
	to = sluice_hash_address(image.header->hash_seed, &tuple->dst);
	if (!sluice_may_be_ours_by(&image, &tuple->dst, to))
		return XDP_PASS;
	/* tc judges what is not sound. */
	if (!sluice_read_plain(ctx, tuple->protocol, &plain, v6))
		return XDP_PASS;
	sluice_flow_view_time(&flows);
	place = sluice_recent_look(&flows, tuple, &plain, to, &recent, v6);
	if (place && sluice_recent_usable(&image, tuple, &plain, place, v6)) {
		sluice_count_served(&image, place->cell, plain.total);
		return sluice_send_tunnel(ctx, &place->hop.dst, place->port_be, &image, &place->hop, &plain, v6);
	}
	sluice_flow_view_sizes(&flows);
	hash = sluice_flow_hash(&flows, tuple, v6);
	/* The hit stays in registers; map memory is for those who call functions. */
	found = sluice_flow_find_soon(&flows, tuple, hash, &hit, v6);
	if (found != 1)
		goto begin;
	hop = sluice_next_hop(ctx, &hit.new_dst, flows.now, v6);
	if (!hop || !sluice_has_tunnel(&image, hit.meta.flags, v6) ||
	    !sluice_can_send(hop, &plain, tuple->protocol, hit.meta.flags,
			     tuple->ports.both_be != hit.new_ports.both_be, v6))
		return XDP_PASS;
	if (sluice_flow_usable_by(&flows, plain.tcp_flags, &image, &hit) &&
	    sluice_flow_follow(&flows, &hit, plain.tcp_flags, v6)) {
		sluice_recent_note(&flows, tuple, &hit, &plain, &image, hop, &recent);
		return sluice_send(ctx, tuple, &hit, &image, hop, &plain, v6);
	}
begin:
	work = bpf_map_lookup_elem(&sluice_xdp_work, &zero);
	if (!work)
		return XDP_PASS;
	work->missed = !found;
	work->hash = hash;
	work->plain = plain;
	work->now.flows = flows;
	work->now.packet.tuple = *tuple;
	return sluice_go_on(ctx, SLUICE_XDP_BEGIN);
}

/* A tunnelled packet for a pod here is freed of its outer header. Returns an XDP action. */
SLUICE_ALWAYS_INLINE int sluice_unwrap(struct xdp_md *ctx, struct sluice_xdp_work *work, const int v6)
{
	const __u32 outer = v6 ? 40 : 20;
	__u8 *frame = (__u8 *)(long)ctx->data;
	__u8 *end = (__u8 *)(long)ctx->data_end;
	const __u8 *ip = frame + SLUICE_ETH_HEADER;
	struct sluice_case *now = &work->now;
	struct sluice_address pod = {};
	struct sluice_view image;
	__u16 port_be;
	__u32 length;
	__u32 mac[3];
	int i, what;

	if (ip + outer > end || !sluice_view_open(&image) || image.header->magic != SLUICE_IMAGE_MAGIC ||
	    !sluice_flow_view_open(&now->flows))
		return XDP_PASS;
	port_be = sluice_outer_port(ip, v6);
	/* tc judges what the outer header says wrongly. */
	length = SLUICE_NTOH16(sluice_load16(ip + (v6 ? 4 : 2))) + (v6 ? 40 : 0);
	if (length < outer || SLUICE_ETH_HEADER + length > (__u32)(end - frame) ||
	    (v6 ? (ip[0] >> 4) != 6 : !sluice_ipv4_sum_right(ip, 20, end)))
		return XDP_PASS;
	if (v6) {
		for (i = 0; i < 4; i++)
			pod.word_be[i] = sluice_load32(ip + 24 + 4 * i);
	} else {
		sluice_set_v4(&pod, sluice_load32(ip + 16));
	}
	for (i = 0; i < 3; i++)
		mac[i] = sluice_load32(frame + 4 * i);
	__builtin_memset(&now->packet, 0, sizeof(now->packet));
	now->packet.l3 = SLUICE_ETH_HEADER + outer;
	now->place = SLUICE_PLACE_NODE_INGRESS;
	now->match.has_service = 0;
	if (sluice_parse_ip(frame, end, (__u32)(end - frame),
			    v6 ? SLUICE_ETHERTYPE_IPV6 : SLUICE_ETHERTYPE_IPV4,
			    &now->packet) != SLUICE_PARSE_OK ||
	    now->packet.fragment != SLUICE_WHOLE || !sluice_may_be_ours(&image, &now->packet.tuple.dst))
		return XDP_PASS;
	what = sluice_direct_accept(now, &image, &pod, port_be, 0, v6);
	if (what == SLUICE_DIRECT_DROP) {
		sluice_count_drop(now->reason);
		sluice_log_event(now, SLUICE_EVENT_DROPPED);
		return XDP_DROP;
	}
	if (what != SLUICE_DIRECT_ACCEPT)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, (int)outer))
		return XDP_PASS;
	frame = (__u8 *)(long)ctx->data;
	if (frame + SLUICE_ETH_HEADER > (__u8 *)(long)ctx->data_end)
		return sluice_lost();
	for (i = 0; i < 3; i++)
		sluice_store32(frame + 4 * i, mac[i]);
	sluice_store16(frame + 12, v6 ? SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6) :
					SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4));
	return XDP_PASS;
}

/* A frame that is not plain: a tunnel's, or tc's to judge. */
SLUICE_ALWAYS_INLINE int sluice_is_tunnel(struct xdp_md *ctx)
{
	const __u8 *frame = (const __u8 *)(long)ctx->data;
	const __u8 *ip = frame + SLUICE_ETH_HEADER;
	__u16 ethertype;

	if (frame + SLUICE_GLANCE4_BYTES > (const __u8 *)(long)ctx->data_end)
		return 0;
	ethertype = sluice_load16(frame + 12);
	if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4))
		return ip[0] == 0x45 && ip[9] == SLUICE_IPPROTO_IPIP &&
		       !(sluice_load16(ip + 6) & SLUICE_HTON16(0x3fff));
	return ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6) && ip[6] == SLUICE_IPPROTO_IPV6;
}

SEC("xdp/unwrap")
int sluice_xdp_unwrap(struct xdp_md *ctx)
{
	const __u8 *frame = (const __u8 *)(long)ctx->data;
	struct sluice_xdp_work *work;
	__u32 zero = 0;

	work = bpf_map_lookup_elem(&sluice_xdp_work, &zero);
	if (!work || frame + SLUICE_ETH_HEADER > (const __u8 *)(long)ctx->data_end)
		return XDP_PASS;
	return sluice_load16(frame + 12) == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6) ? sluice_unwrap(ctx, work, 1) :
										    sluice_unwrap(ctx, work, 0);
}

SLUICE_ALWAYS_INLINE int sluice_xdp_frame(struct xdp_md *ctx)
{
	struct sluice_tuple tuple = {};
	int kind;

	kind = sluice_glance_frame((const __u8 *)(long)ctx->data, (const __u8 *)(long)ctx->data_end, &tuple);
	if (kind == SLUICE_GLANCE_PLAIN4)
		return sluice_plain_packet(ctx, &tuple, 0);
	if (kind == SLUICE_GLANCE_PLAIN6)
		return sluice_plain_packet(ctx, &tuple, 1);
	if (kind == SLUICE_GLANCE_ODD && sluice_is_tunnel(ctx))
		return sluice_go_on(ctx, SLUICE_XDP_UNWRAP);
	return XDP_PASS;
}

/* Flagged for frames of several buffers by the loader, where the kernel has them. */
SEC("xdp")
int sluice_xdp(struct xdp_md *ctx)
{
	return sluice_xdp_frame(ctx);
}

char sluice_license[] SEC("license") = "GPL";
