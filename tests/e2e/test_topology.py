"""Hints of the controllers, followed by packets: two nodes in two zones, pod a in the first and pod b in the second.

No kubelet runs here: the test says for it that pods are ready, and which CPU nodes have.
"""

import re
import time

import pytest

from harness import cluster as harness
from harness.cluster import eventually

FAMILIES = (4, 6)
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Zones:
    def __init__(self):
        # Nobody renews a node's lease here.
        self.cluster = harness.Cluster(nodes=2, control_arguments=(
            "--components", "apiserver,controllers", "--node-monitor-grace-period", "600s"))
        self.api = self.cluster.api
        self.served = []
        for node, name in zip(self.cluster.nodes, ("a", "b")):
            pod = node.pod(name)
            pod.serve()
            node.pod("client")
            self.api.merge(f"/api/v1/nodes/{node.name}", {"metadata": {"labels": {
                "topology.kubernetes.io/zone": f"zone-{name}"}}})
            self.cpu(node, 4)
            node.start_agent()
            self.api.create(PODS, {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
                "spec": {"nodeName": node.name, "containers": [{"name": "c", "image": "i"}]}})
            self.served.append(pod)
            self.ready(pod)

    def cpu(self, node, cores):
        self.api.merge(f"/api/v1/nodes/{node.name}/status", {"status": {
            "allocatable": {"cpu": str(cores), "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}]}})

    def ready(self, pod, status="True"):
        self.api.merge(f"{PODS}/{pod.name}/status", {"status": {
            "phase": "Running", "podIP": pod.v4, "podIPs": [{"ip": pod.v4}, {"ip": pod.v6}],
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": now()}]}})

    def service(self, name, **spec):
        made = self.cluster.service(name, selector={"app": "web"}, **spec)
        return {(6 if ":" in ip else 4): ip for ip in made["spec"]["clusterIPs"]}

    def servers(self, node, addresses):
        """Who answers that node and its pods, by either family."""
        seen = set()
        for family in FAMILIES:
            for where in (None, node.pods[1]):
                result = node.load(addresses[family], 80, where=where, count=20, timeout_ms=300)
                assert result["failed"] == 0, result
                seen |= set(result["servers"])
        return seen

    def expect(self, addresses, *servers):
        """What each of the nodes is answered by."""
        for node, wanted in zip(self.cluster.nodes, servers):
            eventually(lambda n=node, w=wanted: self.servers(n, addresses) == w, 15, f"{node.name} gets {wanted}")

    def events(self, name):
        items = self.api.get(f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}")["items"]
        return {(e["type"], e["reason"], e["message"]) for e in items}


@pytest.fixture(scope="module")
def both():
    made = Zones()
    try:
        yield made
    finally:
        made.cluster.close()


@pytest.fixture()
def zones(both):
    """With both pods ready, and nodes of equal size."""
    for node, pod in zip(both.cluster.nodes, both.served):
        both.cpu(node, 4)
        both.ready(pod)
    return both


def test_a_node_prefers_its_zone_by_traffic_distribution(zones):
    addresses = zones.service("close", trafficDistribution="PreferClose")
    zones.expect(addresses, {"a"}, {"b"})
    # A zone whose endpoints are not ready is served by the others.
    a = zones.served[0]
    zones.ready(a, "False")
    zones.expect(addresses, {"b"}, {"b"})
    zones.ready(a)
    zones.expect(addresses, {"a"}, {"b"})
    zones.api.merge(f"{SERVICES}/close", {"spec": {"trafficDistribution": None}})
    zones.expect(addresses, {"a", "b"}, {"a", "b"})


def test_a_node_prefers_its_zone_by_topology_mode_while_cpu_allows(zones):
    addresses = zones.service("auto")
    zones.expect(addresses, {"a", "b"}, {"a", "b"})
    zones.api.merge(f"{SERVICES}/auto", {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}})
    zones.expect(addresses, {"a"}, {"b"})
    eventually(lambda: zones.events("auto") == {
        ("Normal", "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")}, 10,
        "the event")
    # Three quarters of the load for one of two endpoints would be too much.
    zones.cpu(zones.cluster.nodes[1], 12)
    zones.expect(addresses, {"a", "b"}, {"a", "b"})
    why = ("Unable to allocate minimum required endpoints to each zone without exceeding overload threshold "
           "(2 endpoints, 2 zones), addressType: ")
    eventually(lambda: {("Warning", "TopologyAwareHintsDisabled", why + family) for family in ("IPv4", "IPv6")}
               <= zones.events("auto"), 10, "the events")
    zones.cpu(zones.cluster.nodes[1], 4)
    zones.expect(addresses, {"a"}, {"b"})


def test_the_time_from_a_change_to_packets_is_measured(zones):
    """By the annotation that the controller writes, on every node."""
    addresses = zones.service("timed")
    zones.expect(addresses, {"a", "b"}, {"a", "b"})

    def measured(node):
        text = node.ns.run(["curl", "-fsS", "http://127.0.0.1:10249/metrics"]).stdout
        return int(re.search(r'^kubeproxy_network_programming_duration_seconds_count\{ip_family="IPv4"\} (\d+)$',
                             text, re.MULTILINE)[1])
    before = {node.name: measured(node) for node in zones.cluster.nodes}
    time.sleep(1.1)  # the API's times are whole seconds: another one
    zones.ready(zones.served[0], "False")
    for node in zones.cluster.nodes:
        eventually(lambda n=node: measured(n) > before[n.name], 10, f"a measurement on {node.name}")
