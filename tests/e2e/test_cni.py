"""Real containers of Debian's containerd, connected by sluice-cni, from images that were built here."""

import contextlib
import glob
import ipaddress
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import pytest

from harness.cluster import BIN, BUILD, eventually
from harness.cri import Cri, decode
from harness.netns import Namespace

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
IMAGES = os.path.join(BUILD, "images")
V4, V6 = "10.98.0.0/24", "fd00:98::/64"
MTU = 1450
EXITED = 2
OWN_PROCESSES = {2: 1}  # NamespaceOption: each container is the first process of a namespace, as the kubelet asks


class Node:
    """A network namespace with a containerd of its own. `cgroup` is where its containers' cgroups are."""

    def __init__(self):
        self.ns = Namespace(f"sluice-cni-{os.getpid()}")
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.ns.sysctl(name, 1)
        self.run_dir = tempfile.mkdtemp(prefix="sluice-cni-", dir="/run")
        self.data_dir = tempfile.mkdtemp(prefix="sluice-cni-", dir="/var/lib")
        self.cgroup = f"sluice-cni-{os.getpid()}"
        self.socket = f"{self.run_dir}/c/containerd.sock"
        self.cni_data = f"{self.run_dir}/cni"
        self.cri = Cri(self.socket, f"{self.run_dir}/c/log")
        self._serial = 0

    def script(self, text, check=True):
        """Shell with the functions of scripts/containerd.sh, in the node's namespace."""
        settings = {"SLUICE_BUILD": BUILD, "CONTAINERD_RUN": f"{self.run_dir}/c", "CONTAINERD_CGROUP": self.cgroup,
                    "CONTAINERD_DATA": f"{self.data_dir}/c", "CONTAINERD_CNI_DATA": self.cni_data}
        return self.ns.run(["bash", "-euo", "pipefail", "-c",
                            f". {ROOT}/scripts/lib.sh; . {ROOT}/scripts/containerd.sh; {text}"],
                           env={**os.environ, **settings}, check=check)

    def start(self):
        self.script(f"containerd_start; containerd_network {MTU} {V4} {V6}; containerd_import {IMAGES}/*.tar")

    def sandbox(self, name):
        """A pod without containers: (its id, its configuration, its addresses)."""
        os.makedirs(f"{self.run_dir}/logs-{name}", exist_ok=True)
        config = {1: {1: name, 2: f"uid-{name}", 3: "default"}, 2: name, 3: f"{self.run_dir}/logs-{name}",
                  8: {1: f"/{self.cgroup}/{name}", 2: {1: OWN_PROCESSES}}}
        pod = self.cri.call("RunPodSandbox", {1: config})[1][0].decode()
        network = decode(decode(self.cri.call("PodSandboxStatus", {1: pod})[1][0])[5][0])
        others = [decode(more)[1][0] for more in network.get(2, [])]
        return pod, config, [address.decode() for address in network[1] + others]

    def container(self, pod, config, image, command=(), env=None):
        self._serial += 1
        created = self.cri.call("CreateContainer", {
            1: pod, 3: config,
            2: {1: {1: f"c{self._serial}"}, 2: {1: image}, 3: list(command), 15: {2: {3: OWN_PROCESSES}},
                6: [{1: key, 2: value} for key, value in (env or {}).items()],
                11: f"c{self._serial}.log"}})[1][0].decode()
        self.cri.call("StartContainer", {1: created})
        return created

    def execute(self, container, *command):
        answer = self.cri.call("ExecSync", {1: container, 2: list(command), 3: 20})
        output = b"".join(answer.get(1, []) + answer.get(2, [])).decode()
        return answer.get(3, [0])[0], output

    def links(self):
        return [link["ifname"] for link in json.loads(self.ns.ip("-j", "link").stdout)
                if link["ifname"].startswith("slc")]

    def addresses(self):
        return [name for name in glob.glob(f"{self.cni_data}/*/*") if not os.path.basename(name).startswith(".")]

    def leftovers(self):
        """What a stopped containerd must not leave."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError), open(path, "rb") as source:
                if self.run_dir.encode() in source.read():
                    found.append(path)
        with open("/proc/mounts") as mounts:
            found += [line.split()[1] for line in mounts if self.run_dir in line or self.data_dir in line]
        found += glob.glob(f"/sys/fs/cgroup/**/{self.cgroup}", recursive=True)
        for path in glob.glob("/var/lib/cni/results/*"):
            with open(path, encoding="utf-8") as source:
                found += [path] if self.run_dir in source.read() else []
        found += self.links() + self.addresses()
        return found + [path for path in (f"{self.run_dir}/c", f"{self.data_dir}/c") if os.path.exists(path)]

    def close(self):
        self.script("containerd_stop", check=False)
        self.ns.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)


def build_images(folder, *names):
    subprocess.run([sys.executable, f"{ROOT}/scripts/images/build.py", folder, *names], check=True,
                   capture_output=True)


@pytest.fixture(scope="module")
def node():
    build_images(IMAGES)
    one = Node()
    try:
        one.start()
        yield one
    finally:
        one.close()


def url(address):
    return f"http://[{address}]:8080/" if ":" in address else f"http://{address}:8080/"


def test_images_have_the_same_bytes_each_time(tmp_path):
    for folder in ("a", "b"):
        build_images(str(tmp_path / folder))
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == ["busybox-1.tar", "pause-1.tar", "web-1.tar", "web-2.tar"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    wrong = subprocess.run([sys.executable, f"{ROOT}/scripts/images/build.py", str(tmp_path), "nginx"],
                           capture_output=True, text=True)
    assert wrong.returncode == 2 and "nginx" in wrong.stderr


def test_pods_reach_each_other_in_both_families(node):
    server, server_config, server_addresses = node.sandbox("server")
    client, client_config, client_addresses = node.sandbox("client")
    for addresses in (server_addresses, client_addresses):
        assert ipaddress.ip_address(addresses[0]) in ipaddress.ip_network(V4), addresses
        assert ipaddress.ip_address(addresses[1]) in ipaddress.ip_network(V6), addresses
    assert not set(server_addresses) & set(client_addresses)
    assert len(node.links()) == 2 and len(node.addresses()) == 4

    web = node.container(server, server_config, "localhost/web:1", env={"PAGE": "a page of the test"})
    shell = node.container(client, client_config, "localhost/busybox:1", command=["sleep", "1000"])
    for address in server_addresses:
        eventually(lambda: node.ns.run(["curl", "-fsS", url(address)]).stdout == "a page of the test\n", 5,
                   f"the node reaches {address}")
        assert node.execute(shell, "timeout", "5", "wget", "-qO-", url(address)) == (0, "a page of the test\n")
    # No source NAT: the server sees the client's own address.
    node.execute(shell, "sh", "-c", f"wget -qO- {url(server_addresses[0])} >/dev/null")
    code, mtu = node.execute(shell, "cat", "/sys/class/net/eth0/mtu")
    assert (code, mtu.strip()) == (0, str(MTU))
    assert node.execute(shell, "timeout", "5", "wget", "-qO-", "http://localhost:8080/")[0] != 0

    # The web server takes SIGTERM; a container that is killed for not doing so ends with 137.
    node.cri.call("StopContainer", {1: web, 2: 20})
    status = decode(node.cri.call("ContainerStatus", {1: web})[1][0])
    assert (status[3], status.get(7, [0])) == ([EXITED], [0])

    for pod in (server, client):
        node.cri.call("StopPodSandbox", {1: pod})
        node.cri.call("RemovePodSandbox", {1: pod})
    assert node.links() == [] and node.addresses() == []


def test_other_pages_and_names(node):
    pod, config, (v4, _) = node.sandbox("pages")
    shell = node.container(pod, config, "localhost/busybox:1", command=["sleep", "1000"])
    node.container(pod, config, "localhost/web:2")
    eventually(lambda: node.execute(shell, "wget", "-qO-", "http://127.0.0.1:8080/") == (0, "hello from web:2\n"),
               5, "the page of the image")
    # Names are resolved in containers: a file first, which needs the C library's modules to load.
    node.execute(shell, "sh", "-c", f"echo {v4} named >>/etc/hosts")
    assert node.execute(shell, "timeout", "5", "wget", "-qO-", "http://named:8080/") == (0, "hello from web:2\n")
    node.cri.call("StopPodSandbox", {1: pod})
    node.cri.call("RemovePodSandbox", {1: pod})


def test_thirty_attachments_at_once(node):
    """Also prints what an ADD costs; nothing is asserted of it."""
    config = json.dumps({"cniVersion": "1.0.0", "name": "thirty", "type": "sluice-cni", "podCIDRs": [
        "10.97.0.0/24", "fd00:97::/64"], "dataDir": node.cni_data})
    pods = [Namespace(f"sluice-cni-{os.getpid()}-{i}") for i in range(30)]

    def start(command, i):
        child = subprocess.Popen(
            node.ns.command([os.path.join(BIN, "sluice-cni")]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "CNI_COMMAND": command, "CNI_CONTAINERID": f"container-{i}",
                            "CNI_NETNS": pods[i].path, "CNI_IFNAME": "eth0"})
        child.stdin.write(config)
        child.stdin.close()
        return child

    def end(child):
        output = child.stdout.read()
        child.stdout.close()
        assert child.wait() == 0, output
        return json.loads(output)["ips"] if output else []

    try:
        for command in ("ADD", "DEL"):
            alone = []
            for i in range(30):
                began = time.monotonic()
                end(start(command, i))
                alone.append((time.monotonic() - began) * 1000)
            print(f"{command} alone: p50 {statistics.median(alone):.1f} ms, longest {max(alone):.1f} ms")
        before = len(node.links())
        began = time.monotonic()
        results = [end(child) for child in [start("ADD", i) for i in range(30)]]
        print(f"30 ADD at once: {(time.monotonic() - began) * 1000:.0f} ms")
        given = {ip["address"] for ips in results for ip in ips}
        assert len(given) == 60
        assert len(node.links()) == before + 30
        for i in (1, 29):
            target = results[0][0]["address"].split("/")[0]
            target6 = results[0][1]["address"].split("/")[0]
            for address in (target, target6):
                # The other pod's kernel answers with a reset: the packet went there and back.
                with pods[i].entered(), pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, 8080), timeout=5)
        for child in [start("DEL", i) for i in range(30)]:
            end(child)
        assert len(node.links()) == before
    finally:
        for pod in pods:
            pod.close()


def test_nothing_is_left_even_of_a_killed_containerd(node):
    for name in ("left-a", "left-b"):
        pod, config, _ = node.sandbox(name)
        node.container(pod, config, "localhost/busybox:1", command=["sleep", "1000"])
    assert node.leftovers()
    node.script('kill -KILL "$(containerd_pid)"; wait_for 5 eval "! containerd_pid"; containerd_stop')
    assert node.leftovers() == []
    # It starts again, and ends as cleanly with containers running.
    node.start()
    pod, config, _ = node.sandbox("again")
    node.container(pod, config, "localhost/busybox:1", command=["sleep", "1000"])
    node.script("containerd_start; containerd_stop; containerd_stop")
    assert node.leftovers() == []
