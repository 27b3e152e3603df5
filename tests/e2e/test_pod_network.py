"""Pods of two nodes on one link, as the agent connects them: real containers, sluice-cni configured by the agent, its
routes, and Services across nodes. There is no kubelet here: the tests are the CRI's client."""

import contextlib
import glob
import json
import os
import shutil
import subprocess
import tempfile

import pytest
from test_cni import Node as Runtime
from test_cni import build_images

from harness import netns
from harness.cluster import BIN, BUILD, OUTSIDE_V4, OUTSIDE_V6, TESTPEER, Cluster, cgroup2_root, eventually
from harness.cri import Cri

IMAGES = os.path.join(BUILD, "images")
CLUSTER_CIDRS = "10.244.0.0/16,fd00:10:244::/48"
PROTOCOL = "83"


class Containers(Runtime):
    """A containerd in the namespace of a cluster's node, connected by what the agent writes."""

    def __init__(self, node):
        self.cluster_node = node
        self.ns = node.ns
        self.run_dir = tempfile.mkdtemp(prefix="sluice-net-", dir="/run")
        self.data_dir = tempfile.mkdtemp(prefix="sluice-net-", dir="/var/lib")
        # Below the cgroup that the agent's socket hooks are attached to.
        self.cgroup = os.path.relpath(node.cgroup, cgroup2_root()) + "/pods"
        self.socket = f"{self.run_dir}/c/containerd.sock"
        self.conf_dir = f"{self.run_dir}/c/cni"
        self.cni_data = f"{self.run_dir}/cni"
        self.cri = Cri(self.socket, f"{self.run_dir}/c/log")
        self._serial = 0

    def start(self):
        self.script(f"containerd_start; containerd_import {IMAGES}/*.tar")

    def flags(self):
        return ("--cni-conf-dir", self.conf_dir, "--cni-data-dir", self.cni_data, "--route-pods")

    def configuration(self):
        with open(f"{self.conf_dir}/10-sluice.conflist", encoding="utf-8") as source:
            return json.load(source)["plugins"][0]

    def close(self):
        self.script("containerd_stop", check=False)
        # What the runtime made above its own group, in the hierarchies of version 1.
        above = os.path.dirname(self.cgroup)
        for path in [*glob.glob(f"/sys/fs/cgroup/*/{above}"), *glob.glob(f"/sys/fs/cgroup/*/{os.path.dirname(above)}")]:
            if not path.startswith(cgroup2_root() + "/"):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)


class ContainerPod:
    """A sandbox with a shell in a container. Has what Node.load() needs to send from it past the socket hooks."""

    def __init__(self, runtime, name):
        self.runtime, self.name = runtime, name
        # The runtime reads its folder when that changes; until then it has no network to connect pods to.
        self.id, self.config, (self.v4, self.v6) = eventually(lambda: runtime.sandbox(name), 10, f"sandbox {name}", 0.2)
        self.shell = runtime.container(self.id, self.config, "localhost/busybox:1", command=["sleep", "100000"])
        tasks = runtime.script("containerd_ctr task ls").stdout.split("\n")
        self.pid = next(line.split()[1] for line in tasks if line.startswith(self.shell))
        self.ns = InNamespaceOf(self.pid)

    def address(self, family):
        return self.v4 if family == 4 else self.v6

    def serve(self):
        """Not in a container, but in its network: answers say who asked."""
        child = self.ns.popen([TESTPEER, "serve", "--name", self.name, "--tcp", 8080, "--udp", 8080],
                              stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "ready"

    def fetch(self, url):
        return self.runtime.execute(self.shell, "timeout", "5", "wget", "-qO-", url)

    def close(self):
        self.ns.close()
        self.runtime.cri.call("StopPodSandbox", {1: self.id})
        self.runtime.cri.call("RemovePodSandbox", {1: self.id})


class InNamespaceOf(netns.Namespace):
    """The network namespace of a process of somebody else's."""

    def __init__(self, pid):
        self.path = f"/proc/{pid}/ns/net"
        self._children = []

    def close(self):
        for child in self._children:
            netns.stop(child)


def ranges(number):
    return [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]


def register(cluster, node, addresses=None, with_ranges=True, name=None):
    name = name or node.name
    cluster.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                                         "spec": {"podCIDRs": ranges(node.number)} if with_ranges else {}})
    cluster.api.merge(f"/api/v1/nodes/{name}/status", {"status": {"addresses": [
        {"type": "InternalIP", "address": address} for address in addresses or (node.v4, node.v6)]}})


def routes(node):
    """Destination to gateway of the agent's routes; what ends there has none."""
    found = {}
    for family in ("-4", "-6"):
        for route in json.loads(node.ns.ip("-j", family, "route", "show", "proto", PROTOCOL).stdout or "[]"):
            found[route["dst"]] = route.get("gateway")
    return found


def expected(own, others):
    found = dict.fromkeys(ranges(own.number))
    for other in others:
        found |= dict(zip(ranges(other.number), (other.v4, other.v6)))
    return found


