/*
 * The packets that answer in place of a backend: a TCP reset (RFC 9293, 3.5.2), and the errors of ICMP and ICMPv6 (RFC
 * 792, RFC 1191, RFC 4443), built from the IP header on, checksums included. Nothing here touches the packet in
 * question.
 */
#ifndef SLUICE_LIB_REPLY_H
#define SLUICE_LIB_REPLY_H

#include "bpf/lib/checksum.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/parse.h"

/*
 * Of the packet at most this much is quoted: its IP header and the first 8 bytes behind it. Of SCTP 20, for its stacks
 * look for the tag that an INIT chunk carries (RFC 9260, 10).
 */
#define SLUICE_MAX_QUOTE 128
#define SLUICE_REPLY_TTL 64

struct sluice_reply {
	__u32 length;   /* bytes in word[] that are the reply */
	__u32 reserved;
	__u32 word[12 + SLUICE_MAX_QUOTE / 4]; /* from the IP header; the quote begins at sluice_quote_word() */
};

/* ICMP needs the quote before it can be summed: the caller puts it at word[sluice_quote_word(v6)], zero-padded. */
SLUICE_ALWAYS_INLINE __u32 sluice_quote_word(const int v6)
{
	return v6 ? 12 : 7;
}

/* Bytes of the packet to quote; 0 if its headers are too long for us. */
SLUICE_ALWAYS_INLINE __u32 sluice_quote_length(const struct sluice_packet *packet)
{
	__u32 length = packet->l4 - packet->l3 +
		       (packet->tuple.protocol == SLUICE_IPPROTO_SCTP ? 20 : 8);

	if (length > packet->end - packet->l3)
		length = packet->end - packet->l3;
	return length <= SLUICE_MAX_QUOTE ? length : 0;
}

/* What an ICMP answer says; type 0: a refusal. */
struct sluice_answer {
	__u8 type;
	__u8 code;
	__u16 reserved;
	__u32 rest; /* the second word of the ICMP header, in host order: the MTU */
};

SLUICE_ALWAYS_INLINE void sluice_answer_too_big(struct sluice_answer *answer, __u32 mtu, const int v6)
{
	answer->type = v6 ? 2 : 3;
	answer->code = v6 ? 0 : 4;
	answer->rest = mtu;
}

SLUICE_ALWAYS_INLINE void sluice_answer_time_exceeded(struct sluice_answer *answer, const int v6)
{
	answer->type = v6 ? 3 : 11;
	answer->code = 0;
	answer->rest = 0;
}

SLUICE_ALWAYS_INLINE void sluice_answer_unreachable(struct sluice_answer *answer, __u8 protocol, const int v6)
{
	answer->type = v6 ? 1 : 3;
	if (v6)
		answer->code = 4;
	else
		answer->code = protocol == SLUICE_IPPROTO_UDP || protocol == SLUICE_IPPROTO_SCTP ||
					       protocol == SLUICE_IPPROTO_ICMP ?
				       3 :
				       2;
	answer->rest = 0;
}

/* RFC 1122, 3.2.2: not to other than single hosts, not about later fragments, not about ICMP errors. */
SLUICE_ALWAYS_INLINE int sluice_may_answer(const struct sluice_packet *packet)
{
	if (packet->fragment == SLUICE_LATER_FRAGMENT || !sluice_source_is_host(packet))
		return 0;
	if (packet->tuple.protocol == (packet->family == 4 ? SLUICE_IPPROTO_ICMP : SLUICE_IPPROTO_ICMPV6))
		return sluice_icmp_is_question(packet->icmp_type, packet->family == 6);
	return 1;
}

