"""sluice-dpdk between namespaces: its ports are af_packet on veths, its way to the kernel is a tap.

    outside 172.30.0.100 ---\\                 up0 (tap): the node's own address, 172.30.0.1
    server  172.30.0.2   ---- fabric --- eth0 | engine | pod0 --- pod 10.244.1.10
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from harness import cluster as harness
from harness import netns
from harness.cluster import eventually

ENGINE = os.path.join(harness.BIN, "sluice-dpdk")
PUBLISH = os.path.join(harness.BUILD, "test-bin", "publish")
NODE = {4: "172.30.0.1", 6: "fd00:30::1"}
SERVER = {4: "172.30.0.2", 6: "fd00:30::2"}
POD = {4: "10.244.1.10", 6: "fd00:10:244:1::10"}
CLUSTER_IP = {4: "10.96.0.10", 6: "fd00:10:96::10"}
LOCAL_IP = {4: "10.96.0.11", 6: "fd00:10:96::11"}
EXTERNAL = {4: "172.30.0.50", 6: "fd00:30::50"}
NODE_PORT, LOCAL_NODE_PORT = 30080, 30081


def services():
    out = []
    for family in (4, 6):
        for protocol in ("TCP", "UDP"):
            out.append({"name": "default/far", "protocol": protocol, "port": 80, "cluster_ip": CLUSTER_IP[family],
                        "external_ip": EXTERNAL[family], "node_port": NODE_PORT,
                        "backends": [{"address": SERVER[family], "port": 8080}]})
            out.append({"name": "default/near", "protocol": protocol, "port": 80, "cluster_ip": LOCAL_IP[family],
                        "node_port": LOCAL_NODE_PORT,
                        "backends": [{"address": POD[family], "port": 8080, "local": True}]})
    return {"node": {"addresses": sorted(NODE.values()), "masquerade": list(NODE.values()),
                     "cluster_cidrs": ["10.244.0.0/16", "fd00:10:244::/48"],
                     "service_cidrs": ["10.96.0.0/16", "fd00:10:96::/112"]}, "services": out}


class Ground:
    def __init__(self):
        self.prefix = f"sd{os.getpid()}"
        self.directory = tempfile.mkdtemp(prefix="sluice-dpdk-")
        self.state = f"/dev/shm/sluice-{self.prefix}"
        self.socket = os.path.join(self.directory, "dpdk.sock")
        self.log = os.path.join(self.directory, "engine.log")
        self.fabric = harness.Fabric(self.prefix)
        self.outside = self.fabric.outside
        self.server = netns.Namespace(f"{self.prefix}-server")
        self.node = netns.Namespace(f"{self.prefix}-node")
        self.pod = netns.Namespace(f"{self.prefix}-pod")
        self.engine = None
        self.fabric.plug(self.server, SERVER[4], SERVER[6])
        self._plug_engine()
        self._connect_pod()
        for ns in (self.outside, self.server, self.pod):
            ns.run(["ethtool", "-K", "eth0", "tx", "off"])  # a packet socket sees unfinished checksums otherwise
            ns.ip("route", "add", "10.96.0.0/16", "via", NODE[4], check=False)
            ns.ip("-6", "route", "add", "fd00:10:96::/112", "via", NODE[6], check=False)
        for ns in (self.outside, self.server):
            ns.ip("route", "add", "10.244.1.0/24", "via", NODE[4])
            ns.ip("-6", "route", "add", "fd00:10:244:1::/64", "via", NODE[6])
        for ns, name, port in ((self.server, "far", 8080), (self.pod, "near", 8080), (self.node, "node", 9000)):
            child = ns.popen([harness.TESTPEER, "serve", "--name", name, "--tcp", port, "--udp", port],
                             stdout=subprocess.PIPE, text=True)
            assert child.stdout.readline().strip() == "ready"

    def _plug_engine(self):
        self.fabric.ns.ip("link", "add", "node0", "type", "veth", "peer", "name", "eth0", "netns", self.node.name)
        self.fabric.ns.ip("link", "set", "node0", "master", "br0", "up")
        self.fabric.ns.run(["ethtool", "-K", "node0", "tx", "off"])
        self._give_to_engine("eth0")

    def _connect_pod(self):
        netns.veth(self.node, "pod0", self.pod, "eth0")
        self._give_to_engine("pod0")
        self.pod.ip("addr", "add", f"{POD[4]}/32", "dev", "eth0")
        self.pod.ip("-6", "addr", "add", f"{POD[6]}/128", "dev", "eth0", "nodad")
        self.pod.ip("route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
        self.pod.ip("route", "add", "default", "via", "169.254.1.1")
        self.pod.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")

    def _give_to_engine(self, device):
        """The stack of the node sees nothing of what comes in by the device: the engine's packet socket does."""
        self.node.sysctl(f"net.ipv6.conf.{device}.disable_ipv6", 1)
        self.node.ip("link", "set", device, "up")
        self.node.run(["nft", f"add table netdev {device}; add chain netdev {device} in "
                       f"{{ type filter hook ingress device {device} priority 0; policy drop; }}"])

    def command(self, *more, lcores="0", name="first"):
        ports = ["--port", "net_af_packet0,interface=up,role=uplink,exception=tap:up0,"
                 f"address={NODE[4]}/24,address={NODE[6]}/64",
                 "--port", "net_af_packet1,interface=pod,role=pod,address=169.254.1.1/32,address=fe80::1/64",
                 "--route", f"{POD[4]}/32 via {POD[4]} dev pod", "--route", f"{POD[6]}/128 via {POD[6]} dev pod",
                 "--socket", self.socket, "--state-dir", self.state, "--flows", "8192"]
        eal = ["--", "-l", lcores, "--no-pci", "--no-telemetry", "--no-huge", "-m", "256", "--log-level", "error",
               "--file-prefix", f"{self.prefix}{name}",
               "--vdev", "net_af_packet0,iface=eth0", "--vdev", "net_af_packet1,iface=pod0"]
        return [ENGINE, *ports, *more, *eal]

    def start(self, *more, **options):
        with open(self.log, "a") as log:
            self.engine = self.node.popen(self.command(*more, **options), stdout=log, stderr=log)
        self.wait("forwarding on")

    def wait(self, text, count=1, timeout=60):
        def said_or_ended():
            with open(self.log) as log:
                return log.read().count(text) >= count or self.engine.poll() is not None
        eventually(said_or_ended, timeout, f"engine says \"{text}\"", 0.05)
        with open(self.log) as log:
            assert self.engine.poll() is None, log.read()

    def address_tap(self):
        eventually(lambda: self.node.ip("link", "show", "up0"), 5, "tap")
        self.node.ip("link", "set", "up0", "up")
        self.node.ip("addr", "replace", f"{NODE[4]}/24", "dev", "up0")
        self.node.ip("-6", "addr", "replace", f"{NODE[6]}/64", "dev", "up0", "nodad")

    def publish(self):
        path = os.path.join(self.directory, "services.json")
        with open(path, "w") as out:
            json.dump(services(), out)
        self.node.run([PUBLISH, self.socket, self.state, path])

    def load(self, ns, address, port, *more, count=20):
        return json.loads(ns.run([harness.TESTPEER, "load", address, port, "--count", count,
                                  "--timeout-ms", 3000, *more]).stdout)

    def close(self):
        if self.engine:
            netns.stop(self.engine)
        for ns in (self.pod, self.server, self.node):
            ns.close()
        self.fabric.close()
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def ground():
    made = Ground()
    try:
        made.start()
        made.address_tap()
        made.publish()
        yield made
    finally:
        if os.environ.get("SLUICE_SHOW_LOG"):
            with open(made.log) as log:
                print(log.read())
        made.close()


