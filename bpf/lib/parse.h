/*
 * From a frame to its tuple: Ethernet, up to two VLAN tags in the frame, IPv4 with options, IPv6 with extension
 * headers, and the ports of TCP, UDP and SCTP.
 *
 * Nothing is read beyond data_end. `data_end` may lie before the end of the frame (a frame in pieces); a header that
 * is in the frame but not before data_end yields TRUNCATED with more_needed set: make more of it linear and
 * parse again. Headers quoted in ICMP errors are cut short by nature: bpf/lib/icmp.h reads those.
 */
#ifndef SLUICE_LIB_PARSE_H
#define SLUICE_LIB_PARSE_H

#include "api/abi/drop_reasons.h"
#include "bpf/lib/sctp.h"
#include "bpf/lib/tuple.h"

#define SLUICE_MAX_VLAN_TAGS 2
#define SLUICE_MAX_EXTENSION_HEADERS 6
/* The transport header starts within this many bytes, or the frame is refused as BAD_HEADER. */
#define SLUICE_MAX_L4_OFFSET 1024

#define SLUICE_ETH_HEADER 14
#define SLUICE_ETHERTYPE_IPV4 0x0800
#define SLUICE_ETHERTYPE_IPV6 0x86dd
#define SLUICE_ETHERTYPE_VLAN 0x8100
#define SLUICE_ETHERTYPE_QINQ 0x88a8

#define SLUICE_TCP_FIN 0x01
#define SLUICE_TCP_SYN 0x02
#define SLUICE_TCP_RST 0x04
#define SLUICE_TCP_ACK 0x10

enum sluice_parse {
	SLUICE_PARSE_OK = 0,    /* the tuple is complete, ports included */
	SLUICE_PARSE_NO_PORTS,  /* IP, but no ports: another protocol, or a fragment (see `fragment`) */
	SLUICE_PARSE_NOT_IP,    /* ARP and the like; nothing is filled in */
	/* `error` says why; the addresses are not to be trusted, or could be taken for the other family's */
	SLUICE_PARSE_BAD_IP,
	SLUICE_PARSE_BAD_L4,    /* `error` says why; addresses and protocol are valid */
};

enum sluice_fragment {
	SLUICE_WHOLE = 0,
	SLUICE_FIRST_FRAGMENT = 1,
	SLUICE_LATER_FRAGMENT = 2,
};

struct sluice_packet {
	struct sluice_tuple tuple;
	__u32 l3;  /* offset of the IP header */
	__u32 l4;  /* offset of the transport header; valid if addresses are */
	__u32 end; /* offset just behind the IP packet; a frame may be padded beyond it */
	__u32 fragment_id;  /* of a fragment, as in the packet */
	__u16 ip_check;     /* of IPv4, as in the packet */
	__u8 l4_size;       /* of the transport header: TCP, UDP, SCTP */
	__u8 whole_only;    /* no router may cut it up: IPv6, or IPv4 with that flag */
	__u8 family; /* 4, 6; 0 if not IP */
	__u8 ttl;    /* or hop limit */
	__u8 tcp_flags; /* of SCTP: what its first chunk would be in TCP */
	__u8 vlan_tags;
	__u8 fragment;  /* enum sluice_fragment */
	__u8 error;     /* enum sluice_drop_reason */
	__u8 icmp_type; /* of ICMP and ICMPv6 */
	__u8 more_needed;
};
SLUICE_STATIC_ASSERT(sizeof(struct sluice_packet) == 72, "packet");

/*
 * Passes a value through the packet record. A BPF verifier keeps no account of what lies in a map's memory, so behind
 * this it checks the code once, and not once for each value that the field can have.
 */
#define SLUICE_PARSE_FORGET(field) (*(volatile __typeof__(field) *)&(field))

SLUICE_ALWAYS_INLINE int sluice_parse_fails(struct sluice_packet *packet, int result, __u8 reason)
{
	packet->error = reason;
	return result;
}

/* Past data_end: in the frame all the same, or really not there. */
SLUICE_ALWAYS_INLINE int sluice_parse_short(struct sluice_packet *packet, int result, __u32 need,
					    __u32 frame_len)
{
	packet->more_needed = need <= frame_len;
	return sluice_parse_fails(packet, result, SLUICE_DROP_TRUNCATED);
}

