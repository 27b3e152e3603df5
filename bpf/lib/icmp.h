/*
 * ICMP errors about translated flows (RFC 792, RFC 4443; what a translator owes them: RFC 5508, section 4).
 *
 * Whoever sends one quotes the packet as it was translated, and its sender knows only the packet as it sent it.
 * Both are halves of one flow: the quoted tuple turned round is what would come back, so it is the key of the
 * half that says how answers are translated; the error gets the same treatment, outside and in its quote.
 *
 * The message is worked on as a copy of its first SLUICE_ICMP_BYTES, which lie in a struct sluice_quote. What is behind
 * them is not touched, and the checksum changes by the difference.
 */
#ifndef SLUICE_LIB_ICMP_H
#define SLUICE_LIB_ICMP_H

#include "bpf/lib/checksum.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/parse.h"

/* Headers quoted within this many bytes are understood: ICMP's 8, IPv4 with all options, TCP; IPv6 with 60 more. */
#define SLUICE_ICMP_WORDS 32
#define SLUICE_ICMP_BYTES (4 * SLUICE_ICMP_WORDS)
/* ICMP header, IPv4 header, ports. */
#define SLUICE_ICMP_LEAST (8 + 20 + 8)
#define SLUICE_MAX_QUOTED_EXTENSIONS 4

struct sluice_quote {
	union {
		__u32 word[SLUICE_ICMP_WORDS]; /* from the ICMP header on, zero behind `length` */
		__u16 half[2 * SLUICE_ICMP_WORDS];
	};
	__u32 length;
	__u32 l4;     /* word at which the quoted transport header starts */
	__u32 l4_end; /* bytes of the quoted packet from there on, by its IP header */
	struct sluice_tuple quoted;
	struct sluice_tuple turned; /* what comes back in answer to the quoted packet */
};

/* Destination unreachable, time exceeded, parameter problem; too big. */
SLUICE_ALWAYS_INLINE int sluice_icmp_is_error(__u8 type, const int v6)
{
	if (v6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 11 || type == 12;
}

/* What is asked of somebody, and what may therefore be refused. */
SLUICE_ALWAYS_INLINE int sluice_icmp_is_question(__u8 type, const int v6)
{
	if (v6)
		return type == 128;
	return type == 8 || type == 13 || type == 15 || type == 17;
}

/* Multicast listeners, neighbours and routers: the link's own business. */
SLUICE_ALWAYS_INLINE int sluice_icmp_is_of_the_link(__u8 type, const int v6)
{
	return v6 && type >= 130 && type <= 143;
}

/* Byte `index` of the message. */
SLUICE_ALWAYS_INLINE __u32 sluice_quote_byte(const struct sluice_quote *quote, __u32 index)
{
	__u32 word = SLUICE_NTOH32(quote->word[index / 4 & (SLUICE_ICMP_WORDS - 1)]);

	return word >> (24 - 8 * (index & 3)) & 0xff;
}

SLUICE_ALWAYS_INLINE int sluice_quote_parse4(struct sluice_quote *quote)
{
	__u32 first = SLUICE_NTOH32(quote->word[2]);
	__u32 header = (first >> 24 & 0xf) * 4;
	__u32 total = first & 0xffff;

	/* Only of a whole datagram, or of its first fragment, are the ports there. */
	if (first >> 28 != 4 || header < 20 || total < header ||
	    (SLUICE_NTOH32(quote->word[3]) & 0x1fff))
		return 0;
	quote->quoted.protocol = (__u8)(SLUICE_NTOH32(quote->word[4]) >> 16);
	sluice_set_v4(&quote->quoted.src, quote->word[5]);
	sluice_set_v4(&quote->quoted.dst, quote->word[6]);
	quote->l4 = (8 + header) / 4;
	quote->l4_end = total - header;
	return 1;
}

SLUICE_ALWAYS_INLINE int sluice_quote_parse6(struct sluice_quote *quote)
{
	__u32 next = SLUICE_NTOH32(quote->word[3]) >> 8 & 0xff;
	__u32 payload = SLUICE_NTOH32(quote->word[3]) >> 16;
	__u32 at = 8 + 40;
	__u32 size;
	int i;

	if (SLUICE_NTOH32(quote->word[2]) >> 28 != 6)
		return 0;
	for (i = 0; i < 4; i++) {
		quote->quoted.src.word_be[i] = quote->word[4 + i];
		quote->quoted.dst.word_be[i] = quote->word[8 + i];
	}
	/* As in packets: their addresses must not be taken for IPv4's. */
	if (sluice_words_are_mapped(quote->quoted.src.word_be) ||
	    sluice_words_are_mapped(quote->quoted.dst.word_be))
		return 0;
	for (i = 0; i < SLUICE_MAX_QUOTED_EXTENSIONS; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			break;
		if (at + 8 > SLUICE_ICMP_BYTES)
			return 0;
		size = sluice_quote_byte(quote, at + 1);
		if (next == 44) {
			if (sluice_quote_byte(quote, at + 2) || sluice_quote_byte(quote, at + 3) & 0xf8)
				return 0;
			size = 8;
		} else if (next == 51) {
			size = (size + 2) * 4;
		} else {
			size = (size + 1) * 8;
		}
		next = sluice_quote_byte(quote, at);
		if (size > payload)
			return 0;
		payload -= size;
		at += size;
	}
	if (at > SLUICE_ICMP_BYTES)
		return 0;
	quote->quoted.protocol = (__u8)next;
	quote->l4 = at / 4;
	quote->l4_end = payload;
	return 1;
}

/*
 * Reads the quoted headers. Returns 1 and fills the tuples if it quotes TCP, UDP or SCTP with its ports.
 * REQUIRES: word[] and length are filled in.
 */
SLUICE_ALWAYS_INLINE int sluice_quote_parse(struct sluice_quote *quote, const int v6)
{
	__u32 l4;

	if (!(v6 ? sluice_quote_parse6(quote) : sluice_quote_parse4(quote)))
		return 0;
	l4 = quote->l4;
	if (quote->quoted.protocol != SLUICE_IPPROTO_TCP && quote->quoted.protocol != SLUICE_IPPROTO_UDP &&
	    quote->quoted.protocol != SLUICE_IPPROTO_SCTP)
		return 0;
	if (l4 * 4 + 8 > quote->length || l4 > SLUICE_ICMP_WORDS - 2)
		return 0;
	quote->quoted.ports.both_be = quote->word[l4 & (SLUICE_ICMP_WORDS - 1)];
	quote->turned.src = quote->quoted.dst;
	quote->turned.dst = quote->quoted.src;
	quote->turned.ports.port_be[SLUICE_SOURCE] = quote->quoted.ports.port_be[SLUICE_DESTINATION];
	quote->turned.ports.port_be[SLUICE_DESTINATION] = quote->quoted.ports.port_be[SLUICE_SOURCE];
	quote->turned.protocol = quote->quoted.protocol;
	quote->turned.reserved[0] = quote->turned.reserved[1] = quote->turned.reserved[2] = 0;
	return 1;
}

SLUICE_ALWAYS_INLINE __u64 sluice_quote_sum(const struct sluice_quote *quote)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < SLUICE_ICMP_WORDS; i++)
		sum += quote->word[i];
	return sum;
}

