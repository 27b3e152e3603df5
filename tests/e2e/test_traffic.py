"""Who reaches what, and as whom: each frontend from each place, both families, TCP and UDP.

Expectations are those of a Kubernetes Service (the masquerade table): pods keep their source towards a ClusterIP;
traffic to a NodePort with policy Cluster arrives with the address of the node that took it, from pods too.
"""

import itertools
import json
import socket
import struct

import pytest

from harness.cluster import OUTSIDE_V4, OUTSIDE_V6, eventually

FAMILIES = (4, 6)
MODES = {"tcp": (), "udp-connected": ("--udp",), "udp-sendto": ("--udp", "--unconnected")}
CASES = list(itertools.product(FAMILIES, MODES))


@pytest.fixture(scope="module")
def service(two_nodes):
    """A NodePort Service with one endpoint on each node; its addresses by family."""
    a, b = two_nodes.nodes[0].pods[0], two_nodes.nodes[1].pods[0]
    created = two_nodes.service("web", type="NodePort")
    two_nodes.slices("web", [a, b])
    addresses = {(6 if ":" in ip else 4): ip for ip in created["spec"]["clusterIPs"]}
    ports = {p["protocol"]: p["nodePort"] for p in created["spec"]["ports"]}
    client = two_nodes.nodes[0].pods[1]
    for family, node in itertools.product(FAMILIES, two_nodes.nodes):
        eventually(lambda f=family, n=node: n.load(addresses[f], 80, where=None, count=1,
                                                   timeout_ms=200)["ok"] == 1,
                   10, "the Service answers from its nodes")
    return {"addresses": addresses, "ports": ports, "client": client}


def check(result, expect_clients=None, servers=("a", "b"), count=100):
    assert result["failed"] == 0, result
    assert result["ok"] == count, result
    assert result["wrong_peer"] == 0, result
    # 100 draws from two: a server that was never chosen has odds of 2^-99.
    assert set(result["servers"]) == set(servers), result
    if expect_clients is not None:
        assert set(result["clients"]) == set(expect_clients), result


# A UDP flow stays with its backend, so one socket sees one server; each connected socket is a new flow.
def expected_servers(mode, result):
    return set(result["servers"]) if mode == "udp-sendto" else ("a", "b")


@pytest.mark.parametrize("family,mode", CASES)
@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_clusterip_from_pod(two_nodes, service, family, mode, hooked):
    client = service["client"]
    result = two_nodes.node.load(service["addresses"][family], 80, *MODES[mode], where=client,
                                 hooked=hooked, count=100)
    check(result, [client.address(family)], expected_servers(mode, result))


@pytest.mark.parametrize("family,mode", CASES)
def test_clusterip_from_node(two_nodes, service, family, mode):
    node = two_nodes.node
    result = node.load(service["addresses"][family], 80, *MODES[mode], count=100)
    check(result, servers=expected_servers(mode, result))


@pytest.mark.parametrize("family,mode", CASES)
@pytest.mark.parametrize("number", (0, 1))
def test_nodeport_from_outside(two_nodes, service, family, mode, number):
    node = two_nodes.nodes[number]
    port = service["ports"]["TCP" if mode == "tcp" else "UDP"]
    result = two_nodes.node.load(node.address(family), port, *MODES[mode],
                                 where=_Outside(two_nodes), hooked=False, count=100)
    # Source NAT: the pod sees the node that took the packet, whichever node the pod is on.
    check(result, [node.address(family)], expected_servers(mode, result))


@pytest.mark.parametrize("family,mode", CASES)
@pytest.mark.parametrize("number", (0, 1), ids=("own-node", "other-node"))
@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_nodeport_from_pod(two_nodes, service, family, mode, number, hooked):
    port = service["ports"]["TCP" if mode == "tcp" else "UDP"]
    result = two_nodes.node.load(two_nodes.nodes[number].address(family), port, *MODES[mode],
                                 where=service["client"], hooked=hooked, count=100)
    # "pod / external, policy Cluster: source NAT", under the hook as beside it, by the node whose NodePort it is.
    check(result, [two_nodes.nodes[number].address(family)], expected_servers(mode, result))


@pytest.mark.parametrize("family", FAMILIES)
def test_nodeport_from_node_is_never_on_loopback(two_nodes, service, family, engine):
    node = two_nodes.node
    port = service["ports"]["TCP"]
    if engine == "ebpf":  # what a node sends to its own address stays in its kernel, where sluice-dpdk is not
        check(node.load(node.address(family), port, count=100))
    check(node.load(two_nodes.nodes[1].address(family), port, count=100))
    loopback = "127.0.0.1" if family == 4 else "::1"
    result = node.load(loopback, port, count=1)
    assert result["errors"] == {"connect: Connection refused": 1}, result


@pytest.mark.parametrize("mode", MODES)
def test_v4_mapped_socket(two_nodes, service, mode):
    """An IPv6 socket that connects to ::ffff:a.b.c.d gets the IPv4 Service."""
    result = two_nodes.node.load(service["addresses"][4], 80, *MODES[mode], "--v4-mapped",
                                 where=service["client"], count=100)
    check(result, [service["client"].v4], expected_servers(mode, result))


