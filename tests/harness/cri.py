"""The few calls of CRI v1 that tests make, on Python's standard library: gRPC by hand over a unix socket.

Requests are dicts from field numbers to values (str, bytes, int, a dict, or a list of these); answers are dicts from
field numbers to lists of what came (bytes or int). Numbers are those of the CRI's api.proto.
"""

import socket
import struct

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_OF_IMAGES = ("PullImage", "ImageStatus", "ListImages", "RemoveImage", "ImageFsInfo")


def encode(message):
    out = b""
    for number, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += _varint(number << 3) + _varint(value)
                continue
            data = encode(value) if isinstance(value, dict) else value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def decode(data):
    out, at = {}, 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 == 0:
            value, at = _read_varint(data, at)
        elif key & 7 == 2:
            size, at = _read_varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f"wire type {key & 7} is not used by CRI")
        out.setdefault(key >> 3, []).append(value)
    return out


def _varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


class Cri:
    """One connection a call; a failed call raises with its name and what containerd logged last."""

    def __init__(self, path, log):
        self.path = path
        self.log = log

    def call(self, method, message, timeout=60):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(self.path)
            self._send(connection, method, encode(message))
            body = self._receive(connection, method)
        if len(body) < 5:
            with open(self.log, encoding="utf-8", errors="replace") as lines:
                said = [line.strip() for line in lines if "level=error" in line]
            raise RuntimeError(f"{method} failed; containerd: {said[-1] if said else 'nothing'}")
        return decode(body[5:])

    @staticmethod
    def _send(connection, method, body):
        def header(name, value):  # literal, never indexed
            return b"\0" + _varint(len(name)) + name.encode() + _varint(len(value)) + value.encode()

        service = "ImageService" if method in _OF_IMAGES else "RuntimeService"
        headers = b"".join(header(*pair) for pair in (
            (":method", "POST"), (":scheme", "http"), (":path", f"/runtime.v1.{service}/{method}"),
            (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"") +
                           _frame(_HEADERS, _END_HEADERS, 1, headers) +
                           _frame(_DATA, _END_STREAM, 1, struct.pack(">BI", 0, len(body)) + body))

    @staticmethod
    def _receive(connection, method):
        body = b""
        stream = connection.makefile("rb")
        while True:
            head = stream.read(9)
            if len(head) < 9:
                raise RuntimeError(f"{method}: the connection ended")
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            data = stream.read(size)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                connection.sendall(_frame(kind, _ACK, 0, data if kind == _PING else b""))
            elif kind in (_RST, _GOAWAY):
                raise RuntimeError(f"{method}: the stream was reset")
            elif kind == _DATA:
                body += data
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                return body


def _frame(kind, flags, stream, data):
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data
