"""The service suite: what a Service costs its clients, and how soon a change is in force.

Four nodes stand side by side, each with a client pod and two server pods: one without any rules, one with the agent,
one with iptables rules and one with nftables rules in kube-proxy's shape. Measurements are interleaved, so that
the machine's drift falls on all alike; figures are medians of the repetitions' medians.
"""

import concurrent.futures
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]

from harness import cluster as harness  # noqa: E402
from harness.api import ApiClient  # noqa: E402
from rows import Row, median_spread  # noqa: E402

import waiting  # noqa: E402
from service import rules  # noqa: E402

SIZES = (1, 1000, 10000)
MEASURED_IP = "10.96.255.1"
# Clients and servers keep to their CPUs: where a server is woken decides a third of what a connect takes.
CLIENT_CPU = 0
SERVER_CPU = os.cpu_count() - 1
PEER_TOOLS = {"nftables": None, "iptables-nft": "iptables-nft-restore",
              "iptables-legacy": "iptables-legacy-restore"}


class Bench:
    def __init__(self, repetitions, connects, log):
        self.repetitions, self.connects, self.log = repetitions, connects, log
        self.cluster = harness.Cluster(nodes=2 + len(PEER_TOOLS))
        self.rows = []
        self.nodes = dict(zip(["sluice", "bare", *PEER_TOOLS], self.cluster.nodes))
        for node in self.cluster.nodes:
            for name in ("a", "b"):
                node.pod(name).serve(mute=True, cpu=SERVER_CPU)
            node.pod("client")
        self.sluice = self.nodes["sluice"]
        self.created = 0

    def close(self):
        self.cluster.close()

    # The tables of each size.

    def grow_services(self, size):
        """Services of our API server up to size, the measured one first; two endpoints each."""
        def create(api, first, last):
            for i in range(first, last):
                create_service(api, f"filler{i}", rules.service_ip(i), rules.filler_endpoints(i))
        if self.created == 0:
            create_service(self.cluster.api, "measured", MEASURED_IP,
                           [pod.v4 for pod in self.sluice.pods[:2]])
            self.created = 1
        first, last = self.created - 1, size - 1
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            # A connection each, made here: a thread that enters a namespace takes all its sockets along.
            clients = [ApiClient(self.cluster.kubeconfig, self.cluster.node.ns) for _ in range(4)]
            spans = [(first + (last - first) * w // 4, first + (last - first) * (w + 1) // 4)
                     for w in range(4)]
            for client in clients:
                client.connect()
            for done in [pool.submit(create, c, *span) for c, span in zip(clients, spans)]:
                done.result()
        took = time.monotonic() - began
        if last > first:
            self.log(f"created {2 * (last - first)} objects in {took:.1f} s "
                     f"({2 * (last - first) / took:.0f}/s, one machine shared with the client)")
        self.created = size

    def load_rules(self, peer, size):
        """Replaces the peer's rules; returns the seconds it took."""
        node = self.nodes[peer]
        listed = rules.services(size, (MEASURED_IP, [pod.v4 for pod in node.pods[:2]]))
        if peer == "nftables":
            node.ns.run(["nft", "flush", "ruleset"])
            argv, text = ["nft", "-f", "-"], rules.nftables_rules(listed)
        else:
            argv, text = [PEER_TOOLS[peer]], rules.iptables_rules(listed)
        began = time.monotonic()
        node.ns.run(argv, input=text, timeout=300)
        return time.monotonic() - began

    # Latency.

    def latency(self, node, target, udp, against=None):
        """(p50 of target, p50 of against), in us; both (address, port), taken in turn by one process."""
        argv = ["taskset", "-c", CLIENT_CPU, harness.TESTPEER, "latency", *target, "--count",
                self.connects] + (["--udp"] if udp else [])
        if against:
            argv += ["--against", against[0], "--against-port", against[1]]
        client = node.pods[2]
        result = json.loads(client.ns.run(argv, cgroup=client.cgroup).stdout)
        if result["failed"]:
            raise RuntimeError(f"{result['failed']} of {self.connects} connects to {target} failed")
        return result["p50_us"], result["against_p50_us"]

    def latencies(self, size):
        service = (MEASURED_IP, 80)
        for udp, what in ((False, "connect"), (True, "new UDP flow")):
            samples = {name: [] for name in ("direct", "sluice", "direct beside sluice", *PEER_TOOLS)}
            order = ["direct", "sluice", *PEER_TOOLS]
            for _ in range(self.repetitions):
                for name in random.sample(order, len(order)):
                    node = self.nodes["bare" if name == "direct" else name]
                    direct = (node.pods[0].v4, 8080)
                    if name == "sluice":
                        ours, beside = self.latency(node, service, udp, direct)
                        samples["sluice"].append(ours)
                        samples["direct beside sluice"].append(beside)
                    else:
                        target = direct if name == "direct" else service
                        samples[name].append(self.latency(node, target, udp)[0])
            ours, spread = median_spread(samples["sluice"])
            for peer, values in samples.items():
                if peer == "sluice":
                    continue
                goal = ""
                if peer == "direct beside sluice" and not udp:
                    goal = "ratio <= 1.05"
                elif peer in PEER_TOOLS and not udp and size == SIZES[-1]:
                    goal = "ratio <= 1"
                self.rows.append(Row(f"{what} p50, {size} services", "us", ours,
                                     statistics.median(values), peer, goal=goal, spread=spread))

    # How soon a change is in force.

    def wait_answer(self, address, timeout=60):
        """Seconds until address answers a connect from the client pod through the socket hook."""
        client = self.sluice.pods[2]
        began = time.monotonic()

        def poll():
            while time.monotonic() - began < timeout:
                with socket.socket() as attempt:
                    attempt.settimeout(0.05)
                    try:
                        attempt.connect((address, 80))
                        return time.monotonic() - began
                    except OSError:
                        time.sleep(0.0005)
            raise TimeoutError(f"{address} does not answer")
        return client.ns.call(poll, cgroup=client.cgroup)

    def time_of_change(self, address, want_up, client=None):
        """When (monotonic) connects to address began to succeed, or to be refused."""
        client = client or self.sluice.pods[2]

        return waiting.time_of_change(client, address, want_up, within=10, attempt_s=0.02)

    def cold_start(self, size, peer_seconds):
        samples = []
        for _ in range(3):
            if self.sluice.agent:
                self.sluice.stop_agent()
            self.sluice.ns.run(self.sluice.agent_command("--cleanup"))
            began = time.monotonic()
            self.sluice.start_agent(wait=False)
            self.wait_answer(MEASURED_IP)
            samples.append(time.monotonic() - began)
            # The first image is attached whole: what answers first, answers with all the others.
            in_force = json.loads(self.sluice.sluice("status", "-o", "json").stdout)["services"]
            if in_force < 2 * size:
                raise RuntimeError(f"only {in_force} service ports of {2 * size} are in force")
            self.sluice.wait_agent()
        ours, spread = median_spread(samples)
        for i, (peer, seconds) in enumerate(peer_seconds.items()):
            self.rows.append(Row(f"agent start until {size} services x 2 endpoints are in force", "s",
                                 ours, seconds, f"{peer}: loading ready-made rules",
                                 goal="ours <= 2" if i == 0 else "", spread=spread))

    def one_change(self, size):
        """From the API call's return until a connect follows; the peers: applying the one-endpoint difference."""
        api, address = self.cluster.api, "10.96.255.2"
        create_service(api, "flip", address, [])
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/flip"
        samples = []
        # From a known state: until the new Service is in force, connects to it are not answered at all.
        self.time_of_change(address, False)
        for i in range(100):
            want_up = i % 2 == 0
            body = slice_body("flip", [self.sluice.pods[0].v4] if want_up else [])
            seen = {}
            watcher = threading.Thread(
                target=lambda up=want_up: seen.update(at=self.time_of_change(address, up)))
            watcher.start()
            time.sleep(0.15)
            api.put(path, body)
            returned = time.monotonic()
            watcher.join()
            samples.append(max(0.0, seen["at"] - returned) * 1000)
        ours, spread = median_spread(samples)
        worst = max(samples)
        position = (size - 1) // 2
        for i, peer in enumerate(PEER_TOOLS):
            node, timings = self.nodes[peer], []
            for n in range(5):
                endpoint = node.pods[n % 2].v4
                if peer == "nftables":
                    argv, text = ["nft", "-f", "-"], rules.nftables_change(position, endpoint)
                else:
                    argv = [PEER_TOOLS[peer], "--noflush"]
                    text = rules.iptables_change(position, endpoint)
                began = time.monotonic()
                node.ns.run(argv, input=text)
                timings.append((time.monotonic() - began) * 1000)
            self.rows.append(Row(f"one endpoint change in force after the API call, {size} services",
                                 "ms", ours, statistics.median(timings),
                                 f"{peer}: applying the difference alone", spread=spread,
                                 goal="ours <= 20" if i == 0 else "",
                                 met=worst <= 20 if i == 0 else None))

    def after_kubectl(self, size):
        """From kubectl's return until the ClusterIP answers, or refuses, from a pod and from the node."""
        cluster, address = self.cluster, "10.96.255.3"
        service = slice_yaml("applied", address, [self.sluice.pods[0].v4])
        steps = (("apply", ("apply", "-f", "-"), service, True),
                 ("delete of the EndpointSlice", ("delete", "endpointslice", "applied"), None, False))
        samples = {(step[0], place): [] for step in steps for place in ("pod", "node")}
        for _ in range(5):
            for name, arguments, text, want_up in steps:
                seen = {}
                watchers = [threading.Thread(
                    target=lambda up=want_up, where=where, key=key: seen.update(
                        {key: self.time_of_change(address, up, where)}))
                    for key, where in (("pod", self.sluice.pods[2]), ("node", self.sluice))]
                for watcher in watchers:
                    watcher.start()
                cluster.kubectl(*arguments, input=text)
                returned = time.monotonic()
                for watcher in watchers:
                    watcher.join()
                if len(seen) < len(watchers):
                    raise RuntimeError(f"kubectl {name} had no effect on {address}")
                for key, at in seen.items():
                    samples[(name, key)].append(max(0.0, at - returned) * 1000)
            cluster.kubectl("delete", "service", "applied")
        for (name, place), values in samples.items():
            what = "answers" if name == "apply" else "refuses"
            ours, spread = median_spread(values)
            self.rows.append(Row(f"kubectl {name} returned until the ClusterIP {what}, {place}, "
                                 f"{size} services", "ms", ours, spread=spread, goal="ours <= 100",
                                 met=max(values) <= 100))

    def memory(self, size):
        with open(f"/proc/{self.agent_pid()}/status") as status:
            resident = [line.split()[1] for line in status if line.startswith("VmRSS")][0]
        self.rows.append(Row(f"agent resident memory, {size} services", "MB", int(resident) / 1024))
        status = json.loads(self.sluice.sluice("status", "-o", "json").stdout)
        self.rows.append(Row(f"kernel memory of all tables, {size} services", "MB",
                             status["kernelBytes"] / 1e6))

    def agent_pid(self):
        # nsenter execs the agent in place, so the child is the agent.
        return self.sluice.agent.pid

    def run(self, sizes):
        for size in sizes:
            self.log(f"{size} services")
            self.grow_services(size)
            load_seconds = {peer: self.load_rules(peer, size) for peer in PEER_TOOLS}
            if not self.sluice.agent:
                self.sluice.start_agent()
            self.wait_answer(MEASURED_IP)
            time.sleep(1)
            self.latencies(size)
        if sizes[-1] > 1:
            self.cold_start(sizes[-1], load_seconds)
            self.one_change(sizes[-1])
            self.after_kubectl(sizes[-1])
        self.memory(sizes[-1])
        return self.rows


def create_service(api, name, address, endpoints):
    api.create("/api/v1/namespaces/default/services", {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"clusterIP": address, "ports": [
            {"name": p, "port": 80, "targetPort": 8080, "protocol": p.upper()} for p in ("tcp", "udp")]}})
    api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
               slice_body(name, endpoints))


