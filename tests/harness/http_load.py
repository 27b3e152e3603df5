"""Requests at a steady rate over new connections, each one accounted for: python3 http_load.py URL --rate 200

Prints "started" after the first answer, and at SIGTERM one JSON object: requests, pages (answer -> count), failures
(of the first 20: second, what), slowest_ms. A request that the rate asks for and no worker could take is a failure.
"""

import argparse
import json
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

WORKERS = 24
KEPT_FAILURES = 20


class Load:
    def __init__(self, url, rate, timeout):
        parts = urlsplit(url)
        self.target = (parts.hostname, parts.port or 80)
        self.request = f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self.rate, self.timeout = rate, timeout
        self.lock, self.stop, self.first = threading.Lock(), threading.Event(), threading.Event()
        self.began, self.next = time.monotonic(), 0
        self.requests, self.pages, self.failed, self.failures, self.slowest = 0, {}, 0, [], 0.0

    def fetch(self):
        with socket.create_connection(self.target, self.timeout) as connection:
            connection.settimeout(self.timeout)
            connection.sendall(self.request)
            answer = b""
            while True:
                data = connection.recv(65536)
                if not data:
                    break
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise OSError(f"answer {answer[:80]!r}")
        length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if length and int(length[0].split(b":")[1]) != len(body):
            raise OSError(f"{len(body)} bytes of {length[0].decode()}")
        return body.decode(errors="replace").strip()

    def work(self):
        while not self.stop.is_set():
            with self.lock:
                at = self.began + self.next / self.rate
                self.next += 1
            if self.stop.wait(max(0.0, at - time.monotonic())):
                return
            late = time.monotonic() - at
            began = time.monotonic()
            try:
                if late > self.timeout:
                    raise OSError(f"started {late:.1f} s late: too many requests are waiting")
                page, problem = self.fetch(), None
            except OSError as error:
                page, problem = None, f"{type(error).__name__}: {error}"
            with self.lock:
                self.requests += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                if problem is None:
                    self.pages[page] = self.pages.get(page, 0) + 1
                    self.first.set()
                else:
                    self.failed += 1
                    if len(self.failures) < KEPT_FAILURES:
                        self.failures.append([round(began - self.began, 3),
                                              round(time.monotonic() - began, 3), problem])

    def run(self):
        workers = [threading.Thread(target=self.work, daemon=True) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        self.first.wait(self.timeout * 2)
        print("started", flush=True)
        while not self.stop.wait(1):
            pass
        for worker in workers:
            worker.join(self.timeout + 1)
        print(json.dumps({"requests": self.requests, "pages": self.pages, "failed": self.failed,
                          "failures": self.failures, "slowest_ms": round(self.slowest * 1000)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one request")
    arguments = parser.parse_args()
    load = Load(arguments.url, arguments.rate, arguments.timeout)
    signal.signal(signal.SIGTERM, lambda *_: load.stop.set())
    load.run()


if __name__ == "__main__":
    main()