/* The transport header at packet->l4, of which at least the part that holds ports must be inside the packet. */
SLUICE_ALWAYS_INLINE int sluice_parse_l4(const void *data, const void *data_end, __u32 frame_len,
					 struct sluice_packet *packet)
{
	__u8 protocol = SLUICE_PARSE_FORGET(packet->tuple.protocol);
	__u32 offset = SLUICE_PARSE_FORGET(packet->l4);
	const __u8 *p;
	__u32 size;

	if (offset > SLUICE_MAX_L4_OFFSET)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4, SLUICE_DROP_BAD_HEADER);
	if (SLUICE_PARSE_FORGET(packet->fragment) == SLUICE_LATER_FRAGMENT)
		return SLUICE_PARSE_NO_PORTS;
	if (protocol == SLUICE_IPPROTO_TCP)
		size = 20;
	else if (protocol == SLUICE_IPPROTO_UDP)
		size = 8;
	else if (protocol == SLUICE_IPPROTO_SCTP)
		size = 12;
	else if (protocol == SLUICE_IPPROTO_ICMP || protocol == SLUICE_IPPROTO_ICMPV6)
		size = 8;
	else
		return SLUICE_PARSE_NO_PORTS;
	if (offset + size > packet->end)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4, SLUICE_DROP_TRUNCATED);
	p = (const __u8 *)data + offset;
	if (protocol == SLUICE_IPPROTO_TCP) {
		if (p + 20 > (const __u8 *)data_end)
			return sluice_parse_short(packet, SLUICE_PARSE_BAD_L4, offset + size,
						  frame_len);
		if ((p[12] >> 4) < 5 || offset + (__u32)(p[12] >> 4) * 4 > packet->end)
			return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4, SLUICE_DROP_BAD_HEADER);
		packet->tcp_flags = p[13];
		packet->l4_size = (__u8)((p[12] >> 4) * 4);
		packet->tuple.ports.both_be = sluice_load32(p);
		return SLUICE_PARSE_OK;
	}
	if (p + 8 > (const __u8 *)data_end)
		return sluice_parse_short(packet, SLUICE_PARSE_BAD_L4, offset + size, frame_len);
	if (protocol == SLUICE_IPPROTO_ICMP || protocol == SLUICE_IPPROTO_ICMPV6) {
		packet->icmp_type = p[0];
		return SLUICE_PARSE_NO_PORTS;
	}
	packet->l4_size = (__u8)size;
	packet->tuple.ports.both_be = sluice_load32(p);
	if (protocol == SLUICE_IPPROTO_SCTP) {
		packet->tcp_flags = SLUICE_TCP_ACK;
		if (offset + 16 <= packet->end) {
			if (p + 16 > (const __u8 *)data_end)
				return sluice_parse_short(packet, SLUICE_PARSE_BAD_L4, offset + 16,
							  frame_len);
			packet->tcp_flags = sluice_sctp_as_tcp_flags(p[12]);
		}
	}
	return SLUICE_PARSE_OK;
}

/* Whether the checksum of an IPv4 header at ip is right. REQUIRES: 20 bytes are there; options, if before data_end. */
SLUICE_ALWAYS_INLINE int sluice_ipv4_sum_right(const __u8 *ip, __u32 header, const void *data_end)
{
	__u64 sum = (__u64)sluice_load32(ip) + sluice_load32(ip + 4) + sluice_load32(ip + 8) +
		    sluice_load32(ip + 12) + sluice_load32(ip + 16);
	__u32 at;

	for (at = 20; at < 60; at += 4) {
		if (at >= header || ip + at + 4 > (const __u8 *)data_end)
			break;
		sum += sluice_load32(ip + at);
	}
	/*
	 * It is if the sum is a multiple of 0xffff and not 0. Such a number times the inverse of 0xffff (modulo 2^64)
	 * is the quotient, and no other number gives one as small (Warren, "Hacker's Delight", on division).
	 */
	return sum * 0xfffefffefffeffffULL - 1 < 0x0001000100010001ULL;
}

SLUICE_ALWAYS_INLINE int sluice_parse_ipv4(const void *data, const void *data_end, __u32 frame_len,
					   struct sluice_packet *packet)
{
	__u32 l3 = SLUICE_PARSE_FORGET(packet->l3);
	const __u8 *ip = (const __u8 *)data + l3;
	__u32 header, total;
	__u16 fragment;

