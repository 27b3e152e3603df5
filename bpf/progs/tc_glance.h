/*
 * The first look at a packet: most are neither of a flow nor for a service, and leave here after some twenty
 * nanoseconds. Nothing is written, no function is called, and each attach point has a copy of its own.
 */
#ifndef SLUICE_PROGS_TC_GLANCE_H
#define SLUICE_PROGS_TC_GLANCE_H

/* Ethernet, then IPv4 without options or IPv6, then ports: read with one check of bounds. */
#define SLUICE_GLANCE4_BYTES (SLUICE_ETH_HEADER + 20 + 4)
#define SLUICE_GLANCE6_BYTES (SLUICE_ETH_HEADER + 40 + 4)

SLUICE_ALWAYS_INLINE int sluice_glance_ports(__u8 protocol)
{
	return protocol == SLUICE_IPPROTO_TCP || protocol == SLUICE_IPPROTO_UDP ||
	       protocol == SLUICE_IPPROTO_SCTP;
}

/*
 * Returns 0 if the packet is none of ours: it goes its way. 1: it may be, or is not as plain as this look can judge.
 *
 * Broken lengths and headers are not looked at. A packet that is broken is ours only by its destination's address, and
 * that is asked here too.
 */
SLUICE_ALWAYS_INLINE int sluice_glance(struct __sk_buff *ctx, const __u32 place)
{
	const __u8 *frame = (const __u8 *)(long)ctx->data;
	const __u8 *end = (const __u8 *)(long)ctx->data_end;
	const __u8 *ip = frame + SLUICE_ETH_HEADER;
	const struct sluice_flow_config *config;
	struct sluice_flow_view flows = {};
	struct sluice_tuple tuple = {};
	struct sluice_view image;
	__u32 zero = 0;
	__u16 ethertype;
	int i;

	if (frame + SLUICE_GLANCE4_BYTES > end)
		return 1;
	config = bpf_map_lookup_elem(&sluice_flow_cfg, &zero);
	if (!config || !sluice_view_open(&image) || image.header->magic != SLUICE_IMAGE_MAGIC)
		return 1;
	flows.seed = config->seed;
	flows.bucket_count4 = config->bucket_count4;
	flows.bucket_count6 = config->bucket_count6;
	/* Left to be settled by whoever looks again. */
	if (!flows.seed || !flows.bucket_count4 || !flows.bucket_count6)
		return 1;
	ethertype = sluice_load16(frame + 12);
	if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4)) {
		/* No options, no fragment. */
		if (ip[0] != 0x45 || (sluice_load16(ip + 6) & SLUICE_HTON16(0x3fff)) ||
		    !sluice_glance_ports(ip[9]))
			return 1;
		tuple.protocol = ip[9];
		sluice_set_v4(&tuple.src, sluice_load32(ip + 12));
		sluice_set_v4(&tuple.dst, sluice_load32(ip + 16));
		tuple.ports.both_be = sluice_load32(ip + 20);
		if (sluice_flow_may_know(&flows, sluice_flow_hash(&flows, &tuple, 0), 0))
			return 1;
	} else if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6)) {
		if (frame + SLUICE_GLANCE6_BYTES > end || !sluice_glance_ports(ip[6]))
			return 1;
		tuple.protocol = ip[6];
		for (i = 0; i < 4; i++) {
			tuple.src.word_be[i] = sluice_load32(ip + 8 + 4 * i);
			tuple.dst.word_be[i] = sluice_load32(ip + 24 + 4 * i);
		}
		tuple.ports.both_be = sluice_load32(ip + 40);
		if (sluice_flow_may_know(&flows, sluice_flow_hash(&flows, &tuple, 1), 1))
			return 1;
	} else {
		return ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_VLAN) ||
		       ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_QINQ);
	}
	/* What goes to a pod is ours only as an answer. */
	if (place == SLUICE_PLACE_POD_EGRESS)
		return 0;
	return sluice_may_be_ours(&image, &tuple.dst);
}

#endif