/* The IP header of the reply: from the refused destination to the source. */
SLUICE_ALWAYS_INLINE __u64 sluice_reply_ip(struct sluice_reply *reply,
					   const struct sluice_packet *packet, __u32 payload,
					   __u8 protocol, const int v6)
{
	__u32 *word = reply->word;
	int i;

	if (v6) {
		word[0] = SLUICE_HTON32(0x60000000U);
		word[1] = SLUICE_HTON32(payload << 16 | (__u32)protocol << 8 | SLUICE_REPLY_TTL);
		for (i = 0; i < 4; i++) {
			word[2 + i] = packet->tuple.dst.word_be[i];
			word[6 + i] = packet->tuple.src.word_be[i];
		}
		reply->length = 40 + payload;
		return sluice_sum_address(&packet->tuple.src) +
		       sluice_sum_address(&packet->tuple.dst) + SLUICE_HTON32(payload) +
		       SLUICE_HTON32(protocol);
	}
	word[0] = SLUICE_HTON32(0x45000000U | (20 + payload));
	word[1] = SLUICE_HTON32(0x00004000U); /* do not fragment */
	word[2] = SLUICE_HTON32((__u32)SLUICE_REPLY_TTL << 24 | (__u32)protocol << 16);
	word[3] = packet->tuple.dst.word_be[3];
	word[4] = packet->tuple.src.word_be[3];
	word[2] |= SLUICE_HTON32(SLUICE_NTOH16(sluice_sum_finish((__u64)word[0] + word[1] + word[2] +
								 word[3] + word[4])));
	reply->length = 20 + payload;
	return (__u64)word[3] + word[4] + SLUICE_HTON32((__u32)protocol << 16 | payload);
}

/* seq and ack as in the refused segment, in host order. REQUIRES: it is no reset itself. */
SLUICE_ALWAYS_INLINE void sluice_build_reset(struct sluice_reply *reply,
					     const struct sluice_packet *packet, __u32 seq, __u32 ack,
					     __u32 tcp_header, const int v6)
{
	__u32 length = packet->end - packet->l4 - tcp_header;
	__u32 *tcp = reply->word + (v6 ? 10 : 5);
	__u64 sum = sluice_reply_ip(reply, packet, 20, SLUICE_IPPROTO_TCP, v6);
	union sluice_ports ports;
	__u32 flags;

	ports.port_be[SLUICE_SOURCE] = packet->tuple.ports.port_be[SLUICE_DESTINATION];
	ports.port_be[SLUICE_DESTINATION] = packet->tuple.ports.port_be[SLUICE_SOURCE];
	tcp[0] = ports.both_be;
	if (packet->tcp_flags & SLUICE_TCP_ACK) {
		tcp[1] = SLUICE_HTON32(ack);
		tcp[2] = 0;
		flags = SLUICE_TCP_RST;
	} else {
		if (packet->tcp_flags & SLUICE_TCP_SYN)
			length++;
		if (packet->tcp_flags & SLUICE_TCP_FIN)
			length++;
		tcp[1] = 0;
		tcp[2] = SLUICE_HTON32(seq + length);
		flags = SLUICE_TCP_RST | SLUICE_TCP_ACK;
	}
	tcp[3] = SLUICE_HTON32(0x50000000U | flags << 16);
	tcp[4] = 0;
	sum += (__u64)tcp[0] + tcp[1] + tcp[2] + tcp[3];
	tcp[4] = SLUICE_HTON32((__u32)SLUICE_NTOH16(sluice_sum_finish(sum)) << 16);
}

/* REQUIRES: the quote of quote_length bytes lies at its place, zeros behind it up to SLUICE_MAX_QUOTE. */
SLUICE_ALWAYS_INLINE void sluice_build_error(struct sluice_reply *reply,
					     const struct sluice_packet *packet, __u32 quote_length,
					     const struct sluice_answer *answer, const int v6)
{
	__u32 *icmp = reply->word + (v6 ? 10 : 5);
	__u64 sum = sluice_reply_ip(reply, packet, 8 + quote_length,
				    v6 ? SLUICE_IPPROTO_ICMPV6 : SLUICE_IPPROTO_ICMP, v6);
	int i;

	if (!v6)
		sum = 0; /* only ICMPv6 has a pseudo header */
	icmp[0] = SLUICE_HTON32((__u32)answer->type << 24 | (__u32)answer->code << 16);
	icmp[1] = SLUICE_HTON32(answer->rest);
	sum += (__u64)icmp[0] + icmp[1];
	for (i = 0; i < SLUICE_MAX_QUOTE / 4; i++)
		sum += icmp[2 + i];
	icmp[0] |= SLUICE_HTON32((__u32)SLUICE_NTOH16(sluice_sum_finish(sum)));
}

#endif
