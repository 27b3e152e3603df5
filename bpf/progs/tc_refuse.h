/*
 * Answering refused traffic out of the device it came from (or back up the stack, for the node's own).
 */
#ifndef SLUICE_PROGS_TC_REFUSE_H
#define SLUICE_PROGS_TC_REFUSE_H

#include "bpf/lib/reply.h"

SLUICE_ALWAYS_INLINE int sluice_may_reply(const struct sluice_flow_view *view, __u32 limit)
{
	__u32 zero = 0;
	struct sluice_reply_budget *budget = bpf_map_lookup_elem(&sluice_replies, &zero);

	return budget && sluice_reply_allowed(budget, view->now, limit);
}

/* Builds the answer: what it says of errors of ICMP, else a refusal. 0 if there is none to give. */
SLUICE_ALWAYS_INLINE int sluice_build_refusal(struct __sk_buff *ctx,
					      const struct sluice_packet *packet,
					      struct sluice_answer *answer,
					      struct sluice_reply *reply, const int v6)
{
	__u32 head[4];
	__u32 length;
	int i;

	if (packet->tuple.protocol == SLUICE_IPPROTO_TCP && !answer->type) {
		if (bpf_skb_load_bytes(ctx, packet->l4, head, sizeof(head)))
			return 0;
		sluice_build_reset(reply, packet, SLUICE_NTOH32(head[1]), SLUICE_NTOH32(head[2]),
				   (SLUICE_NTOH32(head[3]) >> 28) * 4, v6);
		return 1;
	}
	length = sluice_quote_length(packet);
	for (i = 0; i < SLUICE_MAX_QUOTE / 4; i++)
		reply->word[sluice_quote_word(v6) + i] = 0;
	/* The verifier wants the bounds where the helper is called. */
	if (length < 20 || length > SLUICE_MAX_QUOTE)
		return 0;
	if (bpf_skb_load_bytes(ctx, packet->l3, &reply->word[sluice_quote_word(v6)], length))
		return 0;
	if (!answer->type)
		sluice_answer_unreachable(answer, packet->tuple.protocol, v6);
	sluice_build_error(reply, packet, length, answer, v6);
	return 1;
}

SLUICE_ALWAYS_INLINE int sluice_refuse(struct __sk_buff *ctx, const struct sluice_flow_view *flows,
				       const struct sluice_packet *packet,
				       struct sluice_answer *answer, struct sluice_reply *reply,
				       __u64 redirect_flags, const int v6)
{
	int tcp = packet->tuple.protocol == SLUICE_IPPROTO_TCP && !answer->type;
	__u16 mac[6];
	__u32 length;
	__u16 swap;
	int i;

	if (!sluice_may_answer(packet) || (tcp && (packet->tcp_flags & SLUICE_TCP_RST)))
		return TC_ACT_SHOT;
	if (!sluice_may_reply(flows, tcp ? SLUICE_RESETS_PER_TICK : SLUICE_UNREACHABLES_PER_TICK)) {
		sluice_count_drop(SLUICE_DROP_REPLY_RATE_LIMITED);
		return TC_ACT_SHOT;
	}
	if (!sluice_build_refusal(ctx, packet, answer, reply, v6) ||
	    bpf_skb_load_bytes(ctx, 0, mac, sizeof(mac)))
		return TC_ACT_SHOT;
	length = reply->length;
	if (length < 40 || length > sizeof(reply->word))
		return TC_ACT_SHOT;
	for (i = 0; i < 3; i++) {
		swap = mac[i];
		mac[i] = mac[i + 3];
		mac[i + 3] = swap;
	}
	if (bpf_skb_change_tail(ctx, packet->l3 + length, 0) ||
	    bpf_skb_store_bytes(ctx, 0, mac, sizeof(mac), 0) ||
	    bpf_skb_store_bytes(ctx, packet->l3, reply->word, length, BPF_F_INVALIDATE_HASH)) {
		sluice_count_drop(SLUICE_DROP_REWRITE_FAILED);
		return TC_ACT_SHOT;
	}
	return (int)bpf_redirect(ctx->ifindex, redirect_flags);
}

#endif
