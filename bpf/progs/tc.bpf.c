/*
 * The packet path on devices, for traffic that no socket hook has translated.
 *
 *   tc/pod_ingress   the host's end of a pod's link: what pods send, and what backends answer
 *   tc/node_ingress  uplinks and overlays: NodePorts and the like, answers from other nodes' backends
 *   tc/node_egress   uplinks: the node's own traffic that no hook saw; answers of the node's own sockets
 *   tc/pod_egress    the host's end of a pod's link: answers of the node's own sockets to a pod
 *
 * Each takes a first look, and hands on what may be ours to one program for all places, so that the verifier checks
 * that one once. It is reached by a tail call through sluice_stages. The map belongs to the programs of one image and
 * has to stay pinned while they are attached: its entries go with its last pin or descriptor.
 *
 * Program type SCHED_CLS, direct action. Frames start with an Ethernet header.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "bpf/progs/maps.h"
#include "bpf/progs/random.h"
#include "bpf/progs/flow_maps.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/parse.h"
#include "bpf/progs/fragment_maps.h"
#include "bpf/lib/select.h"
#include "bpf/progs/affinity.h"
#include "bpf/progs/tc_translate.h"
#include "bpf/progs/tc_direct.h"
#include "bpf/progs/tc_glance.h"

#define SLUICE_VLAN_ID_MASK 0xfff

/* Made linear when headers are spread over fragments of the frame. */
#define SLUICE_PULL_BYTES 256

/* Checked by the verifier once each, for all places. */
SLUICE_SUBPROGRAM int sluice_process4(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	struct sluice_view image;

	if (!scratch || !sluice_view_open(&image))
		return TC_ACT_OK;
	return sluice_process(ctx, scratch, &image, 0);
}

SLUICE_SUBPROGRAM int sluice_portless4(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				     __u32 error)
{
	struct sluice_view image;

	if (!scratch || !sluice_view_open(&image))
		return TC_ACT_OK;
	return sluice_process_portless(ctx, scratch, &image, error, 0);
}

SLUICE_SUBPROGRAM int sluice_process6(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	struct sluice_view image;

	if (!scratch || !sluice_view_open(&image))
		return TC_ACT_OK;
	return sluice_process(ctx, scratch, &image, 1);
}

SLUICE_SUBPROGRAM int sluice_portless6(struct __sk_buff *ctx, struct sluice_scratch *scratch,
				     __u32 error)
{
	struct sluice_view image;

	if (!scratch || !sluice_view_open(&image))
		return TC_ACT_OK;
	return sluice_process_portless(ctx, scratch, &image, error, 1);
}

/* Whether a later fragment is of a datagram that is translated; it then has its ports. */
SLUICE_SUBPROGRAM int sluice_recall(struct sluice_scratch *scratch)
{
	if (!scratch)
		return 0;
	return scratch->now.packet.family == 4 ?
		       sluice_datagram_recall(&scratch->now.flows, &scratch->now.packet, 0) :
		       sluice_datagram_recall(&scratch->now.flows, &scratch->now.packet, 1);
}

SLUICE_SUBPROGRAM int sluice_parse_skb(struct __sk_buff *ctx, struct sluice_scratch *scratch)
{
	if (!scratch)
		return SLUICE_PARSE_NOT_IP;
	__builtin_memset(&scratch->now.packet, 0, sizeof(scratch->now.packet));
	return sluice_parse_frame((const void *)(long)ctx->data, (const void *)(long)ctx->data_end,
				  ctx->len, &scratch->now.packet);
}