def slice_body(name, endpoints):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": p, "port": 8080, "protocol": p.upper()} for p in ("tcp", "udp")],
            "endpoints": [{"addresses": [address]} for address in endpoints]}


def slice_yaml(name, address, endpoints):
    """The Service and its slice as kubectl takes them."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
               "spec": {"clusterIP": address, "ports": [
                   {"name": p, "port": 80, "targetPort": 8080, "protocol": p.upper()}
                   for p in ("tcp", "udp")]}}
    return json.dumps({"apiVersion": "v1", "kind": "List",
                       "items": [service, slice_body(name, endpoints)]})


def picture(rows, path):
    from chart import grouped_bars
    sizes = sorted({int(r.name.split()[-2]) for r in rows if r.name.startswith("connect p50")})
    chosen = [r for r in rows if r.name.startswith("connect p50")]
    series = {"direct": [], "sluice": [], **{peer: [] for peer in PEER_TOOLS}}
    for size in sizes:
        of_size = [r for r in chosen if int(r.name.split()[-2]) == size]
        series["sluice"].append(of_size[0].ours)
        for row in of_size:
            name = "direct" if row.peer_name == "direct beside sluice" else row.peer_name
            if name in series and row.peer_name != "direct":
                series[name].append(row.peer)
    grouped_bars("connect() to a ClusterIP, median", "us", [f"{s} services" for s in sizes], series, path)


def run(log, quick=False):
    """The suite's rows; quick: fewer connects and only two sizes, to see that it works."""
    missing = [tool for tool in ("nft", *filter(None, PEER_TOOLS.values()))
               if subprocess.run(["which", tool], capture_output=True).returncode != 0]
    if missing:
        raise RuntimeError(f"the peers need {', '.join(missing)} (packages nftables, iptables)")
    bench = Bench(3 if quick else 9, 300 if quick else 2000, log)
    try:
        return bench.run((1, 100) if quick else SIZES)
    finally:
        bench.close()
