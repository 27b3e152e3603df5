"""Paths that change packets on their way: direct server return, small MTUs, ICMP errors, fragments; real sockets.

    outside --- fabric --- node 1: pod client
                       --- node 2: pod a, pod b; "deaf" is a port of theirs that nobody listens on
                       --- router === node 2, by a link of MTU 1400, once the narrow fixture has led the way there

Node 1 takes all the traffic, and every backend is on node 2. The client is outside node 1's cgroup: tc serves it.
"""

import errno
import json
import socket
import struct
import sys

import pytest

from harness import cluster as harness
from harness import endpoint, netns
from harness.cluster import OUTSIDE_V4, OUTSIDE_V6, eventually

FAMILIES = (4, 6)
FORWARDINGS = ("nat", "tunnel", "option", "link")
# By link the pods' node has to choose as node 1 did.
ANNOTATIONS = {"link": {"sluice.dev/consistent-hash": "tuple"}}
PROTOCOLS = ("TCP", "UDP")
OUTSIDE = {4: OUTSIDE_V4, 6: OUTSIDE_V6}
SERVER_PORT = 9000
DEAF_PORT = 9001
NARROW_MTU = 1400
# IPv4 and IPv6 each: the protocol level, and its options (linux/in.h, linux/in6.h).
LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
MTU_DISCOVER = {4: 10, 6: 23}
RECVERR = {4: 11, 6: 25}
HOPS = {4: socket.IP_TTL, 6: socket.IPV6_UNICAST_HOPS}
PMTUDISC_DO = 2
EXTENDED_ERROR = struct.Struct("=IBBBxII")  # linux/errqueue.h: errno, origin, type, code, info (the MTU), data
TOO_BIG = {4: (3, 4), 6: (2, 0)}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}