@pytest.fixture(scope="module")
def net():
    """Two nodes with containerd and agents, and a pod on each: (cluster, runtimes, pods)."""
    build_images(IMAGES)
    cluster = Cluster(nodes=2, control=False)
    runtimes, pods = [], []
    try:
        for node in cluster.nodes:
            for other in cluster.nodes:
                if other is not node:
                    node.ns.ip("route", "del", ranges(other.number)[0])
                    node.ns.ip("-6", "route", "del", ranges(other.number)[1])
        cluster.start_control(register=False)
        # The second node gets its ranges only after its agent has started.
        register(cluster, cluster.nodes[0])
        register(cluster, cluster.nodes[1], with_ranges=False)
        for node in cluster.nodes:
            runtimes.append(Containers(node))
            runtimes[-1].start()
            node.start_agent(more=runtimes[-1].flags())
        assert not os.path.exists(f"{runtimes[1].conf_dir}/10-sluice.conflist")
        cluster.api.merge("/api/v1/nodes/node2", {"spec": {"podCIDRs": ranges(2)}})
        pods = [ContainerPod(runtime, f"pod{i + 1}") for i, runtime in enumerate(runtimes)]
        for pod in pods:
            pod.serve()
        yield cluster, runtimes, pods
    finally:
        for pod in pods:
            pod.close()
        for runtime in runtimes:
            runtime.close()
        cluster.close()


@pytest.fixture(scope="module")
def service(net):
    """A Service with an endpoint on each node; its addresses by family."""
    cluster, _, pods = net
    created = cluster.service("web")
    for family in (4, 6):
        cluster.put_slice("web", family, [{"addresses": [pod.address(family)], "nodeName": f"node{i + 1}"}
                                          for i, pod in enumerate(pods)])
    addresses = {(6 if ":" in ip else 4): ip for ip in created["spec"]["clusterIPs"]}
    for node in cluster.nodes:
        for family in (4, 6):
            eventually(lambda n=node, f=family: n.load(addresses[f], 80, count=1, timeout_ms=200)["ok"] == 1, 10,
                       "the Service answers from its nodes")
    return addresses


def test_agents_configure_the_plugin(net):
    _, runtimes, pods = net
    for number, runtime in enumerate(runtimes, 1):
        assert runtime.configuration() == {"type": "sluice-cni", "podCIDRs": ranges(number), "mtu": 1500,
                                           "dataDir": runtime.cni_data}
        assert pods[number - 1].v4.startswith(f"10.244.{number}.")


def test_pods_reach_each_other_across_nodes_as_themselves(net):
    cluster, _, (near, far) = net
    assert [routes(node) for node in cluster.nodes] == [expected(cluster.nodes[0], cluster.nodes[1:]),
                                                        expected(cluster.nodes[1], cluster.nodes[:1])]
    for family in (4, 6):
        result = near.runtime.cluster_node.load(far.address(family), 8080, where=near, hooked=False, count=20)
        assert (result["ok"], set(result["servers"]), set(result["clients"])) == (
            20, {"pod2"}, {near.address(family)}), result
        # And from node to pod, with the node's own address.
        result = cluster.nodes[0].load(far.address(family), 8080, count=5)
        assert (result["ok"], set(result["clients"])) == (5, {cluster.nodes[0].address(family)}), result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("mode", ((), ("--udp",)), ids=("tcp", "udp"))
def test_services_across_nodes_keep_the_source(net, service, family, mode):
    """Past the socket hooks: what tc does for a pod's link that came after the agent."""
    _, _, (near, far) = net
    for pod in (near, far):
        result = pod.runtime.cluster_node.load(service[family], 80, *mode, where=pod, hooked=False, count=100)
        assert (result["ok"], result["wrong_peer"]) == (100, 0), result
        assert set(result["servers"]) == {"pod1", "pod2"}, result
        # A pod that is its own backend sees the node, or it would answer itself.
        assert pod.address(family) in result["clients"], result


def test_processes_of_containers_are_seen_by_the_socket_hooks(net, service):
    cluster, runtimes, pods = net
    web = {}
    for runtime, pod in zip(runtimes, pods):
        with open(f"/proc/{pod.pid}/cgroup", encoding="utf-8") as source:
            unified = next(line for line in source if line.startswith("0::"))
        root = "/" + os.path.relpath(runtime.cluster_node.cgroup, cgroup2_root())
        assert unified.strip().removeprefix("0::").startswith(root + "/"), unified
        web[pod.name] = ContainerPod(runtime, f"web-{pod.name}")
    try:
        for pod in web.values():
            pod.runtime.container(pod.id, pod.config, "localhost/web:1", env={"PAGE": pod.name})
        created = cluster.service("pages", ports=[{"name": "http", "port": 80, "targetPort": 8080}])
        for family in (4, 6):
            cluster.put_slice("pages", family, [{"addresses": [pod.address(family)]} for pod in web.values()],
                              ports=[{"name": "http", "port": 8080, "protocol": "TCP"}])
        wanted = {f"{name}\n" for name in ("web-pod1", "web-pod2")}
        for address in created["spec"]["clusterIPs"]:
            url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
            for pod in pods:
                eventually(lambda p=pod, u=url: p.fetch(u)[0] == 0, 10, f"{pod.name} reaches {url}")
                assert {pod.fetch(url)[1] for _ in range(20)} == wanted
    finally:
        for pod in web.values():
            pod.close()


