"""The two ends of a long or large exchange: a server program, and clients that run in a namespace by Namespace.call.

The server, `python3 endpoint.py NAME PORT`:
  UDP  answers a datagram with as many bytes, "NAME ADDRESS PORT\\n" first (a short datagram with that line alone)
  TCP  says that line, then does what the client's line asks for: "pull N" sends N bytes, "push N" reads N bytes and
       says "got N\\n", "stay" echoes until the client closes, "reset" resets
It closes first, once it has done what was asked.
"""

import os
import socket
import socketserver
import struct
import sys
import threading

MANY = 65536
TIMEOUT_S = 5


def _line(name, client):
    return f"{name} {client[0].removeprefix('::ffff:')} {client[1]}\n".encode()


def _serve_datagrams(name, port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", port))
    while True:
        try:
            data, client = sock.recvfrom(MANY)
            line = _line(name, client)
            sock.sendto((line + data)[:max(len(line), len(data))], client)
        except OSError:  # an ICMP error about an earlier answer: sent again, the answer is cut up or arrives
            continue


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(_line(self.server.name, self.client_address))
        words = self.rfile.readline().split()
        if words[:1] == [b"pull"]:
            self.wfile.write(b"x" * int(words[1]))
        elif words[:1] == [b"push"]:
            self.wfile.write(b"got %d\n" % len(self.rfile.read(int(words[1]))))
        elif words[:1] == [b"stay"]:
            while data := self.request.recv(MANY):
                self.request.sendall(data)
        elif words[:1] == [b"reset"]:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.request.detach())


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # a client that resets is no error of the server's


def serve(name, port):
    server = _Server(("::", port), _Connection)
    server.name = name
    threading.Thread(target=_serve_datagrams, args=(name, port), daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()


def kind(target):
    return socket.AF_INET6 if ":" in target[0] else socket.AF_INET


def connect(target, port=0, timeout=TIMEOUT_S):
    """A connection from the source port, and the server's greeting as [name, address, port]."""
    sock = socket.socket(kind(target))
    sock.settimeout(timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.connect(target)
    greeting = b""
    while not greeting.endswith(b"\n"):
        if not (byte := sock.recv(1)):
            raise ConnectionError(f"closed after {greeting!r}")
        greeting += byte
    return sock, greeting.decode().split()


def read_all(sock):
    """Bytes until the server closes."""
    total = 0
    while data := sock.recv(MANY):
        total += len(data)
    return total


def pull(target, size, port=0):
    sock, greeting = connect(target, port)
    with sock:
        sock.sendall(b"pull %d\n" % size)
        return greeting, read_all(sock)


def push(target, size, port=0):
    sock, greeting = connect(target, port)
    with sock:
        sock.sendall(b"push %d\n" % size)
        sock.sendall(b"y" * size)
        return greeting, sock.recv(100).decode()


def datagram_socket(target, port=0, timeout=1):
    sock = socket.socket(kind(target), socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.connect(target)
    return sock


def ask(target, size=1, port=0):
    """One datagram and its answer: the greeting and the answer's size."""
    with datagram_socket(target, port) as sock:
        sock.send(b"z" * size)
        answer = sock.recv(MANY)
        return answer.split(b"\n")[0].decode().split(), len(answer)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
