"""A cluster in namespaces: nodes with their pods, a host outside, one link between them.

    outside ---\
    node 1  ---- fabric (a bridge)      node N: 172.30.0.N, fd00:30::N
    node 2  ---/                        its pods: 10.244.N.x, fd00:10:244:N::x

The control plane runs on node 1. Each node has its own cgroup (what socket hooks attach to) and bpffs. A process
that runs in a pod's namespace outside that cgroup is seen by the tc programs only.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from . import netns
from .api import ApiClient, ApiError
from .etcd import Etcd

BUILD = os.environ.get("SLUICE_BUILD") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build")
BUILD = os.path.realpath(BUILD)
BIN = os.path.join(BUILD, "bin")
TESTPEER = os.path.join(BUILD, "test-bin", "testpeer")
CONTROL_ADDRESS = "172.30.0.1:6443"
SERVICE_CIDRS = "10.96.0.0/16,fd00:10:96::/112"
OUTSIDE_V4, OUTSIDE_V6 = "172.30.0.100", "fd00:30::100"


def cgroup2_root():
    with open("/proc/mounts") as mounts:
        for line in mounts:
            if line.split()[2] == "cgroup2":
                return line.split()[1]
    raise RuntimeError("no cgroup2 hierarchy is mounted")


def pins_in(bpffs):
    """What is pinned; the kernel's own two files of every BPF file system do not count."""
    return [name for name in os.listdir(bpffs) if name not in ("progs.debug", "maps.debug")]


def ended_with_backend(result):
    """Of a load's result: connected UDP sockets that were ended, and told so, for their backend left."""
    return sum(result["errors"].get(f"{call}: Software caused connection abort", 0) for call in ("send", "recv"))


