"""One node with as many Services as asked for: the ground of the scale suite and of the churn run."""

import concurrent.futures
import json
import os
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]

from harness import cluster as harness  # noqa: E402
from harness.api import ApiClient  # noqa: E402

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
TCP_UDP = [{"name": p, "port": 80, "targetPort": 8080, "protocol": p.upper()} for p in ("tcp", "udp")]


def service_body(name, address, ports=TCP_UDP):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": address, "ports": ports}}


def slice_body(name, addresses, ports=TCP_UDP):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": p["name"], "port": 8080, "protocol": p["protocol"]} for p in ports],
            "endpoints": [{"addresses": [address]} for address in addresses]}


def filler_address(i):
    return f"10.96.{1 + i // 250}.{i % 250 + 1}"


def filler_endpoints(i, count):
    return [f"10.245.{(i * count + j) // 250 % 250}.{(i * count + j) % 250 + 1}" for j in range(count)]


class ScaleNode:
    """Pods a and b serve, `client` asks, `sink` takes everything and answers nothing."""

    def __init__(self, log):
        self.log = log
        self.cluster = harness.Cluster(nodes=1)
        self.node, self.api = self.cluster.node, self.cluster.api
        self.a, self.b, self.client, self.hooked, self.sink = (
            self.node.pod(n) for n in ("a", "b", "client", "hooked", "sink"))
        for pod in (self.a, self.b):
            pod.serve()
        self.sink.ns.run(["nft", "add table inet sink; add chain inet sink in "
                          "{ type filter hook input priority 0; policy drop; }"])

    def close(self):
        self.cluster.close()

    def fill(self, count, endpoints, ports):
        """Filler Services, their endpoints nobody's."""
        def create(api, first, last):
            for i in range(first, last):
                api.create(SERVICES, service_body(f"filler{i}", filler_address(i), ports))
                api.create(SLICES, slice_body(f"filler{i}", filler_endpoints(i, endpoints), ports))
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            # A connection each, made here: a thread that enters a namespace takes all its sockets along.
            clients = [ApiClient(self.cluster.kubeconfig, self.node.ns) for _ in range(4)]
            for client in clients:
                client.connect()
            spans = [(count * w // 4, count * (w + 1) // 4) for w in range(4)]
            for done in [pool.submit(create, c, *span) for c, span in zip(clients, spans)]:
                done.result()
        took = time.monotonic() - began
        self.log(f"created {2 * count} objects in {took:.1f} s ({2 * count / took:.0f}/s)")

    def service(self, name, address, pods, ports=TCP_UDP):
        self.api.create(SERVICES, service_body(name, address, ports))
        self.api.create(SLICES, slice_body(name, [pod.v4 for pod in pods], ports))

    def endpoints(self, name, pods, ports=TCP_UDP):
        self.api.put(f"{SLICES}/{name}", slice_body(name, [pod.v4 for pod in pods], ports))

    def put_addresses(self, name, addresses, ports=TCP_UDP):
        self.api.put(f"{SLICES}/{name}", slice_body(name, addresses, ports))

    def status(self):
        return json.loads(self.node.sluice("status", "-o", "json").stdout)

    def kernel_megabytes(self):
        return self.status()["kernelBytes"] / 1e6

    def resident_megabytes(self):
        # nsenter execs the agent in place, so the child is the agent.
        with open(f"/proc/{self.node.agent.pid}/status") as status:
            return int([line.split()[1] for line in status if line.startswith("VmRSS")][0]) / 1024

    def drops(self):
        return {d["reason"]: d["count"]
                for d in json.loads(self.node.sluice("drops", "-o", "json").stdout)}
