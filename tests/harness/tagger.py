"""Puts frames of one device into a VLAN of another, and takes them out: what a kernel without 802.1Q devices lacks.

usage: tagger.py PLAIN TRUNK VLAN. Says "ready" and runs until it is ended.
"""

import select
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/if_packet.h
STATUS_VLAN_VALID = 1 << 4
PACKET_OUTGOING = 4
LONGEST = 65536


def opened(device):
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    out.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    out.bind((device, 0))
    return out


def received(source):
    """(frame without its tag, its VLAN or None); the kernel may have taken the tag out of the frame."""
    data, notes, _, address = source.recvmsg(LONGEST, 256)
    if address[2] == PACKET_OUTGOING:
        return None, None
    for level, kind, value in notes:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tag, _ = struct.unpack("IIIHHHH", value)
            if status & STATUS_VLAN_VALID:
                return data, tag & 0xFFF
    if data[12:14] == b"\x81\x00":
        return data[:12] + data[16:], struct.unpack("!H", data[14:16])[0] & 0xFFF
    return data, None


def main(plain, trunk, vlan):
    plain, trunk, vlan = opened(plain), opened(trunk), int(vlan)
    print("ready", flush=True)
    while True:
        for source in select.select([plain, trunk], [], [])[0]:
            frame, tag = received(source)
            if frame is None:
                continue
            if source is trunk and tag == vlan:
                plain.send(frame)
            elif source is plain and tag is None:
                trunk.send(frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:])


if __name__ == "__main__":
    main(*sys.argv[1:])