class Ground:
    """Services by name, each with an address of every kind that node 1 is asked at."""

    def __init__(self):
        self.cluster = harness.Cluster(nodes=2)
        self.one, self.two = self.cluster.nodes
        self.client = self.one.pod("client")
        self.backends = [self.two.pod("a"), self.two.pod("b")]
        for pod in self.backends:
            server = pod.ns.popen([sys.executable, endpoint.__file__, pod.name, SERVER_PORT],
                                  cgroup=pod.cgroup, stdout=-1, text=True)
            assert server.stdout.readline().strip() == "ready"
        for node in (self.one, self.two):
            node.start_agent()
        self.outside = self.cluster.outside
        self.made = {}
        self.router = None  # until go_narrow

    def make(self, name, forwarding="nat", port=SERVER_PORT):
        ports = [{"name": p.lower(), "port": 80, "targetPort": port, "protocol": p} for p in PROTOCOLS]
        external = {4: f"203.0.113.{80 + len(self.made)}", 6: f"2001:db8:{len(self.made)}::1"}
        for family in FAMILIES:
            self.outside.ip(f"-{family}", "route", "add", external[family], "via", self.one.address(family))
        made = self.cluster.api.create("/api/v1/namespaces/default/services", {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "annotations": ANNOTATIONS.get(forwarding, {}) | {
                "sluice.dev/forwarding": forwarding}},
            "spec": {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "ports": ports,
                     "externalIPs": list(external.values())}})
        self.cluster.slices(name, self.backends, ports=[
            {"name": p.lower(), "port": port, "protocol": p} for p in PROTOCOLS])
        cluster_ips = {(6 if ":" in ip else 4): ip for ip in made["spec"]["clusterIPs"]}
        self.made[name] = (cluster_ips, {p["protocol"]: p["nodePort"] for p in made["spec"]["ports"]}, external)

    def target(self, name, frontend, family, protocol):
        cluster_ips, ports, external = self.made[name]
        if frontend == "nodeport":
            return self.one.address(family), ports[protocol]
        return {"cluster": cluster_ips, "external": external}[frontend][family], 80

    def place(self, frontend):
        """Who asks at a frontend: pods at ClusterIPs, the world at the others."""
        return self.client.ns if frontend == "cluster" else self.outside

    def call(self, frontend, function, *args, **kwargs):
        """In a network namespace without what earlier tests learned of paths."""
        place = self.place(frontend)
        for family in FAMILIES:
            place.ip(f"-{family}", "route", "flush", "cache")
        return place.call(lambda: function(*args, **kwargs))

    def until_ready(self, name, frontend, family):
        target = self.target(name, frontend, family, "TCP")
        eventually(lambda: self.call(frontend, endpoint.pull, target, 1), 10, f"{name} answers at {target}")

    def passed(self, node):
        """Bytes that have gone in or out by the node's device."""
        stats = json.loads(node.ns.run(["ip", "-j", "-s", "link", "show", "eth0"]).stdout)[0]["stats64"]
        return stats["rx"]["bytes"] + stats["tx"]["bytes"]

    def served(self, node, name):
        """Bytes of the service's TCP, either way, that the node has translated or sent on."""
        services = json.loads(node.sluice("service", "list", "-o", "json").stdout)
        return sum(s["bytes"] for s in services if s["name"] == f"default/{name}:tcp")

    def go_narrow(self):
        """From now on node 1 and node 2 reach each other by a router, whose link to node 2 takes NARROW_MTU bytes."""
        router = netns.Namespace(f"{self.cluster.prefix}-router")
        self.cluster.net.plug(router, "172.30.0.200", "fd00:30::200")
        netns.veth(router, "narrow", self.two.ns, "eth1")
        for ns, device, host in ((router, "narrow", 1), (self.two.ns, "eth1", 2)):
            ns.ip("link", "set", device, "mtu", NARROW_MTU)
            ns.ip("addr", "add", f"172.31.0.{host}/24", "dev", device)
            ns.ip("-6", "addr", "add", f"fd00:31::{host}/64", "dev", device, "nodad")
        router.sysctl("net.ipv4.ip_forward", 1)
        router.sysctl("net.ipv6.conf.all.forwarding", 1)
        router.sysctl("net.ipv4.icmp_ratelimit", 0)
        router.sysctl("net.ipv6.icmp.ratelimit", 0)
        pods = {n: {4: f"10.244.{n.number}.0/24", 6: f"fd00:10:244:{n.number}::/64"} for n in (self.one, self.two)}
        by_fabric, by_narrow, narrow_two = ({4: f"172.3{v4}", 6: f"fd00:3{v6}"} for v4, v6 in (
            ("0.0.200", "0::200"), ("1.0.1", "1::1"), ("1.0.2", "1::2")))
        for family in FAMILIES:
            for ns, to, via in ((self.one.ns, pods[self.two], by_fabric), (self.two.ns, pods[self.one], by_narrow),
                                (router, pods[self.two], narrow_two)):
                ns.ip(f"-{family}", "route", "replace", to[family], "via", via[family])
            self.two.ns.ip(f"-{family}", "route", "replace", self.one.address(family), "via", by_narrow[family])
            router.ip(f"-{family}", "route", "replace", pods[self.one][family], "via", self.one.address(family))
        self.router = router

    def close(self):
        self.cluster.close()
        if self.router:
            self.router.close()


@pytest.fixture(scope="module")
def ground():
    made = Ground()
    try:
        for name in FORWARDINGS:
            made.make(name, name)
        made.make("deaf", port=DEAF_PORT)
        for name, family in ((n, f) for n in FORWARDINGS for f in FAMILIES):
            made.until_ready(name, "external", family)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def narrow(ground):
    """The tests above have run by the wide path; those that ask for this go by the narrow one."""
    if not ground.router:
        ground.go_narrow()
    return ground


# A NodePort is no other node's, so it does not go by link.
DIRECT = pytest.mark.parametrize("forwarding, frontend", (
    ("tunnel", "nodeport"), ("tunnel", "external"), ("option", "nodeport"), ("option", "external"),
    ("link", "external")))
BY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
BY_FRONTEND = pytest.mark.parametrize("frontend", ("cluster", "nodeport"))


