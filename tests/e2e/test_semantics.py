"""The masquerade table and the policies, by real sockets: every row from every place through every frontend.

| source | ClusterIP | external, policy Cluster | external, policy Local |
|---|---|---|---|
| pod | source kept | source NAT | all endpoints, source kept |
| node | source NAT | source NAT | all endpoints, source NAT |
| outside | source NAT | source NAT | local endpoints only, source kept |

Node 1 has pod a and takes all the traffic, node 2 has pod b. SCTP has no sockets everywhere; it takes these journeys
packet by packet in dataplane/packet.
"""

import itertools
import json

import pytest

from harness import cluster as harness
from harness.cluster import OUTSIDE_V4, OUTSIDE_V6, eventually

FAMILIES = (4, 6)
OUTSIDE = {4: OUTSIDE_V4, 6: OUTSIDE_V6}
PLACES = ("pod-hook", "pod-tc", "node", "outside")
FRONTENDS = ("cluster", "nodeport", "external", "loadbalancer")


class Ground:
    def __init__(self, xdp, engine):
        self.cluster = harness.Cluster(nodes=2)
        self.one, self.two = self.cluster.nodes
        self.a, self.client = self.one.pod("a"), self.one.pod("client")
        self.b = self.two.pod("b")
        for pod in (self.a, self.b):
            pod.serve()
        if xdp != "off":
            self.make_wire_like()
        for node in (self.one, self.two):
            node.start_agent(more=("--xdp", xdp) if engine == "ebpf" else ())
        self.cluster.outside.ip("route", "add", "10.96.0.0/16", "via", self.one.v4)
        self.cluster.outside.ip("-6", "route", "add", "fd00:10:96::/112", "via", self.one.v6)
        self.made = {}
        self.make("wide", [self.a, self.b])
        self.make("narrow", [self.a, self.b], externalTrafficPolicy="Local")

    def make_wire_like(self):
        """A veth's frames carry unfinished checksums, and its far end takes frames back only if it runs XDP too."""
        places = [self.cluster.outside, self.one.ns, self.two.ns, self.a.ns, self.b.ns, self.client.ns]
        for ns in places:
            ns.run(["ethtool", "-K", "eth0", "tx", "off"])
        for port in json.loads(self.cluster.net.ns.run(["ip", "-j", "link", "show", "type", "veth"]).stdout):
            self.cluster.net.ns.run([harness.TESTPEER, "pass", port["ifname"]])

    def make(self, name, pods, **spec):
        """A LoadBalancer Service of two ports with an address of each kind in both families."""
        if name in self.made:
            return
        number = 80 + 2 * len(self.made)
        lb, external = ({4: f"203.0.113.{n}", 6: f"2001:db8:{n}::1"} for n in (number, number + 1))
        for family in FAMILIES:
            for address in (lb[family], external[family]):
                self.cluster.outside.ip(f"-{family}", "route", "add", address, "via", self.one.address(family))
        created = self.cluster.service(name, type="LoadBalancer", externalIPs=list(external.values()), **spec)
        self.cluster.api.merge(f"/api/v1/namespaces/default/services/{name}/status", {"status": {
            "loadBalancer": {"ingress": [{"ip": ip} for ip in lb.values()]}}})
        self.cluster.slices(name, pods)
        cluster_ips = {(6 if ":" in ip else 4): ip for ip in created["spec"]["clusterIPs"]}
        ports = {p["protocol"]: p["nodePort"] for p in created["spec"]["ports"]}
        self.made[name] = (cluster_ips, ports, lb, external)
        for family in FAMILIES:
            eventually(lambda f=family: self.load(name, "loadbalancer", "pod-tc", f, count=1)["ok"] == 1
                       or not pods, 10, f"{name} answers")

    def target(self, name, frontend, family, protocol):
        cluster_ips, ports, lb, external = self.made[name]
        if frontend == "nodeport":
            return self.one.address(family), ports[protocol]
        return {"cluster": cluster_ips, "external": external, "loadbalancer": lb}[frontend][family], 80

    def load(self, name, frontend, place, family, protocol="TCP", count=40, timeout_ms=1000):
        where = {"node": None, "outside": _Outside(self.cluster)}.get(place, self.client)
        return self.one.load(*self.target(name, frontend, family, protocol),
                             *(["--udp"] if protocol == "UDP" else []), where=where,
                             hooked=place in ("pod-hook", "node"), count=count, timeout_ms=timeout_ms)

    def sources(self, place, family, kept):
        """As whom servers may see the client."""
        if kept:
            return {OUTSIDE[family] if place == "outside" else self.client.address(family)}
        # Masquerading is to an address of the node; to a pod of its own, the kernel may take that of the pod's link.
        return {self.one.address(family), "169.254.1.1"} if place == "node" else {self.one.address(family)}

    def drops(self, reason):
        counts = json.loads(self.one.sluice("drops", "-o", "json").stdout)
        return {drop["reason"]: drop["count"] for drop in counts}[reason]


class _Outside:
    """The host outside, in the shape that Node.load wants of a place."""

    def __init__(self, cluster):
        self.ns, self.cgroup = cluster.outside, None


@pytest.fixture(scope="module", params=("native", "off"), ids=("xdp", "no-xdp"))
def ground(request, engine):
    made = Ground(request.param, engine)
    try:
        yield made
    finally:
        made.cluster.close()


