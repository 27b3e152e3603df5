/*
 * SCTP: its CRC32c (RFC 9260, appendix A) when ports change, and what its chunks mean for a flow.
 *
 * The CRC is linear over GF(2): the CRC of a packet whose port bytes change is the old one XOR that of the
 * change alone, as if all the bytes behind it were zero. Those are not read; a multiplication by x^(8 * length)
 * modulo the polynomial stands for them. Addresses are not covered, so source NAT without a change of ports
 * leaves the CRC alone.
 */
#ifndef SLUICE_LIB_SCTP_H
#define SLUICE_LIB_SCTP_H

#include "bpf/lib/shared.h"
#include "bpf/lib/tuple.h"

/* Castagnoli's polynomial, its lowest power in the highest bit. */
#define SLUICE_CRC32C_POLYNOMIAL 0x82f63b78U

/* Where the CRC lies in the header, as a little-endian word whatever the machine. */
#define SLUICE_SCTP_CRC 8
#define SLUICE_SCTP_HEADER 12

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SLUICE_LE32(x) ((__u32)(x))
#else
#define SLUICE_LE32(x) __builtin_bswap32((__u32)(x))
#endif

/* Chunk types (RFC 9260, 3.2) that begin or end an association. */
#define SLUICE_SCTP_INIT 1
#define SLUICE_SCTP_INIT_ACK 2
#define SLUICE_SCTP_ABORT 6
#define SLUICE_SCTP_SHUTDOWN 7
#define SLUICE_SCTP_SHUTDOWN_ACK 8
#define SLUICE_SCTP_SHUTDOWN_COMPLETE 14

/* The product of two polynomials modulo Castagnoli's. 32 steps without a branch. */
SLUICE_SUBPROGRAM __u32 sluice_crc_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;
	int i;

	for (i = 0; i < 32; i++) {
		product ^= b & (0U - (a >> 31));
		a <<= 1;
		b = b >> 1 ^ (SLUICE_CRC32C_POLYNOMIAL & (0U - (b & 1)));
	}
	return product;
}

/*
 * What to XOR the CRC field with (as loaded from the packet) when its ports change. length: of the SCTP packet, common
 * header included, below 64 KiB. 0 if nothing changes.
 */
SLUICE_SUBPROGRAM __u32 sluice_sctp_crc_change(__u32 old_ports, __u32 new_ports, __u32 length)
{
	/* x^(8 * 2^i). */
	static const __u32 power[16] = {
		0x00800000U, 0x00008000U, 0x82f63b78U, 0x6ea2d55cU,
		0x18b8ea18U, 0x510ac59aU, 0xb82be955U, 0xb8fdb1e7U,
		0x88e56f72U, 0x74c360a4U, 0xe4172b16U, 0x0d65762aU,
		0x35d73a62U, 0x28461564U, 0xbf455269U, 0xe2ea32dcU,
	};
	__u32 change = SLUICE_LE32(old_ports ^ new_ports);
	int i;

	for (i = 0; i < 16; i++) {
		if (length >> i & 1)
			change = sluice_crc_multiply(change, power[i]);
	}
	return SLUICE_LE32(change);
}

/*
 * The CRC field after the ports have changed.
 *
 * A field of zero is left alone: the CRC is then still to be made, by the device or just before it (the kernel's
 * CHECKSUM_PARTIAL, which a program cannot see), and whoever makes it sums a field that has to be zero. A complete CRC
 * is zero once in 2^32 packets; that one is lost, and SCTP sends its data again.
 */
SLUICE_ALWAYS_INLINE __u32 sluice_sctp_crc(__u32 field, __u32 old_ports, __u32 new_ports, __u32 length)
{
	return field ? field ^ sluice_sctp_crc_change(old_ports, new_ports, length) : 0;
}

/*
 * The TCP flags that say of a packet's first chunk what it does to the association, so that one state machine follows
 * both protocols. Everything else goes on like an acknowledgement.
 */
SLUICE_ALWAYS_INLINE __u8 sluice_sctp_as_tcp_flags(__u8 chunk)
{
	switch (chunk) {
	case SLUICE_SCTP_INIT:
		return 0x02; /* SYN */
	case SLUICE_SCTP_INIT_ACK:
		return 0x12; /* SYN, ACK */
	case SLUICE_SCTP_ABORT:
	case SLUICE_SCTP_SHUTDOWN_COMPLETE:
		return 0x04; /* RST */
	case SLUICE_SCTP_SHUTDOWN:
	case SLUICE_SCTP_SHUTDOWN_ACK:
		return 0x11; /* FIN, ACK */
	default:
		return 0x10; /* ACK */
	}
}

#endif