@BY_FAMILY
@DIRECT
def test_direct_return_answers_go_straight_from_the_pods_node(ground, forwarding, frontend, family):
    target = ground.target(forwarding, frontend, family, "TCP")
    size = 8 << 20
    before, served = ground.passed(ground.one), ground.served(ground.two, forwarding)
    greeting, got = ground.call(frontend, endpoint.pull, target, size)
    assert got == size
    assert greeting[1] == OUTSIDE[family], "the client's address is kept"
    # What passes node 1 are the client's acknowledgements, in a tunnel or not.
    assert ground.passed(ground.one) - before < size / 4
    assert ground.served(ground.two, forwarding) - served > size, "node 2 has translated the answers itself"


@BY_FAMILY
@DIRECT
def test_direct_return_takes_large_requests(ground, forwarding, frontend, family):
    """Segments as large as the client's link takes no longer fit once the tunnel's header is added."""
    target = ground.target(forwarding, frontend, family, "TCP")
    for _ in range(4):
        greeting, said = ground.call(frontend, endpoint.push, target, 100_000)
        assert said == "got 100000\n" and greeting[1] == OUTSIDE[family]


@BY_FAMILY
@DIRECT
def test_direct_return_of_datagrams_keeps_the_clients_address(ground, forwarding, frontend, family):
    target = ground.target(forwarding, frontend, family, "UDP")
    served = set()
    for size in (1, 100, 1200) * 10:
        greeting, got = ground.call(frontend, endpoint.ask, target, size)
        assert greeting[1] == OUTSIDE[family] and got == max(size, len(" ".join(greeting)) + 1)
        served.add(greeting[0])
    assert served == {"a", "b"}


@BY_FAMILY
@pytest.mark.parametrize("forwarding", ("nat", "tunnel", "option"))
def test_one_port_of_a_client_reaches_a_pod_by_two_frontends(ground, forwarding, family):
    """
    To the client these are two destinations, which it may ask from one port; to a pod, without a NAT before it, they
    are one. Of twelve ports some lead to the same pod both times.
    """
    for port in range(31000, 31012):
        for frontend in ("nodeport", "external"):
            target = ground.target(forwarding, frontend, family, "UDP")
            greeting, _ = ground.call(frontend, endpoint.ask, target, 100, port=port)
            assert forwarding == "nat" or greeting[1] == OUTSIDE[family]
            target = ground.target(forwarding, frontend, family, "TCP")
            greeting, said = ground.call(frontend, endpoint.push, target, 1000, port=port)
            assert said == "got 1000\n"


def learn_path_mtu(target, family, payload):
    """Sends datagrams that nobody may cut up until the socket is told of a smaller MTU; that MTU and the error."""
    with endpoint.datagram_socket(target) as sock:
        sock.setsockopt(LEVEL[family], MTU_DISCOVER[family], PMTUDISC_DO)
        sock.setsockopt(LEVEL[family], RECVERR[family], 1)
        sock.send(b"z" * payload)
        error, offender = read_error(sock)
        sock.setsockopt(LEVEL[family], RECVERR[family], 0)
        fits = error[4] - {4: 28, 6: 48}[family]
        sock.send(b"z" * fits)
        return error, offender, len(sock.recv(endpoint.MANY)), fits


def read_error(sock):
    """The next ICMP error that the socket is told of: linux/errqueue.h's fields and who sent it."""
    def look():
        _, control, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        data = control[0][2]
        error, at = EXTENDED_ERROR.unpack(data[:16]), data[16:]
        if struct.unpack("=H", at[:2])[0] == socket.AF_INET:
            return error, socket.inet_ntop(socket.AF_INET, at[4:8])
        return error, socket.inet_ntop(socket.AF_INET6, at[8:24])
    return eventually(look, 3, "an ICMP error at the socket", 0.005)


@BY_FAMILY
def test_direct_return_by_tunnel_tells_how_much_fits(ground, family):
    target = ground.target("tunnel", "nodeport", family, "UDP")
    room = {4: 20, 6: 40}[family]
    error, _, got, sent = ground.call("nodeport", learn_path_mtu, target, family, {4: 1472, 6: 1452}[family])
    assert (error[2], error[3]) == TOO_BIG[family] and error[4] == 1500 - room
    assert got == sent