def by_table(frontend, policy, place):
    """(servers, whether the source is kept), as the table has it."""
    if frontend == "cluster":
        return {"a", "b"}, place in ("pod-hook", "pod-tc")
    if policy == "Cluster":
        return {"a", "b"}, False
    if place == "outside":
        return {"a"}, True
    return {"a", "b"}, place != "node"


@pytest.mark.parametrize("protocol", ("TCP", "UDP"))
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("policy", ("Cluster", "Local"))
def test_masquerade_table(ground, policy, frontend, place, family, protocol):
    name = "wide" if policy == "Cluster" else "narrow"
    result = ground.load(name, frontend, place, family, protocol)
    servers, kept = by_table(frontend, policy, place)
    assert result["failed"] == 0 and result["wrong_peer"] == 0, result
    assert set(result["servers"]) == servers, result
    assert set(result["clients"]) <= ground.sources(place, family, kept), result


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", PLACES)
def test_internal_policy_local_narrows_the_choice_and_keeps_the_rest_of_the_table(ground, place, family):
    ground.make("inner", [ground.a, ground.b], internalTrafficPolicy="Local")
    result = ground.load("inner", "cluster", place, family)
    assert result["failed"] == 0 and set(result["servers"]) == {"a"}, result
    assert set(result["clients"]) <= ground.sources(place, family, place.startswith("pod")), result


@pytest.mark.parametrize("protocol", ("TCP", "UDP"))
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frontend", FRONTENDS)
def test_without_endpoints_every_frontend_refuses(ground, frontend, place, family, protocol):
    ground.make("empty", [])
    def refused():
        return ground.load("empty", frontend, place, family, protocol, count=1)["errors"]
    expected = [{f"{call}: Connection refused": 1} for call in ("connect", "send", "recv")]
    eventually(lambda: refused() in expected, 5, f"refused; got {refused()}", 0.1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frontend", FRONTENDS[1:])
def test_external_policy_local_without_a_local_endpoint_is_silent_outside_and_open_inside(
        ground, frontend, family, engine):
    ground.make("away", [ground.b], externalTrafficPolicy="Local")
    before = ground.drops("no_local_endpoint")
    result = ground.load("away", frontend, "outside", family, count=1, timeout_ms=200)
    assert result["errors"] == {"connect: Connection timed out": 1}, result
    assert ground.drops("no_local_endpoint") > before
    # What a node sends to its own address stays in its kernel, where sluice-dpdk is not.
    inside = ("pod-tc",) if engine == "dpdk" and frontend == "nodeport" else ("pod-hook", "pod-tc", "node")
    for place in inside:
        result = ground.load("away", frontend, place, family, count=5)
        assert result["failed"] == 0 and set(result["servers"]) == {"b"}, (place, result)


@pytest.mark.parametrize("family", FAMILIES)
def test_source_ranges_bind_the_load_balancer_address_alone_and_pods_too(ground, family):
    ranges = ["192.0.2.0/24", " 10.244.1.0/24 ", "2001:db8:ffff::/48", "fd00:10:244:1::/64"]
    ground.make("ranged", [ground.a, ground.b], loadBalancerSourceRanges=ranges)
    before = ground.drops("source_range")
    result = ground.load("ranged", "loadbalancer", "outside", family, count=1, timeout_ms=200)
    assert result["errors"] == {"connect: Connection timed out": 1}, result
    assert ground.drops("source_range") > before
    for place in ("pod-hook", "pod-tc"):
        assert ground.load("ranged", "loadbalancer", place, family)["failed"] == 0, place
    for frontend in ("nodeport", "external"):
        assert ground.load("ranged", frontend, "outside", family)["failed"] == 0, frontend
    path = "/api/v1/namespaces/default/services/ranged"
    ground.cluster.api.merge(path, {"spec": {"loadBalancerSourceRanges": [
        ("172.30.0.0/16", "fd00:30::/64")[family == 6], "198.51.100.0/24", "2001:db8:ffff::/48"]}})
    eventually(lambda: ground.load("ranged", "loadbalancer", "outside", family, count=1)["ok"] == 1, 5,
               "the client is let in once its range is listed")
    for place in ("pod-hook", "pod-tc"):
        result = ground.load("ranged", "loadbalancer", place, family, count=1, timeout_ms=200)
        assert result["errors"] in ({"connect: Connection timed out": 1},
                                    {"connect: Resource temporarily unavailable": 1}), (place, result)
    ground.cluster.api.merge(path, {"spec": {"loadBalancerSourceRanges": ranges}})
    eventually(lambda: ground.load("ranged", "loadbalancer", "pod-tc", family, count=1)["ok"] == 1, 5, "back")


@pytest.mark.parametrize("family", FAMILIES)
def test_client_ip_affinity_is_shared_by_the_frontends(ground, family):
    ground.make("sticky", [ground.a, ground.b], sessionAffinity="ClientIP")
    for place in ("pod-tc", "outside"):
        servers = set()
        for frontend in FRONTENDS:
            result = ground.load("sticky", frontend, place, family, count=20)
            assert result["failed"] == 0, result
            servers |= set(result["servers"])
        assert len(servers) == 1, (place, servers)
