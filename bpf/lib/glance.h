/*
 * The first look at a frame: Ethernet, then IPv4 without options or IPv6, then ports, read with one check of bounds.
 * Most frames need no more than this to be told apart from ours. Nothing is written and no function is called.
 */
#ifndef SLUICE_LIB_GLANCE_H
#define SLUICE_LIB_GLANCE_H

#include "bpf/lib/flow.h"

#define SLUICE_GLANCE4_BYTES (SLUICE_ETH_HEADER + 20 + 4)
#define SLUICE_GLANCE6_BYTES (SLUICE_ETH_HEADER + 40 + 4)

enum sluice_glance {
	SLUICE_GLANCE_FOREIGN = 0, /* neither IP nor a VLAN's: none of ours */
	SLUICE_GLANCE_ODD,         /* not as plain as this look can judge; nothing is filled in */
	SLUICE_GLANCE_PLAIN4,      /* the tuple is complete, and there are no options and no fragment */
	SLUICE_GLANCE_PLAIN6,      /* the same; there are no extension headers */
};

SLUICE_ALWAYS_INLINE int sluice_glance_ports(__u8 protocol)
{
	return protocol == SLUICE_IPPROTO_TCP || protocol == SLUICE_IPPROTO_UDP ||
	       protocol == SLUICE_IPPROTO_SCTP;
}

/* Lengths are not looked at. `tuple` must be zeroed. Returns enum sluice_glance. */
SLUICE_ALWAYS_INLINE int sluice_glance_frame(const __u8 *frame, const __u8 *end, struct sluice_tuple *tuple)
{
	const __u8 *ip = frame + SLUICE_ETH_HEADER;
	__u16 ethertype;
	int i;

	if (frame + SLUICE_GLANCE4_BYTES > end)
		return SLUICE_GLANCE_ODD;
	ethertype = sluice_load16(frame + 12);
	if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV4)) {
		if (ip[0] != 0x45 || (sluice_load16(ip + 6) & SLUICE_HTON16(0x3fff)) ||
		    !sluice_glance_ports(ip[9]))
			return SLUICE_GLANCE_ODD;
		tuple->protocol = ip[9];
		sluice_set_v4(&tuple->src, sluice_load32(ip + 12));
		sluice_set_v4(&tuple->dst, sluice_load32(ip + 16));
		tuple->ports.both_be = sluice_load32(ip + 20);
		return SLUICE_GLANCE_PLAIN4;
	}
	if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_IPV6)) {
		if (frame + SLUICE_GLANCE6_BYTES > end || !sluice_glance_ports(ip[6]))
			return SLUICE_GLANCE_ODD;
		tuple->protocol = ip[6];
		for (i = 0; i < 4; i++) {
			tuple->src.word_be[i] = sluice_load32(ip + 8 + 4 * i);
			tuple->dst.word_be[i] = sluice_load32(ip + 24 + 4 * i);
		}
		tuple->ports.both_be = sluice_load32(ip + 40);
		return SLUICE_GLANCE_PLAIN6;
	}
	if (ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_VLAN) ||
	    ethertype == SLUICE_HTON16(SLUICE_ETHERTYPE_QINQ))
		return SLUICE_GLANCE_ODD;
	return SLUICE_GLANCE_FOREIGN;
}

#endif