/* For all places; which one it is stands in the scratch. */
SEC("tc/process")
int sluice_process_packet(struct __sk_buff *ctx)
{
	struct sluice_scratch *scratch;
	struct sluice_view image;
	struct sluice_case *now;
	int parsed, received;
	__u32 zero = 0;

	scratch = bpf_map_lookup_elem(&sluice_scratch, &zero);
	if (!scratch)
		return TC_ACT_OK;
	now = &scratch->now;
	parsed = sluice_parse_skb(ctx, scratch);
	if (now->packet.more_needed &&
	    !bpf_skb_pull_data(ctx, ctx->len < SLUICE_PULL_BYTES ? ctx->len : SLUICE_PULL_BYTES))
		parsed = sluice_parse_skb(ctx, scratch);
	/* What is not IP, or broken beyond telling where it goes, is the stack's to judge. */
	if (parsed == SLUICE_PARSE_NOT_IP || parsed == SLUICE_PARSE_BAD_IP)
		return TC_ACT_OK;
	/* A tag behind the one that the kernel took off, or one that a VLAN device has put on: see enter(). */
	if (now->packet.vlan_tags)
		return TC_ACT_OK;
	if (!sluice_view_open(&image) || image.header->magic != SLUICE_IMAGE_MAGIC ||
	    !sluice_flow_view_open(&now->flows))
		return TC_ACT_OK;
	received = sluice_direct_receive(ctx, scratch, parsed);
	if (received == SLUICE_RECEIVED_DROP)
		return TC_ACT_SHOT;
	if (received == SLUICE_RECEIVED_AGAIN)
		parsed = sluice_parse_skb(ctx, scratch);
	if (parsed == SLUICE_PARSE_NO_PORTS && now->packet.fragment == SLUICE_LATER_FRAGMENT &&
	    sluice_recall(scratch))
		parsed = SLUICE_PARSE_OK;
	if (parsed == SLUICE_PARSE_OK)
		return now->packet.family == 4 ? sluice_process4(ctx, scratch) : sluice_process6(ctx, scratch);
	return now->packet.family == 4 ?
		       sluice_portless4(ctx, scratch, parsed == SLUICE_PARSE_BAD_L4 ? now->packet.error : 0) :
		       sluice_portless6(ctx, scratch, parsed == SLUICE_PARSE_BAD_L4 ? now->packet.error : 0);
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} sluice_stages SEC(".maps") = {
	.values = { [0] = (void *)&sluice_process_packet },
};

SLUICE_ALWAYS_INLINE int enter(struct __sk_buff *ctx, const __u32 place)
{
	struct sluice_scratch *scratch;
	__u32 zero = 0;

	if ((place == SLUICE_PLACE_NODE_EGRESS || place == SLUICE_PLACE_POD_EGRESS) &&
	    ctx->tc_index == SLUICE_TRANSLATED)
		return TC_ACT_OK;
	/*
	 * What the stack forwards to a pod has been looked at where it came in. (A redirected packet may still name the
	 * socket of the pod that sent it; it carries the mark.)
	 */
	if (place == SLUICE_PLACE_POD_EGRESS && !ctx->sk)
		return TC_ACT_OK;
	/*
	 * A frame with a tag belongs to a VLAN device, whose own programs see it without. (On its way in the kernel has
	 * taken the tag off before this program runs, whatever the device can do; on its way out it has been seen
	 * there.) To translate it here would let in VLANs that this node is no member of, for which there is no device.
	 * VLAN 0 is a priority and no VLAN.
	 */
	if (ctx->vlan_present && (ctx->vlan_tci & SLUICE_VLAN_ID_MASK))
		return TC_ACT_OK;
	if (!sluice_glance(ctx, place))
		return TC_ACT_OK;
	scratch = bpf_map_lookup_elem(&sluice_scratch, &zero);
	if (!scratch)
		return TC_ACT_OK;
	scratch->now.place = place;
	bpf_tail_call(ctx, &sluice_stages, 0);
	/* Nobody there: the loader fills the map before it attaches, and removes it after. */
	return sluice_drop(SLUICE_DROP_STALE_IMAGE);
}

SEC("tc/pod_ingress")
int pod_ingress(struct __sk_buff *ctx)
{
	return enter(ctx, SLUICE_PLACE_POD_INGRESS);
}

SEC("tc/node_ingress")
int node_ingress(struct __sk_buff *ctx)
{
	return enter(ctx, SLUICE_PLACE_NODE_INGRESS);
}

SEC("tc/node_egress")
int node_egress(struct __sk_buff *ctx)
{
	return enter(ctx, SLUICE_PLACE_NODE_EGRESS);
}

SEC("tc/pod_egress")
int pod_egress(struct __sk_buff *ctx)
{
	return enter(ctx, SLUICE_PLACE_POD_EGRESS);
}

char sluice_license[] SEC("license") = "GPL";