def test_what_no_pod_has_is_refused_at_once(net):
    cluster, _, (near, _) = net
    result = near.runtime.cluster_node.load("10.244.2.250", 8080, where=near, hooked=False, count=1, timeout_ms=2000)
    assert result["ok"] == 0, result
    for address in ("10.244.2.250", "fd00:10:244:2::fffa"):
        answer = cluster.nodes[1].ns.ip("route", "get", address, check=False)
        assert "No route to host" in answer.stderr, (answer.stdout, answer.stderr)


def test_routes_that_somebody_removes_come_back(net):
    node = net[0].nodes[0]
    wanted = expected(node, net[0].nodes[1:])
    node.ns.ip("route", "del", ranges(2)[0])
    node.ns.ip("-6", "route", "del", ranges(2)[1])
    eventually(lambda: routes(node) == wanted, 5, "the routes are back")


def metric(node, name):
    text = node.ns.run(["curl", "-fsS", "http://127.0.0.1:10249/metrics"]).stdout
    return [line for line in text.splitlines() if line.startswith(name)]


def test_routes_follow_nodes(net):
    cluster, _, (near, far) = net
    node, other = cluster.nodes
    cluster.api.delete("/api/v1/nodes/node2")
    eventually(lambda: routes(node) == expected(node, []), 5, "no route without the node")
    register(cluster, other)
    eventually(lambda: routes(node) == expected(node, [other]), 5, "the routes are back")
    assert node.load(far.v4, 8080, where=near, hooked=False, count=3)["ok"] == 3
    # One that is behind a router is an error which names it; the others keep their routes.
    cluster.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "far"},
                                         "spec": {"podCIDRs": ["10.244.77.0/24"]}})
    cluster.api.merge("/api/v1/nodes/far/status", {"status": {"addresses": [
        {"type": "InternalIP", "address": "198.51.100.1"}]}})
    eventually(lambda: metric(node, "sluice_pod_route_unreachable{node=\"far\"} 1"), 5, "the metric names it")
    assert "node far" in node.log_tail() and "198.51.100.1 is not on a link" in node.log_tail()
    assert routes(node) == expected(node, [other])
    cluster.api.delete("/api/v1/nodes/far")
    eventually(lambda: not metric(node, "sluice_pod_route_unreachable{"), 5, "and no longer")


def test_masquerading_only_where_asked_for_and_only_outwards(net):
    cluster, runtimes, (near, far) = net
    node = cluster.nodes[0]
    server = cluster.outside.popen([TESTPEER, "serve", "--name", "outside", "--tcp", 8080, "--udp", 8080],
                                   stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline().strip() == "ready"
    # The host outside has no way back to pods.
    assert node.load(OUTSIDE_V4, 8080, where=near, hooked=False, count=1, timeout_ms=500)["ok"] == 0
    node.stop_agent()
    node.start_agent(more=(*runtimes[0].flags(), "--masquerade-pods", CLUSTER_CIDRS))
    for address, family in ((OUTSIDE_V4, 4), (OUTSIDE_V6, 6)):
        eventually(lambda a=address: node.load(a, 8080, where=near, hooked=False, count=1, timeout_ms=500)["ok"] == 1,
                   10, "pods reach the outside")
        result = node.load(address, 8080, where=near, hooked=False, count=5)
        assert set(result["clients"]) == {node.address(family)}, result
        result = node.load(far.address(family), 8080, where=near, hooked=False, count=5)
        assert set(result["clients"]) == {near.address(family)}, result
    netns.stop(server)


def test_clean_up_takes_all_of_it_away(net):
    cluster, runtimes, _ = net
    node = cluster.nodes[0]
    node.stop_agent()
    assert routes(node) == expected(node, cluster.nodes[1:]), "an agent that stops leaves pods connected"
    output = node.ns.run([os.path.join(BIN, "sluice-agent"), "--cleanup", "--bpffs", node.bpffs, "--cgroup-root",
                          node.cgroup, *runtimes[0].flags()]).stdout
    assert "10-sluice.conflist" in output and "route to 10.244.2.0/24" in output
    assert routes(node) == {}
    assert not os.path.exists(f"{runtimes[0].conf_dir}/10-sluice.conflist")
    assert "sluice" not in node.ns.run(["nft", "list", "tables"]).stdout
    node.start_agent(more=runtimes[0].flags())
    eventually(lambda: routes(node) == expected(node, cluster.nodes[1:]), 5, "it comes again")
