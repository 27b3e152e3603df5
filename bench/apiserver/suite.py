"""The apiserver suite: what the API server does in a second, how long it takes, and what it keeps in memory.

One sluice-control with nothing but the API server, TLS and client certificates, durable writes on the disk of TMPDIR;
the client (apiserver_load) shares the machine's cores with it. The peers' figures of kube-apiserver 1.32 with etcd 3.5
were taken on such a machine with a client that did the same, and are not of this run.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]

from rows import Row, median_spread  # noqa: E402

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(ROOT, "build"))
LOAD = os.path.join(BUILD, "test-bin", "apiserver_load")
CONTROL = os.path.join(BUILD, "bin", "sluice-control")
PEER = "kube-apiserver 1.32 with etcd 3.5, taken on such a machine before"
READY_S = 30
RUN_S = 120
STEP_S = 0.002
PODS = 2_000
PEER_MB, ETCD_MB = 429, 98  # resident after its load
# What the peer did before its resident memory was read: of its load, the rates are known and the counts are not, so
# each part lasts ten seconds at the peer's rate (load, clients, requests). Its Pods were the 2,000 of the lists.
PEER_LOAD = (("create", 1, 6_000), ("create", 16, 16_200), ("create", 64, 23_400), ("get", 1, 11_400),
             ("get", 64, 45_600), ("merge-patch", 16, 17_500), ("strategic-patch", 16, 10_750), ("apply", 16, 14_900),
             ("create-pod", 16, PODS), ("get-pod", 64, 68_700), ("list-json", 1, 100), ("list-protobuf", 1, 250),
             ("delete", 16, 18_150))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """A sluice-control over a store of its own."""

    def __init__(self, arguments=()):
        self.home = tempfile.TemporaryDirectory(prefix="sluice-apiserver-")
        self.data, self.port = os.path.join(self.home.name, "data"), free_port()
        self.log = open(os.path.join(self.home.name, "log"), "w", encoding="utf-8")
        self.arguments = arguments
        self.process = None
        # The second start: certificates are made once in a cluster's life.
        self.start()
        self.stop()
        self.ready_s = self.start()

    def pem(self, name):
        return os.path.join(self.data, "pki", name)

    def start(self):
        """Seconds from the start of the process to the first /readyz that says ok."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            [CONTROL, "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}", *self.arguments],
            stdout=self.log, stderr=subprocess.STDOUT)
        while not self.is_ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"sluice-control ended with {self.process.returncode}; see {self.log.name}")
            if time.monotonic() - began > READY_S:
                raise RuntimeError(f"sluice-control is not ready after {READY_S} s")
            time.sleep(STEP_S)
        return time.monotonic() - began

    def is_ready(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as raw, context.wrap_socket(raw) as tls:
                tls.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return tls.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(READY_S)

    def close(self):
        self.stop()
        self.log.close()
        self.home.cleanup()

    def load(self, what, clients, requests, **more):
        command = [LOAD, what, "--port", str(self.port), "--ca", self.pem("ca.crt"), "--cert", self.pem("admin.crt"),
                   "--key", self.pem("admin.key"), "--clients", str(clients), "--requests", str(requests)]
        for name, value in more.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        before = cpu_s(self.process.pid)
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{what}: {done.stderr.strip()}")
        out = json.loads(done.stdout)
        if out.get("failed"):
            raise RuntimeError(f"{what}: {out['failed']} of {out['requests']} failed, the first with "
                               f"{out['first_failure']}")
        out["server_cpu_s"] = cpu_s(self.process.pid) - before
        return out


class Bench:
    def __init__(self, log, quick):
        self.log, self.quick, self.rows = log, quick, []
        self.repetitions = 3
        self.server = Server()
        self.serial = 0

    def close(self):
        self.server.close()

    def count(self, requests):
        return requests // 10 if self.quick else requests

    def repeat(self, what, clients, requests, fresh=False, **more):
        """The outcomes of several runs; `fresh`: each on names of its own."""
        outcomes = []
        for _ in range(self.repetitions):
            if fresh:
                self.serial += 1
                more["prefix"] = f"r{self.serial}"
            outcomes.append(self.server.load(what, clients, self.count(requests), **more))
        return outcomes

    def rate(self, name, outcomes, peer=None, goal=""):
        per_s, spread = median_spread([one["per_s"] for one in outcomes])
        requests = sum(one["requests"] for one in outcomes)
        p50, _ = median_spread([one["p50_ms"] for one in outcomes])
        p99, _ = median_spread([one["p99_ms"] for one in outcomes])
        server = sum(one["server_cpu_s"] for one in outcomes) / requests * 1e6
        client = sum(one["client_cpu_s"] for one in outcomes) / requests * 1e6
        self.log(f"{name}: {per_s:.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, server {server:.0f} us, "
                 f"client {client:.0f} us of CPU each")
        self.rows.append(Row(name, "/s", per_s, peer, PEER if peer else "", goal=goal, spread=spread))
        self.rows.append(Row(f"{name}: server's CPU", "us", server))

    def peer_load(self):
        """The peer's load on a server of its own, and what is resident then."""
        for what, clients, requests in PEER_LOAD:
            more = {"prefix": "p"}
            if what in ("get", "merge-patch", "strategic-patch", "apply"):
                more = {"prefix": "p64", "objects": self.count(23_400) // 64 * 64}
            elif what == "create":
                more = {"prefix": f"p{clients}"}
            elif what == "get-pod":
                more["objects"] = self.count(PODS) // 16 * 16
            elif what == "delete":
                more = {"prefix": "p64"}
            self.server.load(what, clients, self.count(requests), **more)
        resident = resident_mb(self.server.process.pid)
        self.log(f"resident after the peer's load: {resident:.0f} MB")
        name = "resident, after ten seconds of each of the peer's loads"
        # The store is in this process, and etcd beside the peer's; controllers and scheduler are here, and not there.
        self.rows.append(Row(f"{name}, store included", "MB", resident, PEER_MB + ETCD_MB, f"{PEER}, both",
                             goal="ratio <= 0.25"))
        self.rows.append(Row(f"{name}, beside the peer without etcd", "MB", resident, PEER_MB, PEER))
        self.server.close()
        self.server = Server()

    def writes(self):
        for clients, requests, peer, goal in ((1, 5_000, 600, ""), (64, 40_000, 2_340, "ratio >= 5")):
            name = f"create ConfigMap, JSON, {clients} clients, durable"
            self.rate(name, self.repeat("create", clients, requests, fresh=True), peer, goal)
        made = {"prefix": f"r{self.serial}", "objects": self.count(40_000) // 64 * 64}
        for clients, requests, peer, goal in ((1, 20_000, 1_140, ""), (64, 100_000, 4_560, "ratio >= 5")):
            self.rate(f"get ConfigMap, JSON, {clients} clients", self.repeat("get", clients, requests, **made), peer,
                      goal)
        for what, text, peer in (("merge-patch", "merge patch", 1_750), ("strategic-patch", "strategic patch", 1_075),
                                 ("apply", "server-side apply", 1_490)):
            self.rate(f"{text}, 16 clients", self.repeat(what, 16, 16_000, **made), peer)
        self.rate("delete ConfigMap, 16 clients", [self.server.load("delete", 16, self.count(16_000), **made)], 1_815)

    def pods(self):
        outcome = self.server.load("create-pod", 16, PODS, prefix="pod")
        self.rate("create Pod, protobuf, 16 clients", [outcome], 1_390)
        self.rate("get Pod at version 0, protobuf, 64 clients",
                  self.repeat("get-pod", 64, 64_000, prefix="pod", objects=PODS), 6_870)
        for what, text, peer in (("list-json", "JSON", 92), ("list-protobuf", "protobuf", 40),
                                 ("list-table", "Table", None)):
            samples = [one["p50_ms"] for one in self.repeat(what, 1, 200)]
            p50, spread = median_spread(samples)
            self.log(f"list of {PODS} Pods, {text}: p50 {p50:.1f} ms")
            self.rows.append(Row(f"list of {PODS} Pods at version 0, {text}, p50", "ms", p50, peer,
                                 PEER if peer else "", goal="ratio <= 0.333" if peer else "", spread=spread))

    def watches(self):
        outcomes = []
        for _ in range(self.repetitions):
            self.serial += 1
            outcomes.append(self.server.load("watch", 64, self.count(20_000), watchers=1, prefix=f"r{self.serial}"))
        for key, text, peer in (("request_p50_ms", "from POST to watcher, 64 writers, p50", 6),
                                ("request_p99_ms", "from POST to watcher, 64 writers, p99", 62)):
            value, spread = median_spread([one[key] for one in outcomes])
            self.rows.append(Row(f"event {text}", "ms", value, peer, PEER, spread=spread))
        outcomes = []
        for _ in range(self.repetitions):
            self.serial += 1
            outcomes.append(self.server.load("watch", 4, self.count(5_000), watchers=10, rate=1_000,
                                             prefix=f"r{self.serial}"))
        value, spread = median_spread([one["answer_p99_ms"] for one in outcomes])
        self.rows.append(Row("event at the watcher after the writer's answer, 1,000 changes/s, p99", "ms", value,
                             goal="ours <= 2", spread=spread))
        self.serial += 1
        watchers, changes = (100, 1_000) if self.quick else (1_000, 5_000)
        one = self.server.load("watch", 4, changes, watchers=watchers, rate=1_000, prefix=f"r{self.serial}")
        self.log(f"{watchers} watchers: {one['delivered']} events in {one['seconds']:.1f} s, {one['missing']} missing")
        self.rows.append(Row(f"{watchers} watchers, 1,000 changes/s offered: events delivered", "/s",
                             one["delivered"] / one["seconds"]))
        self.rows.append(Row(f"{watchers} watchers: events missing or out of order, of {watchers * changes}", "",
                             one["missing"], goal="ours <= 0"))

    def run(self):
        self.rows.append(Row("ready after start", "s", self.server.ready_s, 2.4, PEER, goal="ours <= 0.3"))
        idle = resident_mb(self.server.process.pid)
        self.rows.append(Row("resident, idle", "MB", idle, 257, PEER))
        self.peer_load()
        self.writes()
        self.pods()
        # 119,000 objects and 200,000 changes of them: several times of what the peer had seen.
        self.rows.append(Row("resident, after the load above", "MB", resident_mb(self.server.process.pid)))
        self.watches()


def run(log, quick):
    bench = Bench(log, quick)
    try:
        bench.run()
    finally:
        bench.close()
    return bench.rows
