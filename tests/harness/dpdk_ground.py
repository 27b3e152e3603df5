"""A DPDK engine between namespaces: ports on veths by the driver that is asked for, a tap to the node's kernel.

    outside 172.30.0.100 ---\\                 up0 (tap): the node's own address, 172.30.0.1
    server  172.30.0.2   ---- fabric --- eth0 | engine | pod0 --- pod 10.244.1.10
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

from . import cluster as harness
from . import netns
from .cluster import eventually

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


NO_HUGEPAGES = ("--no-huge", "-m", "256")
VLAN = 7
VLAN_NODE = {4: "172.31.7.1", 6: "fd00:31:7::1"}
VLAN_OUTSIDE = {4: "172.31.7.100", 6: "fd00:31:7::100"}
VLAN_EXTERNAL = {4: "172.31.7.50", 6: "fd00:31:7::50"}


class Ground:
    """REQUIRES of options: driver is af_packet or af_xdp. beside: another Ground, whose fabric this one shares as node
    `number`; it has a pod, and no server of its own."""

    _count = 0

    def __init__(self, driver="af_packet", memory=NO_HUGEPAGES, lcores="0", telemetry=False, vlan=False, pod_mtu=0,
                 number=1, beside=None, flows=8192):
        self.driver, self.memory, self.lcores, self.telemetry = driver, memory, lcores, telemetry
        self.vlan, self.pod_mtu, self.number, self.beside = vlan, pod_mtu, number, beside
        self.flows = flows  # of each family, to begin with; from a third of that on a bucket may be full
        Ground._count += 1
        self.prefix = f"sd{os.getpid()}x{Ground._count}"
        self.directory = tempfile.mkdtemp(prefix="sluice-dpdk-")
        self.state = f"/dev/shm/sluice-{self.prefix}"
        self.socket = os.path.join(self.directory, "dpdk.sock")
        self.log = os.path.join(self.directory, "engine.log")
        self.addresses = {4: f"172.30.0.{number}", 6: f"fd00:30::{number}"}
        self.pod_addresses = {4: f"10.244.{number}.10", 6: f"fd00:10:244:{number}::10"}
        self.engine = None
        self.opened = []
        self.fabric = harness.Fabric(self.prefix) if beside is None else beside.fabric
        self.outside = self.fabric.outside
        self.node = self._namespace("node")
        self.pod = self._namespace("pod")
        serving = [(self.pod, "near", 8080), (self.node, "node", 9000)]
        clients = [self.pod]
        if beside is None:
            self.server = self._namespace("server")
            self.fabric.plug(self.server, SERVER[4], SERVER[6])
            serving.append((self.server, "far", 8080))
            clients += [self.outside, self.server]
        self._plug_engine()
        self._connect_pod()
        for ns in clients:
            ns.run(["ethtool", "-K", "eth0", "tx", "off"])  # a packet socket sees unfinished checksums otherwise
            ns.ip("route", "add", "10.96.0.0/16", "via", NODE[4], check=False)
            ns.ip("-6", "route", "add", "fd00:10:96::/112", "via", NODE[6], check=False)
        for ns in clients[1:]:
            ns.ip("route", "add", "10.244.1.0/24", "via", NODE[4])
            ns.ip("-6", "route", "add", "fd00:10:244:1::/64", "via", NODE[6])
        if vlan:
            self._connect_tagged()
        for ns, name, port in serving:
            child = ns.popen([harness.TESTPEER, "serve", "--name", name, "--tcp", port, "--udp", port],
                             stdout=subprocess.PIPE, text=True)
            assert child.stdout.readline().strip() == "ready"

    def _namespace(self, name):
        self.opened.append(netns.Namespace(f"{self.prefix}-{name}"))
        return self.opened[-1]

    def _plug_engine(self):
        bridge_end = f"node{self.number}"
        self.fabric.ns.ip("link", "add", bridge_end, "type", "veth", "peer", "name", "eth0", "netns", self.node.name)
        self.fabric.ns.ip("link", "set", bridge_end, "master", "br0", "up")
        self.fabric.ns.run(["ethtool", "-K", bridge_end, "tx", "off"])
        self._give_to_engine("eth0")

    def _connect_pod(self):
        netns.veth(self.node, "pod0", self.pod, "eth0")
        self._give_to_engine("pod0")
        self.pod.ip("addr", "add", f"{self.pod_addresses[4]}/32", "dev", "eth0")
        self.pod.ip("-6", "addr", "add", f"{self.pod_addresses[6]}/128", "dev", "eth0", "nodad")
        self.pod.ip("route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
        self.pod.ip("route", "add", "default", "via", "169.254.1.1")
        self.pod.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        if self.pod_mtu:
            # The pod sends what fits, and promises more than it can receive: only the engine knows better.
            self.pod.ip("link", "set", "eth0", "mtu", self.pod_mtu)
            self.pod.ip("route", "replace", "default", "via", "169.254.1.1", "advmss", 1460)
            self.pod.ip("-6", "route", "replace", "default", "via", "fe80::1", "dev", "eth0", "advmss", 1440)

    def _connect_tagged(self):
        """A client whose frames are in a VLAN of the fabric's."""
        tagger, self.tagged = self._namespace("tagger"), self._namespace("tagged")
        netns.veth(self.fabric.ns, "trunk", tagger, "trunk")
        self.fabric.ns.ip("link", "set", "trunk", "master", "br0")
        netns.veth(tagger, "plain", self.tagged, "eth0")
        for device in ("trunk", "plain"):
            tagger.sysctl(f"net.ipv6.conf.{device}.disable_ipv6", 1)
        self.tagged.run(["ethtool", "-K", "eth0", "tx", "off"])
        self.tagged.ip("addr", "add", f"{VLAN_OUTSIDE[4]}/24", "dev", "eth0")
        self.tagged.ip("-6", "addr", "add", f"{VLAN_OUTSIDE[6]}/64", "dev", "eth0", "nodad")
        child = tagger.popen([sys.executable, os.path.join(os.path.dirname(__file__), "tagger.py"), "plain", "trunk",
                              VLAN], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "ready"

    def _give_to_engine(self, device):
        """The stack of the node sees nothing of what comes in by the device. An AF_XDP socket takes its frames away,
        a packet socket gets copies."""
        self.node.sysctl(f"net.ipv6.conf.{device}.disable_ipv6", 1)
        self.node.ip("link", "set", device, "up")
        if self.driver == "af_packet":
            self.node.run(["nft", f"add table netdev {device}; add chain netdev {device} in "
                           f"{{ type filter hook ingress device {device} priority 0; policy drop; }}"])

    def command(self, *more, lcores=None, name="first"):
        up, inside = f"net_{self.driver}0", f"net_{self.driver}1"
        pod = self.pod_addresses
        ports = ["--port", f"{up},interface=up,role=uplink,exception=tap:up0,"
                 f"address={self.addresses[4]}/24,address={self.addresses[6]}/64",
                 "--port", f"{inside},interface=pod,role=pod,address=169.254.1.1/32,address=fe80::1/64"
                 + (f",mtu={self.pod_mtu}" if self.pod_mtu else ""),
                 "--route", f"{pod[4]}/32 via {pod[4]} dev pod", "--route", f"{pod[6]}/128 via {pod[6]} dev pod",
                 "--socket", self.socket, "--state-dir", self.state, "--flows", str(self.flows)]
        if self.vlan:
            ports += ["--port", f"{up},interface=tagged,role=uplink,vlan={VLAN},"
                      f"address={VLAN_NODE[4]}/24,address={VLAN_NODE[6]}/64"]
        eal = ["--", "-l", lcores or self.lcores, "--no-pci", *self.memory, "--log-level", "error",
               *([] if self.telemetry else ["--no-telemetry"]), "--file-prefix", f"{self.prefix}{name}",
               "--vdev", f"{up},iface=eth0", "--vdev", f"{inside},iface=pod0"]
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
        self.node.ip("addr", "replace", f"{self.addresses[4]}/24", "dev", "up0")
        self.node.ip("-6", "addr", "replace", f"{self.addresses[6]}/64", "dev", "up0", "nodad")

    def publish(self, what=None):
        path = os.path.join(self.directory, "services.json")
        with open(path, "w") as out:
            json.dump(what or services(), out)
        self.node.run([PUBLISH, self.socket, self.state, path])

    def sluice(self, *arguments, check=True):
        """The person's tool, asking this engine."""
        return self.node.run([os.path.join(harness.BIN, "sluice"), *arguments, "--engine", "dpdk", "--dpdk-socket",
                              self.socket, "--dpdk-state-dir", self.state], check=check)

    def load(self, ns, address, port, *more, count=20):
        return json.loads(ns.run([harness.TESTPEER, "load", address, port, "--count", count,
                                  "--timeout-ms", 3000, *more]).stdout)

    def close(self):
        if self.engine:
            netns.stop(self.engine)
        for ns in self.opened:
            ns.close()
        if self.beside is None:
            self.fabric.close()
        else:
            self.fabric.ns.ip("link", "del", f"node{self.number}", check=False)
        for left in glob.glob(f"/var/run/dpdk/{self.prefix}*"):  # EAL leaves them
            shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)