	if (l3 > SLUICE_MAX_L4_OFFSET)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_BAD_HEADER);
	if (ip + 20 > (const __u8 *)data_end)
		return sluice_parse_short(packet, SLUICE_PARSE_BAD_IP, l3 + 20, frame_len);
	header = (__u32)(ip[0] & 0xf) * 4;
	if ((ip[0] >> 4) != 4 || header < 20)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_BAD_HEADER);
	total = SLUICE_NTOH16(sluice_load16(ip + 2));
	/* Zero stands for more than 64 KiB in a frame that the device will cut up. */
	if (total == 0 && frame_len > 0xffff)
		total = frame_len - l3;
	if (total < header)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_BAD_HEADER);
	if (l3 + total > frame_len)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_TRUNCATED);
	packet->family = 4;
	packet->l4 = l3 + header;
	packet->end = l3 + total;
	packet->ttl = ip[8];
	packet->tuple.protocol = ip[9];
	sluice_set_v4(&packet->tuple.src, sluice_load32(ip + 12));
	sluice_set_v4(&packet->tuple.dst, sluice_load32(ip + 16));
	packet->ip_check = sluice_load16(ip + 10);
	fragment = SLUICE_NTOH16(sluice_load16(ip + 6));
	packet->whole_only = (fragment & 0x4000) != 0;
	if (fragment & 0x1fff)
		packet->fragment = SLUICE_LATER_FRAGMENT;
	else if (fragment & 0x2000)
		packet->fragment = SLUICE_FIRST_FRAGMENT;
	packet->fragment_id = sluice_load16(ip + 4);
	if (ip + header > (const __u8 *)data_end)
		return sluice_parse_short(packet, SLUICE_PARSE_BAD_L4, l3 + header, frame_len);
	if (!sluice_ipv4_sum_right(ip, header, data_end))
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4, SLUICE_DROP_BAD_CHECKSUM);
	return sluice_parse_l4(data, data_end, frame_len, packet);
}

SLUICE_ALWAYS_INLINE int sluice_parse_ipv6(const void *data, const void *data_end, __u32 frame_len,
					   struct sluice_packet *packet)
{
	__u32 l3 = SLUICE_PARSE_FORGET(packet->l3);
	const __u8 *ip = (const __u8 *)data + l3;
	__u32 offset = l3 + 40;
	__u32 payload;
	const __u8 *p;
	__u16 fragment;
	__u8 next;
	int i;

	if (l3 > SLUICE_MAX_L4_OFFSET)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_BAD_HEADER);
	if (ip + 40 > (const __u8 *)data_end)
		return sluice_parse_short(packet, SLUICE_PARSE_BAD_IP, offset, frame_len);
	if ((ip[0] >> 4) != 6)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_BAD_HEADER);
	payload = SLUICE_NTOH16(sluice_load16(ip + 4));
	if (payload == 0 && frame_len > 0xffff)
		payload = frame_len - offset;
	if (offset + payload > frame_len)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_TRUNCATED);
	packet->family = 6;
	packet->end = offset + payload;
	packet->ttl = ip[7];
	for (i = 0; i < 4; i++) {
		packet->tuple.src.word_be[i] = sluice_load32(ip + 8 + 4 * i);
		packet->tuple.dst.word_be[i] = sluice_load32(ip + 24 + 4 * i);
	}
	packet->whole_only = 1;
	/* IPv4 addresses stand like this in the tables; none of them is on the wire of IPv6 (RFC 4291, 2.5.5.2). */
	if (sluice_words_are_mapped(packet->tuple.src.word_be) ||
	    sluice_words_are_mapped(packet->tuple.dst.word_be))
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_IP, SLUICE_DROP_BAD_HEADER);
	next = ip[6];
	for (i = 0; i < SLUICE_MAX_EXTENSION_HEADERS; i++) {
		/* Hop-by-hop, routing, fragment, authentication, destination options. */
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			break;
		SLUICE_PARSE_FORGET(packet->l4) = offset;
		SLUICE_PARSE_FORGET(packet->tuple.protocol) = next;
		offset = SLUICE_PARSE_FORGET(packet->l4);
		next = SLUICE_PARSE_FORGET(packet->tuple.protocol);
		if (offset > SLUICE_MAX_L4_OFFSET)
			return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4,
						  SLUICE_DROP_BAD_HEADER);
		if (offset + 8 > packet->end)
			return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4,
						  SLUICE_DROP_TRUNCATED);
		p = (const __u8 *)data + offset;
		if (p + 8 > (const __u8 *)data_end)
			return sluice_parse_short(packet, SLUICE_PARSE_BAD_L4, offset + 8,
						  frame_len);
		if (next == 44) {
			fragment = SLUICE_NTOH16(sluice_load16(p + 2));
			packet->fragment_id = sluice_load32(p + 4);
			if (fragment >> 3)
				packet->fragment = SLUICE_LATER_FRAGMENT;
			else if (fragment & 1)
				packet->fragment = SLUICE_FIRST_FRAGMENT;
			offset += 8;
		} else if (next == 51) {
			offset += ((__u32)p[1] + 2) * 4;
		} else {
			offset += ((__u32)p[1] + 1) * 8;
		}
		next = p[0];
		if (SLUICE_PARSE_FORGET(packet->fragment) == SLUICE_LATER_FRAGMENT)
			break;
	}
	SLUICE_PARSE_FORGET(packet->l4) = offset;
	SLUICE_PARSE_FORGET(packet->tuple.protocol) = next;
	if (i == SLUICE_MAX_EXTENSION_HEADERS)
		return sluice_parse_fails(packet, SLUICE_PARSE_BAD_L4, SLUICE_DROP_BAD_HEADER);
	return sluice_parse_l4(data, data_end, frame_len, packet);
}