PROTOCOLS = [pytest.param([], id="tcp"), pytest.param(["--udp"], id="udp")]


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_the_nodes_own_sockets_answer_by_the_exception_path(ground, family, flags):
    result = ground.load(ground.outside, NODE[family], 9000, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"node"}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_node_port_leads_to_a_backend_elsewhere_as_the_node(ground, family, flags):
    result = ground.load(ground.outside, NODE[family], NODE_PORT, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"far"}, result
    assert set(result["clients"]) == {NODE[family]}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_node_port_leads_to_a_pod_here(ground, family, flags):
    result = ground.load(ground.outside, NODE[family], LOCAL_NODE_PORT, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"near"}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_pods_own_address_is_kept_to_a_cluster_ip(ground, family, flags):
    result = ground.load(ground.pod, CLUSTER_IP[family], 80, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"far"}, result
    assert set(result["clients"]) == {POD[family]}, result


@pytest.mark.parametrize("family", (4, 6))
def test_an_external_address_on_the_link_is_announced(ground, family):
    result = ground.load(ground.outside, EXTERNAL[family], 80)
    assert result["failed"] == 0 and set(result["servers"]) == {"far"}, result


@pytest.mark.parametrize("family", (4, 6))
def test_a_port_that_is_not_served_is_refused(ground, family):
    result = ground.load(ground.outside, CLUSTER_IP[family], 81, count=3)
    assert result["ok"] == 0 and any("refused" in error for error in result["errors"]), result


def test_a_successor_takes_the_flows_over(ground):
    flows = ground.outside.popen([harness.TESTPEER, "flows", NODE[4], NODE_PORT, "--count", 50, "--seconds", 12,
                                  "--timeout-ms", 8000, "--pause-us", 2000], stdout=subprocess.PIPE, text=True)
    assert flows.stdout.readline().strip() == "ready"
    first = ground.engine
    ground.start("--take-over", name="second")
    ground.wait("forwarding on", 2)
    assert first.wait(20) == 0
    ground.address_tap()
    counted = json.loads(flows.communicate(timeout=60)[0])
    assert counted["flows"] == 50 and counted["lost"] == 0, counted
    with open(ground.log) as log:
        assert "frames waited at most" in log.read()


def test_sigterm_ends_it_and_the_state_stays(ground):
    assert netns.stop(ground.engine, signal.SIGTERM, 20) == 0
    assert os.path.exists(os.path.join(ground.state, "current"))
    assert not os.path.exists(ground.socket)
    ground.engine = None


@pytest.mark.parametrize("arguments,named", (
    ([], "--port"),
    (["--port", "x,mtu=1"], "mtu"),
    (["--port", "net_null0,role=spine", "--", "--no-pci"], "role"),
))
def test_wrong_usage_is_told_with_its_field(arguments, named):
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and named in done.stderr