/* A checksum in the message that covers what has changed by `change`. */
SLUICE_ALWAYS_INLINE void sluice_quote_fix(struct sluice_quote *quote, __u32 half, __u64 change)
{
	half &= 2 * SLUICE_ICMP_WORDS - 1;
	quote->half[half] = sluice_sum_finish((__u16)~quote->half[half] + change);
}

/* The quoted transport header, as far as it is quoted: ports, and the checksum that goes with them. */
SLUICE_ALWAYS_INLINE void sluice_quote_change_l4(struct sluice_quote *quote, __u32 ports_be, __u64 addresses)
{
	__u32 l4 = quote->l4 & (SLUICE_ICMP_WORDS - 1);
	__u64 change = addresses + sluice_sum_change(quote->quoted.ports.both_be, ports_be);
	__u32 quoted = quote->length - l4 * 4;
	__u32 crc;

	quote->word[l4] = ports_be;
	if (quote->quoted.protocol == SLUICE_IPPROTO_UDP) {
		__u32 check = (2 * l4 + 3) & (2 * SLUICE_ICMP_WORDS - 1);

		if (!quote->half[check])
			return;
		sluice_quote_fix(quote, check, change);
		if (!quote->half[check])
			quote->half[check] = 0xffff;
	} else if (quote->quoted.protocol == SLUICE_IPPROTO_TCP) {
		if (quoted >= 18 && l4 + 4 < SLUICE_ICMP_WORDS)
			sluice_quote_fix(quote, 2 * l4 + 8, change);
	} else if (quoted >= SLUICE_SCTP_HEADER && l4 + 2 < SLUICE_ICMP_WORDS) {
		crc = sluice_sctp_crc(quote->word[(l4 + 2) & (SLUICE_ICMP_WORDS - 1)],
				      quote->quoted.ports.both_be, ports_be, quote->l4_end);
		quote->word[(l4 + 2) & (SLUICE_ICMP_WORDS - 1)] = crc;
	}
}

/*
 * Makes the message one about the packet as its sender knows it, checksum included. `hit` is the half that
 * quote->turned found; `outer` the error's own addresses, `src` and `dst` what they become.
 */
SLUICE_ALWAYS_INLINE void sluice_quote_translate(struct sluice_quote *quote, const struct sluice_flow_hit *hit,
						 const struct sluice_tuple *outer,
						 const struct sluice_address *src,
						 const struct sluice_address *dst, const int v6)
{
	__u64 before = sluice_quote_sum(quote);
	__u64 addresses =
		sluice_sum_addresses_change(&quote->quoted, &hit->new_dst, &hit->new_src, v6);
	__u32 ports_be = hit->new_ports.both_be << 16 | hit->new_ports.both_be >> 16;
	__u64 change;
	int i;

	if (v6) {
		for (i = 0; i < 4; i++) {
			quote->word[4 + i] = hit->new_dst.word_be[i];
			quote->word[8 + i] = hit->new_src.word_be[i];
		}
	} else {
		quote->word[5] = hit->new_dst.word_be[3];
		quote->word[6] = hit->new_src.word_be[3];
		sluice_quote_fix(quote, 9, addresses);
	}
	sluice_quote_change_l4(quote, ports_be, addresses);
	change = (__u64)(__u32)~sluice_sum_fold32(before) + sluice_sum_fold32(sluice_quote_sum(quote));
	if (v6)
		change += sluice_sum_addresses_change(outer, src, dst, 1);
	sluice_quote_fix(quote, 1, change);
}

#endif
