"""Fixtures of the end-to-end suites: one cluster a module, and kubectls old and new."""

import glob
import os
import shutil
import subprocess
import sys
import zlib

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from harness import cluster as harness  # noqa: E402
from harness import dpdk, realnode  # noqa: E402

NODES = {"ebpf": harness.Node, "dpdk": dpdk.DpdkNode}
NO_HOOKS = "the DPDK engine has no socket hooks: a pod's packets come by its link, as in the case beside this one"
# What DPDK has not by design: a test's parameters with their values, and why the case is left out.
NOT_OF_DPDK = (({"hooked": True}, NO_HOOKS), ({"place": "pod-hook"}, NO_HOOKS),
               ({"ground": "native"}, "the DPDK engine has no XDP"),
               ({"place": "node", "frontend": "nodeport"},
                "what a node sends to an address of its own stays in its kernel, where the DPDK engine is not"))


def pytest_addoption(parser):
    parser.addoption("--engine", choices=sorted(NODES), default="ebpf", help="dataplane of the nodes in namespaces")
    parser.addoption("--store", choices=["embedded", "etcd"], default="embedded",
                     help="where the control planes of nodes in namespaces keep their objects")


def pytest_configure(config):
    harness.Cluster.node_type = NODES[config.getoption("--engine")]
    harness.Cluster.store = config.getoption("--store")
    if harness.Cluster.store == "etcd" and not shutil.which("etcd"):
        raise pytest.UsageError("--store etcd: the package etcd-server is not installed")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--engine") != "dpdk":
        return
    for item in items:
        asked = item.callspec.params if hasattr(item, "callspec") else {}
        for case, reason in NOT_OF_DPDK:
            if all(asked.get(name) == value for name, value in case.items()):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def engine(request):
    return request.config.getoption("--engine")


@pytest.fixture(scope="module")
def one_node():
    """A node with an agent, two serving pods (a, b) and a client pod."""
    with_pods = harness.Cluster(nodes=1)
    try:
        node = with_pods.node
        for name in ("a", "b"):
            node.pod(name).serve()
        node.pod("client")
        node.start_agent()
        yield with_pods
    finally:
        with_pods.close()


@pytest.fixture(scope="module")
def two_nodes():
    """Two nodes with agents; pods a and client on the first, b on the second, all of them serving."""
    both = harness.Cluster(nodes=2)
    try:
        both.nodes[0].pod("a").serve()
        both.nodes[0].pod("client").serve()
        both.nodes[1].pod("b").serve()
        for node in both.nodes:
            node.start_agent()
        yield both
    finally:
        both.close()


@pytest.fixture(scope="module")
def real():
    """A node as scripts/up makes it: containerd, control plane, kubelet, agent."""
    cluster = realnode.RealCluster(nodes=1)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the agents and the control plane of its cluster said last."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for value in item.funcargs.values():
        value = getattr(value, "cluster", value)
        if isinstance(value, (harness.Cluster, realnode.RealCluster)):
            for path in value.logs():
                with open(path, errors="replace") as log:
                    report.sections.append((os.path.basename(path), "".join(log.readlines()[-25:])))


def debian_kubectl():
    """Debian's kubectl 1.20 (the last of the old wire habits), unpacked into the build folder, not installed."""
    folder = os.path.join(harness.BUILD, "debian-kubectl")
    binary = os.path.join(folder, "usr", "bin", "kubectl")
    if not os.path.exists(binary):
        os.makedirs(folder, exist_ok=True)
        download = ["apt-get", "download", "kubernetes-client"]
        if subprocess.run(download, cwd=folder, capture_output=True).returncode != 0:
            # No lists of packages yet, or old ones.
            subprocess.run(["apt-get", "update"], check=True, capture_output=True)
            subprocess.run(download, cwd=folder, check=True, capture_output=True)
        package = glob.glob(os.path.join(folder, "kubernetes-client_*.deb"))[0]
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    return binary


def newer_kubectls():
    """Real binaries of other versions where the machine has them, oldest and newest."""
    found = sorted(glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.*"))
    return [found[0], found[-1]] if len(found) > 1 else found


def kubectls():
    return ["debian"] + newer_kubectls()


@pytest.fixture(params=kubectls(), ids=lambda p: os.path.basename(p))
def kubectl_binary(request):
    return debian_kubectl() if request.param == "debian" else request.param


@pytest.fixture(params=[kubectls()[0], *kubectls()[1:][-1:]], ids=lambda p: os.path.basename(p))
def real_kubectl(request):
    """The oldest and the newest kubectl, for what takes real containers and so time."""
    return debian_kubectl() if request.param == "debian" else request.param


class Kube:
    """kubectl in a namespace of the test's own."""

    def __init__(self, cluster, binary, namespace):
        self.cluster, self.binary, self.namespace = cluster, binary, namespace
        cluster.kubectl("create", "namespace", namespace)

    def __call__(self, *args, **kwargs):
        return self.cluster.kubectl("-n", self.namespace, *args, binary=self.binary, **kwargs)

    def process(self, *args, **kwargs):
        return self.cluster.kubectl_process("-n", self.namespace, *args, binary=self.binary, **kwargs)

    def apply(self, text):
        return self("apply", "-f", "-", input=text).stdout

    def field(self, kind, name, path):
        return self("get", kind, name, "-o", "jsonpath={%s}" % path).stdout

    def pods(self, selector=None):
        """Those that nobody has deleted."""
        return [pod for pod in self.cluster.pods(selector, self.namespace)
                if not pod["metadata"].get("deletionTimestamp")]

    def ready_pods(self, count, selector=None, timeout=40):
        def look():
            found = [pod for pod in self.pods(selector) if realnode.is_ready(pod)]
            return found if len(found) == count == len(self.pods(selector)) else None
        return harness.eventually(look, timeout, f"{count} ready pods of {selector}", 0.1)

    def close(self):
        self.cluster.delete_namespace(self.namespace)


def _kube(request, binary):
    cluster = request.getfixturevalue("real")
    kube = Kube(cluster, binary, f"t{zlib.crc32(request.node.nodeid.encode())}")
    yield kube
    kube.close()


@pytest.fixture()
def kube(request, real_kubectl):
    """With the oldest and the newest kubectl; the module's fixture `real` is the cluster."""
    yield from _kube(request, real_kubectl)


@pytest.fixture()
def space(request):
    """With the machine's kubectl, where it is not kubectl that is tested."""
    yield from _kube(request, (newer_kubectls() or [debian_kubectl()])[-1])
