/*
 * Direct server return on the wire. The load balancer's node sends a client's packet to the backend's node, which
 * delivers it and answers the client itself with the frontend's address.
 *
 *   tunnel  IPv4 in IPv4 (RFC 2003) or IPv6 in IPv6 (RFC 2473), from the node to the backend's own address. The packet
 *           inside is the client's, untouched. The backend's port travels in the outer
 *           identification (which is free in a
 *           packet that must not be fragmented, RFC 6864), or in the low 16 bits of the flow label. It is
 *           needed for the first packet only: segmentation offload may count identifications up.
 *   option  the destination becomes the backend's; the frontend travels in an IPv4 option or an
 *           IPv6 destination option,
 *           of the numbers left to experiments (RFC 4727): unknown to others, who skip them. TCP carries it in SYN
 *           packets, UDP and SCTP, which have no beginning that shows, in every packet.
 *
 * Includes nothing of an engine: the functions fill words that the engine puts in front of or into its frame.
 */
#ifndef SLUICE_LIB_TUNNEL_H
#define SLUICE_LIB_TUNNEL_H

#include "bpf/lib/checksum.h"
#include "bpf/lib/parse.h"

#define SLUICE_IPPROTO_IPIP 4
#define SLUICE_IPPROTO_IPV6 41
#define SLUICE_IPPROTO_DSTOPTS 60

#define SLUICE_TUNNEL_TTL 64
#define SLUICE_OUTER4_WORDS 5
#define SLUICE_OUTER6_WORDS 10

/* The option: copied into fragments, class control, number 30 for IPv4; 30 ("skip, may not change") for IPv6. */
#define SLUICE_OPTION4_TYPE 0x9e
#define SLUICE_OPTION4_BYTES 8
#define SLUICE_OPTION6_TYPE 0x1e
#define SLUICE_OPTION6_BYTES 24

/* Bytes that a flow's packets grow by: with `first`, those that carry the option. */
SLUICE_ALWAYS_INLINE __u32 sluice_direct_growth(int tunnel, int first, const int v6)
{
	if (tunnel)
		return v6 ? 40 : 20;
	return first ? (v6 ? SLUICE_OPTION6_BYTES : SLUICE_OPTION4_BYTES) : 0;
}

/* Whether a packet of a flow in option mode carries the option. */
SLUICE_ALWAYS_INLINE int sluice_carries_option(__u8 protocol, __u8 tcp_flags)
{
	return protocol != SLUICE_IPPROTO_TCP ||
	       (tcp_flags & (SLUICE_TCP_SYN | SLUICE_TCP_ACK)) == SLUICE_TCP_SYN;
}

