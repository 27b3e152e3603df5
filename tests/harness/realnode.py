"""Whole nodes: scripts/up in network namespaces of their own, with real containers, joined to one fabric.

    outside, node 1 (control plane too), node 2 ...    addresses as in cluster.py; pods get theirs from the API

What is tested is what people run: nodes are brought up and down by scripts/up and scripts/down, and a program that a
test killed is started again by repeating `up`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import netns
from .api import ApiClient
from .cluster import BIN, BUILD, Fabric, cgroup2_root, eventually, pins_in

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROGRAMS = ("sluice-control", "sluice-kubelet", "sluice-agent")
CONTROL = "172.30.0.1:6443"
UP_TIMEOUT = 90


class RealNode:
    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number
        self.name = f"node{number}"
        self.v4, self.v6 = f"172.30.0.{number}", f"fd00:30::{number}"
        self.ns = netns.Namespace(f"{cluster.prefix}-n{number}")
        cluster.net.plug(self.ns, self.v4, self.v6)
        self.ns.ip("route", "add", "default", "via", "172.30.0.254")
        self.ns.ip("-6", "route", "add", "default", "via", "fd00:30::254")
        self.run_dir = os.path.join(cluster.run_dir, self.name)
        self.data_dir = os.path.join(cluster.data_dir, self.name)
        self.join_dir = os.path.join(cluster.data_dir, f"join-{self.name}")
        self.bpffs = os.path.join(cluster.run_dir, f"bpf-{self.name}")
        self.cgroup_name = f"{cluster.prefix}-{self.name}"
        self.cgroup = os.path.join(cgroup2_root(), self.cgroup_name)
        self.arguments = {}
        self.is_up = False

    def environment(self):
        return {**os.environ, "SLUICE_BUILD": BUILD, "SLUICE_RUN": self.run_dir, "SLUICE_DATA": self.data_dir,
                "SLUICE_POD_LOGS": os.path.join(self.data_dir, "pod-logs"), "SLUICE_BPFFS": self.bpffs,
                "SLUICE_NODE_NAME": self.name, "SLUICE_NODE_IP": f"{self.v4},{self.v6}",
                "SLUICE_CGROUP": self.cgroup_name,
                **{f"SLUICE_{name.upper()}_ARGS": value for name, value in self.arguments.items()}}

    def script(self, name, *args, check=True, timeout=UP_TIMEOUT):
        """One of scripts/ on this node. Its processes outlive it, so output goes by way of a file."""
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(self.ns.command([os.path.join(ROOT, "scripts", name), *args]), stdout=output,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=timeout,
                                  env=self.environment()).returncode
            output.seek(0)
            text = output.read()
        if check and code != 0:
            raise RuntimeError(f"scripts/{name} {' '.join(args)} on {self.name}: exit {code}\n{text}\n"
                               f"{self.log_tails()}")
        return text

    def up(self, *more):
        self.is_up = True
        place = [] if self.number == 1 else ["--join-data", self.join_dir]
        return self.script("up", "--no-setup", "--no-demo", *place, *more)

    def down(self, *more):
        output = self.script("down", *more)
        self.is_up = False
        return output

    def join(self):
        """As a person would add this node: a token of the control plane, then `sluice join`."""
        command = self.cluster.node.ns.run(
            [os.path.join(BIN, "sluice-control"), "--data-dir", self.cluster.control_data, "--listen", CONTROL,
             "token", "create"], env=self.cluster.node.environment()).stdout.split()
        at = command.index("join")
        self.ns.run([os.path.join(BIN, "sluice"), *command[at:], "--node-name", self.name, "--node-ip", self.v4,
                     "--data-dir", self.join_dir, "--no-start"], env=self.environment())
        return self.up()

    def pid(self, program):
        """Of sluice-control, sluice-kubelet, sluice-agent or containerd; None when it does not run."""
        path = f"{self.run_dir}/containerd/pid" if program == "containerd" else f"{self.run_dir}/{program}.pid"
        try:
            with open(path) as source:
                pid = int(source.read())
            with open(f"/proc/{pid}/comm") as source:
                return pid if source.read().strip() == program[:15] else None
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None

    def kill(self, program, with_signal=signal.SIGKILL):
        pid = self.pid(program)
        assert pid, f"{program} does not run on {self.name}"
        os.kill(pid, with_signal)
        eventually(lambda: self.pid(program) is None, 15, f"{program} ended")

    def log(self, program):
        return f"{self.run_dir}/containerd/log" if program == "containerd" else f"{self.run_dir}/{program}.log"

    def log_tails(self, lines=12):
        text = ""
        for program in (*PROGRAMS, "containerd"):
            if os.path.exists(self.log(program)):
                with open(self.log(program), errors="replace") as source:
                    text += f"--- {self.name} {program}\n" + "".join(source.readlines()[-lines:])
        return text

    def run(self, argv, **kwargs):
        """A process of this node, as the agent's socket hooks see it."""
        return self.ns.run(argv, cgroup=self.host_cgroup(), **kwargs)

    def host_cgroup(self):
        path = os.path.join(self.cgroup, "host")
        os.makedirs(path, exist_ok=True)
        return path

    def fetch(self, url, check=True):
        return self.run(["curl", "-fsS", "--max-time", "3", url], check=check).stdout.strip()

    def http_load(self, url, rate=200):
        child = self.ns.popen([sys.executable, os.path.join(os.path.dirname(__file__), "http_load.py"), url,
                               "--rate", rate], cgroup=self.host_cgroup(), stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "started"
        return child

    def ctr(self, *args):
        return self.ns.run(["ctr", "--address", f"{self.run_dir}/containerd/containerd.sock", "--namespace",
                            "k8s.io", *args]).stdout

    def container_pid(self, container_id):
        """The first process of a container, by the id that a Pod's status has ("containerd://...")."""
        wanted = container_id.removeprefix("containerd://")
        for line in self.ctr("tasks", "ls").splitlines()[1:]:
            if line.split()[0] == wanted:
                return int(line.split()[1])
        return None

    def vanish(self):
        """What a power failure leaves of the node: nothing that runs."""
        for program in (*PROGRAMS[1:], "containerd"):
            if self.pid(program):
                self.kill(program)
        self.ns.ip("link", "set", "eth0", "down")

    def leftovers(self):
        """What scripts/down must not leave."""
        found = []
        for folder in os.listdir("/proc"):
            if folder.isdigit():
                try:
                    with open(f"/proc/{folder}/cmdline", "rb") as source:
                        text = source.read().decode(errors="replace")
                except OSError:
                    continue
                if self.run_dir in text or self.data_dir in text:
                    found.append(f"process {folder} {text!r}")
        with open("/proc/mounts") as mounts:
            found += [f"mount {line.split()[1]}" for line in mounts
                      if self.run_dir in line or self.data_dir in line or self.bpffs in line]
        for base, folders, _ in os.walk("/sys/fs/cgroup"):
            found += [f"cgroup {base}/{name}" for name in folders if name == self.cgroup_name]
            if base.count("/") > 4:
                folders.clear()
        links = json.loads(self.ns.ip("-j", "link").stdout)
        found += [f"link {link['ifname']}" for link in links if link["ifname"] not in ("lo", "eth0")
                  and link.get("link_type") != "tunnel"]
        for family in ("-4", "-6"):
            found += [f"route {route['dst']}" for route in json.loads(self.ns.ip("-j", family, "route").stdout)
                      if route["dst"].startswith(("10.244.", "fd00:10:244"))]
        found += [f"folder {path}" for path in (self.run_dir, self.data_dir) if os.path.exists(path)]
        if os.path.isdir(self.bpffs) and os.path.ismount(self.bpffs):
            found += [f"pin {name}" for name in pins_in(self.bpffs)]
        for name in os.listdir("/var/lib/cni/results") if os.path.isdir("/var/lib/cni/results") else []:
            with open(f"/var/lib/cni/results/{name}", errors="replace") as source:
                found += [f"CNI result {name}"] if self.run_dir in source.read() else []
        return found

    def close(self):
        if self.is_up:
            self.script("down", check=False)
        self.ns.close()


class RealCluster:
    """`arguments`: further arguments of programs, {"control": "...", "kubelet": "...", "agent": "..."}."""

    _count = 0

    def __init__(self, nodes=1, arguments=None):
        RealCluster._count += 1
        self.prefix = f"slr{os.getpid()}x{RealCluster._count}"
        # Short, for the paths of unix sockets are.
        self.run_dir = tempfile.mkdtemp(prefix="slr-", dir="/run")
        self.data_dir = tempfile.mkdtemp(prefix="slr-", dir="/var/lib")
        self.net = Fabric(self.prefix)
        self.outside = self.net.outside
        self.nodes, self.api = [], None
        self.control_data = os.path.join(self.data_dir, "node1", "control")
        self.kubeconfig = os.path.join(self.control_data, "admin.kubeconfig")
        self.home = os.path.join(self.run_dir, "home")
        os.makedirs(self.home)
        try:
            for number in range(1, nodes + 1):
                node = RealNode(self, number)
                self.nodes.append(node)
                node.arguments = dict(arguments or {})
                if number == 1:
                    node.up()
                    self.api = ApiClient(self.kubeconfig, node.ns, self.home)
                else:
                    node.join()
        except BaseException:
            self.close()
            raise

    @property
    def node(self):
        return self.nodes[0]

    def kubectl(self, *args, binary="kubectl", check=True, input=None, env=None, timeout=60):
        environment = {**os.environ, "HOME": self.home, "KUBECONFIG": self.kubeconfig, **(env or {})}
        extra = {"input": input} if input is not None else {}
        return self.node.ns.run([binary, *args], check=check, env=environment, timeout=timeout, **extra)

    def kubectl_process(self, *args, binary="kubectl", env=None, **kwargs):
        environment = {**os.environ, "HOME": self.home, "KUBECONFIG": self.kubeconfig, **(env or {})}
        return self.node.ns.popen([binary, *args], env=environment, **kwargs)

    def apply(self, text, namespace="default"):
        return self.kubectl("-n", namespace, "apply", "-f", "-", input=text).stdout

    def get(self, kind, name="", namespace="default", selector=None):
        """The object, or the items of the list."""
        argv = ["-n", namespace, "get", kind, *([name] if name else []), "-o", "json",
                *(["-l", selector] if selector else [])]
        value = json.loads(self.kubectl(*argv).stdout)
        return value if name else value["items"]

    def pods(self, selector=None, namespace="default"):
        """By the API rather than by kubectl: fast enough to ask again and again."""
        query = f"?labelSelector={selector}" if selector else ""
        return self.api.get(f"/api/v1/namespaces/{namespace}/pods{query}")["items"]

    def pod(self, name, namespace="default"):
        return self.api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def wait_pod(self, name, check, timeout=30, namespace="default", what="as expected"):
        """The pod once check(pod) is true; a failure shows its status and events."""
        last = {}

        def look():
            last["pod"] = self.pod(name, namespace)
            return last["pod"] if check(last["pod"]) else None
        try:
            return eventually(look, timeout, f"pod {name} {what}", 0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(last.get('pod', {}).get('status'), indent=1)}\n"
                                 f"{self.events(name, namespace)}") from None

    def wait_ready(self, name, timeout=30, namespace="default"):
        return self.wait_pod(name, is_ready, timeout, namespace, "ready")

    def wait_rollout(self, name, namespace="default", timeout=60):
        return self.kubectl("-n", namespace, "rollout", "status", name, f"--timeout={timeout}s",
                            timeout=timeout + 10).stdout

    def events(self, name, namespace="default"):
        """(type, reason, message) of the events about an object, oldest first."""
        items = self.api.get(f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name={name}")
        return [(e.get("type"), e.get("reason"), e.get("message", "")) for e in items["items"]]

    def wait_event(self, name, reason, timeout=20, namespace="default"):
        """The message of the first event of that reason."""
        def look():
            return [message for _, r, message in self.events(name, namespace) if r == reason]
        return eventually(look, timeout, f"event {reason} about {name}; "
                          f"there are {[e[1] for e in self.events(name, namespace)]}", 0.1)[0]

    def execute(self, pod, *command, namespace="default", check=True, container=None, **kwargs):
        place = ["-c", container] if container else []
        return self.kubectl("-n", namespace, "exec", pod, *place, "--", *command, check=check, **kwargs).stdout

    def delete_namespace(self, name):
        self.kubectl("delete", "namespace", name, "--wait=false", check=False)

    def logs(self):
        return [node.log(program) for node in self.nodes for program in (*PROGRAMS, "containerd")
                if os.path.exists(node.log(program))]

    def close(self):
        if self.api:
            self.api.close()
        for node in reversed(self.nodes):
            node.close()
        self.net.close()
        for node in self.nodes:
            if os.path.ismount(node.bpffs):
                subprocess.run(["umount", "-l", node.bpffs], check=False)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)


def condition(pod, kind):
    """Its status ("True"), or None."""
    for entry in pod.get("status", {}).get("conditions", []):
        if entry["type"] == kind:
            return entry["status"]
    return None


def is_ready(pod):
    return condition(pod, "Ready") == "True"


def container_state(pod, index=0, kind="containerStatuses"):
    """("running" | "waiting" | "terminated", its details) of a container; (None, {}) before it has a status."""
    statuses = pod.get("status", {}).get(kind, [])
    if len(statuses) <= index or not statuses[index].get("state"):
        return None, {}
    return next(iter(statuses[index]["state"].items()))


def stop_load(child):
    """Ends an http_load and returns its account."""
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=30)
    return json.loads(output.splitlines()[-1])


def wait_seconds(seconds):
    """Where a test needs time to pass under load, and nothing else."""
    time.sleep(seconds)