@BY_FAMILY
@BY_FRONTEND
@pytest.mark.parametrize("size", (1472, 4000, 20000))
def test_fragmented_datagrams_both_ways(ground, frontend, family, size):
    target = ground.target("nat", frontend, family, "UDP")
    served = set()
    for _ in range(12):
        greeting, got = ground.call(frontend, endpoint.ask, target, size)
        assert got == size
        assert greeting[1] == (ground.client.address(family) if frontend == "cluster" else ground.one.address(family))
        served.add(greeting[0])
    assert served == {"a", "b"}


@BY_FAMILY
def test_fragments_by_link_keep_the_clients_address(ground, family):
    """Later fragments name no port: both nodes remember what the first one said."""
    target = ground.target("link", "external", family, "UDP")
    for size in (1472, 4000, 20000):
        greeting, got = ground.call("external", endpoint.ask, target, size)
        assert got == size and greeting[1] == OUTSIDE[family]


@BY_FAMILY
@BY_FRONTEND
def test_port_unreachable_from_the_pod_reaches_the_client(ground, frontend, family):
    """A datagram to a pod that does not listen: its kernel's ICMP error is told the client as the service's."""
    def refused():
        with endpoint.datagram_socket(ground.target("deaf", frontend, family, "UDP")) as sock:
            sock.send(b"?")
            try:
                sock.recv(100)
            except OSError as error:
                return error.errno
        return 0
    ground.until_ready("nat", frontend, family)
    assert ground.call(frontend, refused) == errno.ECONNREFUSED


@BY_FAMILY
@BY_FRONTEND
def test_reset_from_the_pod_reaches_the_client(ground, frontend, family):
    target = ground.target("deaf", frontend, family, "TCP")

    def refused():
        try:
            endpoint.connect(target)
        except ConnectionRefusedError:
            return True
        return False
    assert ground.call(frontend, refused)


def hop(target, family, hops):
    """Who answers a datagram of so many hops, as traceroute asks; None if it is the server itself."""
    with endpoint.datagram_socket(target) as sock:
        sock.setsockopt(LEVEL[family], RECVERR[family], 1)
        sock.setsockopt(LEVEL[family], HOPS[family], hops)
        sock.send(b"?")
        error, offender = read_error(sock)
        return (error[2], error[3]), offender


@BY_FAMILY
@BY_FRONTEND
def test_time_exceeded_names_the_routers_on_the_way(ground, frontend, family):
    """The first hop is the node that translates; the second is the pod's node, whose error quotes what it saw."""
    target = ground.target("nat", frontend, family, "UDP")
    what, offender = ground.call(frontend, hop, target, family, 1)
    assert what == TIME_EXCEEDED[family]
    what, offender = ground.call(frontend, hop, target, family, 2)
    assert what == TIME_EXCEEDED[family] and offender == ground.two.address(family)


@BY_FAMILY
@BY_FRONTEND
def test_path_mtu_of_tcp_through_a_service(narrow, frontend, family):
    """A router behind the service's node cannot pass what the client sends: its errors come back translated."""
    target = narrow.target("nat", frontend, family, "TCP")
    for _ in range(4):
        _, said = narrow.call(frontend, endpoint.push, target, 200_000)
        assert said == "got 200000\n"
        _, got = narrow.call(frontend, endpoint.pull, target, 200_000)
        assert got == 200_000


@BY_FAMILY
@BY_FRONTEND
def test_path_mtu_of_datagrams_through_a_service(narrow, frontend, family):
    target = narrow.target("nat", frontend, family, "UDP")
    error, offender, got, sent = narrow.call(frontend, learn_path_mtu, target, family, {4: 1472, 6: 1452}[family])
    assert (error[2], error[3]) == TOO_BIG[family] and error[4] == NARROW_MTU
    assert offender == {4: "172.30.0.200", 6: "fd00:30::200"}[family]
    assert got == sent


@BY_FAMILY
@BY_FRONTEND
def test_fragments_through_a_narrow_path(narrow, frontend, family):
    """IPv4 is cut up once more on the way; IPv6's sender has to learn, from an error that quotes a fragment."""
    target = narrow.target("nat", frontend, family, "UDP")

    def answered():
        return narrow.place(frontend).call(lambda: endpoint.ask(target, 4000))[1] == 4000
    eventually(answered, 15, "a large datagram and its answer")