/* The outer IPv4 header. `length`: of the packet inside. `tos`: its type of service, ECN included (RFC 6040). */
SLUICE_ALWAYS_INLINE void sluice_build_outer4(__u32 word[SLUICE_OUTER4_WORDS], __u32 src_be, __u32 dst_be,
					      __u32 length, __u16 port_be, __u8 tos)
{
	__u32 check;

	word[0] = SLUICE_HTON32(0x45000000U | (__u32)tos << 16 | ((length + 20) & 0xffff));
	word[1] = SLUICE_HTON32((__u32)SLUICE_NTOH16(port_be) << 16 | 0x4000);
	word[2] = SLUICE_HTON32((__u32)SLUICE_TUNNEL_TTL << 24 | SLUICE_IPPROTO_IPIP << 16);
	word[3] = src_be;
	word[4] = dst_be;
	check = sluice_sum_finish((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
	word[2] |= SLUICE_HTON32((__u32)SLUICE_NTOH16((__u16)check));
}

/*
 * The outer IPv6 header up to its addresses. `first_be`: the first word of the packet inside, for its traffic class.
 */
SLUICE_ALWAYS_INLINE void sluice_begin_outer6(__u32 word[2], __u32 length, __u16 port_be, __u32 first_be)
{
	word[0] = (first_be & SLUICE_HTON32(0x0ff00000U)) | SLUICE_HTON32(0x60000000U | SLUICE_NTOH16(port_be));
	word[1] = SLUICE_HTON32((length & 0xffff) << 16 | SLUICE_IPPROTO_IPV6 << 8 | SLUICE_TUNNEL_TTL);
}

/* All of it. */
SLUICE_ALWAYS_INLINE void sluice_build_outer6(__u32 word[SLUICE_OUTER6_WORDS], const struct sluice_address *src,
					      const struct sluice_address *dst, __u32 length,
					      __u16 port_be, __u32 first_be)
{
	int i;

	sluice_begin_outer6(word, length, port_be, first_be);
	for (i = 0; i < 4; i++) {
		word[2 + i] = src->word_be[i];
		word[6 + i] = dst->word_be[i];
	}
}

/* The backend's port in an outer header. */
SLUICE_ALWAYS_INLINE __u16 sluice_outer_port(const __u8 *ip, const int v6)
{
	return v6 ? sluice_load16(ip + 2) : sluice_load16(ip + 4);
}

/* The option for IPv4: two words. */
SLUICE_ALWAYS_INLINE void sluice_build_option4(__u32 word[2], __u32 frontend_be, __u16 port_be)
{
	word[0] = SLUICE_HTON32((__u32)SLUICE_OPTION4_TYPE << 24 | SLUICE_OPTION4_BYTES << 16 |
				SLUICE_NTOH16(port_be));
	word[1] = frontend_be;
}

/* The destination options header for IPv6: six words; `next` is what followed the IPv6 header. */
SLUICE_ALWAYS_INLINE void sluice_build_option6(__u32 word[6], const struct sluice_address *frontend,
					       __u16 port_be, __u8 next)
{
	int i;

	/* Eight bytes and two times eight more; the option's 20: address, port, two of nothing. */
	word[0] = SLUICE_HTON32((__u32)next << 24 | 2 << 16 | SLUICE_OPTION6_TYPE << 8 | 20);
	for (i = 0; i < 4; i++)
		word[1 + i] = frontend->word_be[i];
	word[5] = SLUICE_HTON32((__u32)SLUICE_NTOH16(port_be) << 16);
}

/*
 * The first three words of an IPv4 header of a packet of `length` bytes when the option goes behind the first 20 bytes.
 * Returns 0 if the header cannot take it.
 */
SLUICE_ALWAYS_INLINE int sluice_put_option4(__u32 word[3], const __u32 option[2], __u32 length)
{
	__u32 first = SLUICE_NTOH32(word[0]);
	__u32 third = SLUICE_NTOH32(word[2]);
	__u32 fresh = ((first & 0xffff0000U) + 0x02000000U) | (length + SLUICE_OPTION4_BYTES);
	__u64 change = sluice_sum_change(word[0], SLUICE_HTON32(fresh)) + option[0] + option[1];

	/* Room for it among at most ten words of options. */
	if ((first >> 24 & 0xf) > 13 || length + SLUICE_OPTION4_BYTES > 0xffff)
		return 0;
	word[0] = SLUICE_HTON32(fresh);
	word[2] = SLUICE_HTON32((third & 0xffff0000U) |
				SLUICE_NTOH16(sluice_sum_finish((__u16)~SLUICE_HTON16((__u16)third) + change)));
	return 1;
}

/* The same for the first two words of an IPv6 header. `next`: what followed it. */
SLUICE_ALWAYS_INLINE int sluice_put_option6(__u32 word[2], __u32 length, __u8 *next)
{
	__u32 second = SLUICE_NTOH32(word[1]);

	*next = (__u8)(second >> 8);
	/* What must come first stays first: hop-by-hop options. */
	if (!*next || length + SLUICE_OPTION6_BYTES - 40 > 0xffff)
		return 0;
	word[1] = SLUICE_HTON32((length + SLUICE_OPTION6_BYTES - 40) << 16 | SLUICE_IPPROTO_DSTOPTS << 8 |
				(second & 0xff));
	return 1;
}

/* The IPv4 header, without options, of a packet that is `length` bytes without them. */
SLUICE_ALWAYS_INLINE void sluice_take_option4(__u32 word[5], __u32 length)
{
	word[0] = SLUICE_HTON32(0x45000000U | (SLUICE_NTOH32(word[0]) & 0xff0000U) | length);
	word[2] &= SLUICE_HTON32(0xffff0000U);
	word[2] |= SLUICE_HTON32((__u32)SLUICE_NTOH16(
		sluice_sum_finish((__u64)word[0] + word[1] + word[2] + word[3] + word[4])));
}

/* The second word of an IPv6 header likewise, `next` being what followed the option. */
SLUICE_ALWAYS_INLINE void sluice_take_option6(__u32 word[2], __u32 length, __u8 next)
{
	word[1] = SLUICE_HTON32((length - 40) << 16 | (__u32)next << 8 | (SLUICE_NTOH32(word[1]) & 0xff));
}

/* The frontend that an option names. `p`: SLUICE_OPTION4_BYTES or _OPTION6_BYTES, readable. Returns 0 if it is none. */
SLUICE_ALWAYS_INLINE int sluice_read_option(const __u8 *p, struct sluice_address *frontend, __u16 *port_be,
					    const int v6)
{
	int i;

	if (v6) {
		if (p[1] != 2 || p[2] != SLUICE_OPTION6_TYPE || p[3] != 20)
			return 0;
		for (i = 0; i < 4; i++)
			frontend->word_be[i] = sluice_load32(p + 4 + 4 * i);
		*port_be = sluice_load16(p + 20);
		return 1;
	}
	if (p[0] != SLUICE_OPTION4_TYPE || p[1] != SLUICE_OPTION4_BYTES)
		return 0;
	*port_be = sluice_load16(p + 2);
	sluice_set_v4(frontend, sluice_load32(p + 4));
	return 1;
}

#endif