def eventually(check, timeout=10, what="condition", interval=0.01):
    """The first true value of check(); exceptions count as false until the time is up."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except Exception as error:  # reported if the time runs out
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout} s; last: {last!r}")
        time.sleep(interval)


class Pod:
    """A namespace behind a node's veth, with both addresses."""

    def __init__(self, node, name, index):
        self.node = node
        self.name = name
        self.v4 = f"10.244.{node.number}.{index}"
        self.v6 = f"fd00:10:244:{node.number}::{index}"
        self.ns = netns.Namespace(f"{node.cluster.prefix}-{node.number}-{name}")
        self.cgroup = os.path.join(node.cgroup, name)
        os.makedirs(self.cgroup, exist_ok=True)
        self.device = f"pod{index}"
        node.link(self)
        node.ns.ip("addr", "add", "169.254.1.1/32", "dev", self.device, "scope", "link")
        node.ns.ip("-6", "addr", "add", "fe80::1/64", "dev", self.device, "nodad")
        self.ns.ip("addr", "add", f"{self.v4}/32", "dev", "eth0")
        self.ns.ip("-6", "addr", "add", f"{self.v6}/128", "dev", "eth0", "nodad")
        self.ns.ip("route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
        self.ns.ip("route", "add", "default", "via", "169.254.1.1")
        self.ns.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        node.ns.ip("route", "add", f"{self.v4}/32", "dev", self.device)
        node.ns.ip("-6", "route", "add", f"{self.v6}/128", "dev", self.device)

    def address(self, family):
        return self.v4 if family == 4 else self.v6

    def serve(self, tcp=8080, udp=8080, mute=False, cpu=None):
        argv = ["taskset", "-c", str(cpu)] if cpu is not None else []
        argv += [TESTPEER, "serve", "--name", self.name, "--tcp", tcp, "--udp", udp]
        child = self.ns.popen(argv + (["--mute"] if mute else []), cgroup=self.cgroup,
                              stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "ready"
        return child

    def close(self):
        self.ns.close()
        self.node.ns.ip("link", "del", self.device, check=False)


class Node:
    """A node whose dataplane is eBPF. harness/dpdk.py has the other one; the methods that differ are overridden."""

    def __init__(self, cluster, number):
        self.cluster = cluster
        self.number = number
        self.name = f"node{number}"
        self.v4, self.v6 = f"172.30.0.{number}", f"fd00:30::{number}"
        self.ns = netns.Namespace(f"{cluster.prefix}-n{number}")
        self.cgroup = os.path.join(cluster.cgroup, self.name)
        os.makedirs(self.cgroup)
        self.bpffs = os.path.join(cluster.directory, f"bpf-{self.name}")
        os.makedirs(self.bpffs)
        subprocess.run(["mount", "-t", "bpf", "bpf", self.bpffs], check=True)
        self.agent = None
        self.agent_log = os.path.join(cluster.directory, f"agent-{self.name}.log")
        self.pods = []
        self.connect()
        self.ns.ip("route", "add", "default", "via", "172.30.0.254")
        self.ns.ip("-6", "route", "add", "default", "via", "fd00:30::254")
        self.ns.sysctl("net.ipv4.ip_forward", 1)
        self.ns.sysctl("net.ipv6.conf.all.forwarding", 1)

    def connect(self):
        """To the fabric, as eth0."""
        self.cluster.net.plug(self.ns, self.v4, self.v6)

    def link(self, pod):
        """Makes the pod's link: eth0 in the pod, pod.device in the node."""
        netns.veth(self.ns, pod.device, pod.ns, "eth0")

    def address(self, family):
        return self.v4 if family == 4 else self.v6

    def pod(self, name):
        pod = Pod(self, name, 10 + len(self.pods))
        self.pods.append(pod)
        return pod

    def agent_command(self, *more):
        return [os.path.join(BIN, "sluice-agent"), "--kubeconfig", self.cluster.kubeconfig,
                "--node-name", self.name, "--cgroup-root", self.cgroup, "--bpffs", self.bpffs,
                "--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48",
                "--service-cluster-ip-range", SERVICE_CIDRS, *more]

    def start_agent(self, wait=True, more=()):
        with open(self.agent_log, "a") as log:
            self.agent = self.ns.popen(self.agent_command(*more), stdout=log, stderr=log)
        if wait:
            self.wait_agent()

    def wait_agent(self, timeout=20):
        """Until the agent says it is healthy: everything listed is in force."""
        def healthy():
            if self.agent.poll() is not None:
                raise AssertionError(f"agent exited {self.agent.returncode}:\n" + self.log_tail())
            return self.ns.run(["curl", "-fsS", "-m1", "http://127.0.0.1:10256/healthz"],
                               check=False).returncode == 0
        try:
            eventually(healthy, timeout, f"agent of {self.name} healthy", 0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def stop_agent(self, with_signal=signal.SIGTERM):
        code = netns.stop(self.agent, with_signal)
        self.agent = None
        return code

    def log_tail(self, lines=30):
        with open(self.agent_log) as log:
            return "".join(log.readlines()[-lines:])

    def logs(self):
        return [self.agent_log]

    def sluice(self, *args, check=True):
        return self.ns.run([os.path.join(BIN, "sluice"), *args, "--bpffs", self.bpffs], check=check)

    def load(self, address, port, *more, where=None, hooked=True, **options):
        """testpeer load from this node (or from `where`, a pod): its JSON result."""
        return json.loads(self.load_process(address, port, *more, where=where, hooked=hooked,
                                            **options).communicate(timeout=120)[0])

    def load_process(self, address, port, *more, where=None, hooked=True, **options):
        argv = [TESTPEER, "load", address, port, *more]
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-"), value]
        place = where or self
        return place.ns.popen(argv, cgroup=place.cgroup if hooked else None,
                              stdout=subprocess.PIPE, text=True)

    def close(self):
        if self.agent:
            self.stop_agent(signal.SIGKILL)
        for pod in self.pods:
            pod.close()
        self.ns.close()
        subprocess.run(["umount", "-l", self.bpffs], check=False)


class Fabric:
    """The link between the nodes, and a host outside of the cluster on it."""

    def __init__(self, prefix):
        self._ports = 0
        self.ns = netns.Namespace(f"{prefix}-fabric")
        self.ns.ip("link", "add", "br0", "type", "bridge")
        self.ns.ip("link", "set", "br0", "up")
        self.ns.ip("addr", "add", "172.30.0.254/24", "dev", "br0")
        self.ns.ip("-6", "addr", "add", "fd00:30::254/64", "dev", "br0", "nodad")
        self.outside = netns.Namespace(f"{prefix}-outside")
        self.plug(self.outside, OUTSIDE_V4, OUTSIDE_V6)

    def attach(self, ns, device):
        """A device on the fabric, without addresses."""
        self._ports += 1
        port = f"port{self._ports}"
        netns.veth(self.ns, port, ns, device)
        self.ns.ip("link", "set", port, "master", "br0")

    def plug(self, ns, v4, v6):
        """An eth0 on the fabric."""
        self.attach(ns, "eth0")
        ns.ip("addr", "add", f"{v4}/24", "dev", "eth0")
        ns.ip("-6", "addr", "add", f"{v6}/64", "dev", "eth0", "nodad")

    def close(self):
        self.outside.close()
        self.ns.close()


class Cluster:
    _count = 0
    node_type = Node  # of every cluster: what `pytest --engine` says
    store = "embedded"  # likewise, --store

    def __init__(self, nodes=1, control=True, control_arguments=()):
        Cluster._count += 1
        self.control_arguments = control_arguments
        self.prefix = f"sl{os.getpid()}x{Cluster._count}"
        self.directory = tempfile.mkdtemp(prefix="sluice-test-")
        self.cgroup = os.path.join(cgroup2_root(), f"sluice-test-{self.prefix}")
        os.makedirs(self.cgroup)
        self.kubeconfig = os.path.join(self.directory, "control", "admin.kubeconfig")
        self.control = None
        self.etcd = None
        self.control_log = os.path.join(self.directory, "control.log")
        self.net = Fabric(self.prefix)
        self.outside = self.net.outside
        self.nodes = [self.node_type(self, i + 1) for i in range(nodes)]
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    node.ns.ip("route", "add", f"10.244.{other.number}.0/24", "via", other.v4)
                    node.ns.ip("-6", "route", "add", f"fd00:10:244:{other.number}::/64", "via",
                               other.v6)
        self.api = None
        if control:
            self.start_control()

    @property
    def node(self):
        return self.nodes[0]

    def start_control(self, register=True):
        storage = []
        if self.store == "etcd":
            self.etcd = self.etcd or Etcd(self.directory, self.node.ns)
            storage = ["--etcd-servers", self.etcd.url]
        with open(self.control_log, "a") as log:
            self.control = self.node.ns.popen(
                [os.path.join(BIN, "sluice-control"), "--data-dir",
                 os.path.join(self.directory, "control"), "--listen", CONTROL_ADDRESS,
                 "--service-cluster-ip-range", SERVICE_CIDRS, *storage, *self.control_arguments],
                stdout=log, stderr=log)

        def ready():
            if self.control.poll() is not None:
                with open(self.control_log) as log_file:
                    raise AssertionError("sluice-control exited:\n" + log_file.read()[-3000:])
            self.api = ApiClient(self.kubeconfig, self.node.ns)
            return self.api.raw("GET", "/readyz")[0] == 200

        try:
            eventually(ready, 20, "control plane ready", 0.02)
        except AssertionError as error:
            with open(self.control_log) as log_file:
                raise AssertionError(f"{error}; sluice-control said:\n{log_file.read()[-3000:]}") from error
        if register:
            for node in self.nodes:
                self.register(node)

    def stop_control(self, with_signal=signal.SIGTERM):
        code = netns.stop(self.control, with_signal)
        self.control = None
        return code

    def register(self, node):
        try:
            self.api.create("/api/v1/nodes", {
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name},
                "spec": {"podCIDR": f"10.244.{node.number}.0/24"}})
        except ApiError as error:
            if error.code != 409:
                raise
        self.api.merge(f"/api/v1/nodes/{node.name}/status", {"status": {"addresses": [
            {"type": "InternalIP", "address": node.v4}, {"type": "InternalIP", "address": node.v6},
            {"type": "Hostname", "address": node.name}]}})

    def kubectl(self, *args, binary="kubectl", check=True, input=None, env=None, timeout=60):
        environment = {**os.environ, "HOME": self.directory, "KUBECONFIG": self.kubeconfig,
                       **(env or {})}
        extra = {"input": input} if input is not None else {}
        return self.node.ns.run([binary, *args], check=check, env=environment, timeout=timeout,
                                **extra)

    def service(self, name, ports=None, namespace="default", **spec):
        """Creates a dual-stack Service over TCP and UDP port 80 to 8080 unless told otherwise; returns it."""
        ports = ports or [
            {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"},
            {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"}]
        return self.api.create(f"/api/v1/namespaces/{namespace}/services", {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": ports, **spec}})

    def slices(self, service, pods, namespace="default", ports=None, conditions=None):
        """Creates or replaces the Service's two slices with these pods."""
        for family in (4, 6):
            self.put_slice(service, family, [
                {"addresses": [pod.address(family)], "nodeName": pod.node.name,
                 **({"conditions": conditions} if conditions else {})} for pod in pods],
                namespace, ports)

    def put_slice(self, service, family, endpoints, namespace="default", ports=None):
        base = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        name = f"{service}-v{family}"
        body = {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": f"IPv{family}", "endpoints": endpoints,
            "ports": ports or [{"name": "tcp", "port": 8080, "protocol": "TCP"},
                               {"name": "udp", "port": 8080, "protocol": "UDP"}]}
        try:
            return self.api.create(base, body)
        except ApiError as error:
            if error.code != 409:
                raise
            return self.api.put(f"{base}/{name}", body)

    def delete_slices(self, service, namespace="default"):
        for family in (4, 6):
            self.api.delete(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/"
                            f"{service}-v{family}")

    def logs(self):
        paths = [self.control_log] + [path for node in self.nodes for path in node.logs()]
        return [path for path in paths if os.path.exists(path)]

    def close(self):
        for node in self.nodes:
            if node.agent:
                node.stop_agent(signal.SIGKILL)
        if self.control:
            self.stop_control(signal.SIGKILL)
        if self.etcd:
            self.etcd.kill()
        if self.api:
            self.api.close()
        for node in self.nodes:
            node.close()
        self.net.close()
        for path, _, _ in os.walk(self.cgroup, topdown=False):
            eventually(lambda p=path: os.rmdir(p) or True, 5, f"cgroup {path} empty")
        shutil.rmtree(self.directory, ignore_errors=True)