/*
 * Whether the source is one host somewhere: not broadcast, multicast, loopback or none. Others are given no flow and no
 * answer (RFC 1122, 3.2.2).
 */
SLUICE_ALWAYS_INLINE int sluice_source_is_host(const struct sluice_packet *packet)
{
	const struct sluice_address *src = &packet->tuple.src;
	__u8 first;

	if (packet->family == 4) {
		first = (__u8)(SLUICE_NTOH32(src->word_be[3]) >> 24);
		return first != 0 && first != 127 && first < 224;
	}
	first = (__u8)(SLUICE_NTOH32(src->word_be[0]) >> 24);
	return first != 0xff && ((src->word_be[0] | src->word_be[1] | src->word_be[2]) != 0 ||
				 SLUICE_NTOH32(src->word_be[3]) > 1);
}

/* Whether the source means something on its own link alone (RFC 4291, 2.5.6): routers do not send such packets on. */
SLUICE_ALWAYS_INLINE int sluice_is_link_local(const struct sluice_address *src)
{
	return (src->word_be[0] & SLUICE_HTON32(0xffc00000U)) == SLUICE_HTON32(0xfe800000U);
}

/* An IP packet whose header is at packet->l3. REQUIRES: the rest of *packet zeroed. */
SLUICE_ALWAYS_INLINE int sluice_parse_ip(const void *data, const void *data_end, __u32 frame_len,
					 __u16 ethertype, struct sluice_packet *packet)
{
	if (ethertype == SLUICE_ETHERTYPE_IPV4)
		return sluice_parse_ipv4(data, data_end, frame_len, packet);
	if (ethertype == SLUICE_ETHERTYPE_IPV6)
		return sluice_parse_ipv6(data, data_end, frame_len, packet);
	return SLUICE_PARSE_NOT_IP;
}

/*
 * A frame from its Ethernet header on. frame_len counts all of it, also what lies behind data_end.
 * REQUIRES: *packet zeroed. Returns enum sluice_parse.
 */
SLUICE_ALWAYS_INLINE int sluice_parse_frame(const void *data, const void *data_end, __u32 frame_len,
					    struct sluice_packet *packet)
{
	const __u8 *p = (const __u8 *)data;
	__u32 offset = SLUICE_ETH_HEADER;
	__u16 ethertype;
	int i;

	if (p + SLUICE_ETH_HEADER > (const __u8 *)data_end)
		return sluice_parse_short(packet, SLUICE_PARSE_BAD_IP, SLUICE_ETH_HEADER, frame_len);
	ethertype = SLUICE_NTOH16(sluice_load16(p + 12));
	for (i = 0; i < SLUICE_MAX_VLAN_TAGS; i++) {
		if (ethertype != SLUICE_ETHERTYPE_VLAN && ethertype != SLUICE_ETHERTYPE_QINQ)
			break;
		if (p + offset + 4 > (const __u8 *)data_end)
			return sluice_parse_short(packet, SLUICE_PARSE_BAD_IP, offset + 4, frame_len);
		ethertype = SLUICE_NTOH16(sluice_load16(p + offset + 2));
		offset += 4;
		packet->vlan_tags++;
	}
	SLUICE_PARSE_FORGET(packet->l3) = offset;
	return sluice_parse_ip(data, data_end, frame_len, ethertype, packet);
}

#endif