@pytest.mark.parametrize("family", FAMILIES)
def test_hairpin(two_nodes, family):
    """A pod that is its Service's only endpoint reaches itself through it."""
    client = two_nodes.nodes[0].pods[1]
    created = two_nodes.service(f"self{family}")
    two_nodes.slices(f"self{family}", [client])
    address = [ip for ip in created["spec"]["clusterIPs"] if (":" in ip) == (family == 6)][0]
    for hooked in (True, False):
        def reached(h=hooked):
            result = two_nodes.node.load(address, 80, where=client, hooked=h, count=20,
                                         timeout_ms=300)
            return result if result["ok"] == 20 else None
        result = eventually(reached, 5, f"hairpin, hooked={hooked}")
        assert set(result["servers"]) == {"client"}


@pytest.mark.parametrize("family", FAMILIES)
def test_host_ports_and_other_traffic_are_left_alone(two_nodes, service, family):
    """A server of the node's own is reachable at the node's address and not at the Service's."""
    node = two_nodes.node
    server = node.ns.popen([_testpeer(), "serve", "--name", "host", "--tcp", 9090],
                           stdout=-1, text=True)
    assert server.stdout.readline().strip() == "ready"
    result = node.load(node.address(family), 9090, where=_Outside(two_nodes), hooked=False, count=20)
    check(result, [OUTSIDE_V4 if family == 4 else OUTSIDE_V6], ["host"], 20)
    for where, hooked in ((service["client"], True), (service["client"], False), (None, True)):
        result = node.load(service["addresses"][family], 9090, where=where, hooked=hooked, count=1)
        assert result["errors"] == {"connect: Connection refused": 1}, (where, hooked, result)
    server.kill()


@pytest.mark.parametrize("address", ("10.96.254.254", "fd00:10:96::fefe"))
@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_unallocated_service_address_is_silent_and_counted(two_nodes, service, address, hooked):
    node = two_nodes.node

    def dropped():
        counts = json.loads(node.sluice("drops", "-o", "json").stdout)
        return {drop["reason"]: drop["count"] for drop in counts}["unallocated"]
    before = dropped()
    result = node.load(address, 80, where=service["client"], hooked=hooked, count=1, timeout_ms=200)
    assert result["errors"] == {"connect: Connection timed out": 1}, result
    assert dropped() > before


def _neighbour_state(ns, family, address):
    """What ARP or ND makes of an address that is sent to on the outside host's link."""
    length = 32 if family == 4 else 128
    ns.ip(f"-{family}", "route", "replace", f"{address}/{length}", "dev", "eth0")
    try:
        def ask():
            with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (address, 9))
        ns.call(ask)

        def settled():
            states = json.loads(ns.ip("-json", f"-{family}", "neigh", "show", "to", address).stdout)
            state = states[0]["state"] if states else ["NONE"]
            return state if state != ["INCOMPLETE"] else None
        return eventually(settled, 10, f"an answer about {address}, or none")[0]
    finally:
        ns.ip(f"-{family}", "route", "del", f"{address}/{length}", "dev", "eth0")


@pytest.mark.parametrize("family", FAMILIES)
def test_no_virtual_address_is_on_an_interface_or_answers_for_itself(two_nodes, service, family, engine):
    external = {4: "172.30.0.77", 6: "fd00:30::77"}[family]  # of the link's own subnet, where one would ask for it
    name = f"unplaced{family}"
    two_nodes.service(name, externalIPs=[external])
    two_nodes.slices(name, [two_nodes.nodes[0].pods[0]])
    eventually(lambda: two_nodes.node.load(external, 80, where=service["client"], count=1, timeout_ms=200)["ok"] == 1,
               10, "the external address answers from a pod")
    virtual = {service["addresses"][family], external}
    for node in two_nodes.nodes:
        links = json.loads(node.ns.ip("-json", "addr").stdout)
        held = {address["local"] for link in links for address in link["addr_info"]}
        assert node.address(family) in held
        assert not virtual & held
    assert _neighbour_state(two_nodes.outside, family, two_nodes.node.address(family)) == "REACHABLE"
    if engine == "ebpf":  # an engine with ports of its own answers for what it owns
        for address in virtual:
            assert _neighbour_state(two_nodes.outside, family, address) == "FAILED"


def test_route_localnet_stays_off(two_nodes, service):
    for node in two_nodes.nodes:
        values = node.ns.run(["sysctl", "-a", "--pattern", "^net.ipv4.conf.*route_localnet$"]).stdout.splitlines()
        assert len(values) > 2
        assert {value.split(" = ")[1] for value in values} == {"0"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("alive", (False, True), ids=("closed-flow", "live-flow"))
def test_direct_connection_is_not_taken_for_a_flow_of_the_service(two_nodes, service, family, alive):
    """A pod that reaches a backend by the Service, then directly from the same source port."""
    backend = two_nodes.nodes[1].pods[0]
    address, target = service["addresses"][family], backend.address(family)

    def connect(where, port):
        sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.settimeout(1)
        sock.bind(("", port))
        sock.connect(where)
        return sock, sock.recv(100).split()[0].decode()

    def run():
        tried = 0
        for port in range(20000, 20040):
            first, name = connect((address, 80), port)
            if name == backend.name:
                tried += 1
                if not alive:
                    first.close()
                second, name = connect((target, 8080), port)
                assert name == backend.name
                if alive:
                    first.send(b"ping")
                    assert first.recv(4) == b"ping"
                second.send(b"pong")
                assert second.recv(4) == b"pong"
                second.close()
            first.close()
        return tried

    assert service["client"].ns.call(run) > 0


class _Outside:
    """The outside host, where load_process expects a pod."""

    def __init__(self, cluster):
        self.ns = cluster.outside
        self.cgroup = None


def _testpeer():
    from harness.cluster import TESTPEER
    return TESTPEER
