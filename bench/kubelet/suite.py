"""The kubelet suite: from a pod's creation to Ready, alone and thirty at once, to its end, and the kubelet idle.

One node as scripts/up makes it, real containers of busybox. The peers' figures of kubelet 1.32 were taken on such a
machine (two cores, containerd 1.6, runc) and are not of this run; the runtime alone, by CRI on the same node, is.
"""

import concurrent.futures
import json
import os
import statistics
import sys
import threading
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "bench")]

from harness.api import ApiClient  # noqa: E402
from harness.cri import Cri  # noqa: E402
from harness.realnode import RealCluster, is_ready  # noqa: E402
from rows import Row, median_spread  # noqa: E402

KUBELET = "kubelet 1.32, containerd 1.6 with runc, taken on such a machine before"
NAMESPACE = "/api/v1/namespaces/default/pods"
MANY = 30
WAIT_S = 60
STAY = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]


class Watcher:
    """When each pod became ready, and when it was gone, by a watch of its own connection."""

    def __init__(self, cluster):
        self.ready, self.gone = {}, {}
        self.changed = threading.Condition()
        client = ApiClient(cluster.kubeconfig, cluster.node.ns, cluster.home)
        version = client.get(NAMESPACE)["metadata"]["resourceVersion"]
        client.connect()
        client._connection.sock.settimeout(None)
        client._connection.request("GET", f"{NAMESPACE}?watch=true&resourceVersion={version}")
        self.response, self.client = client._connection.getresponse(), client
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while True:
            line = self.response.readline()
            if not line:
                return
            now, event = time.monotonic(), json.loads(line)
            name = event["object"].get("metadata", {}).get("name")
            with self.changed:
                if event["type"] == "DELETED":
                    self.gone.setdefault(name, now)
                elif is_ready(event["object"]):
                    self.ready.setdefault(name, now)
                self.changed.notify_all()

    def wait(self, times, count, what):
        """The moment at which `count` names were in `times`."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(times) >= count, WAIT_S):
                raise RuntimeError(f"{what}: {len(times)} of {count} in {WAIT_S} s")
            return sorted(times.values())[count - 1]


def pod(name, node=None):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "bench"}}, "spec": {
        **({"nodeName": node} if node else {}), "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "c", "image": "localhost/busybox:1", "command": STAY}]}}


class Bench:
    def __init__(self, log, quick):
        self.log, self.quick, self.rows = log, quick, []
        self.cluster = RealCluster(nodes=1)
        self.api = self.cluster.api
        self.watcher = Watcher(self.cluster)
        self.serial = 0

    def close(self):
        self.cluster.close()

    def names(self, count):
        self.serial += 1
        return [f"b{self.serial}-{i}" for i in range(count)]

    def forget(self):
        with self.watcher.changed:
            self.watcher.ready.clear()
            self.watcher.gone.clear()

    def remove(self, names):
        """Seconds until all are gone, from the first request."""
        began = time.monotonic()
        for name in names:
            self.api.delete(f"{NAMESPACE}/{name}")
        return self.watcher.wait(self.watcher.gone, len(names), "deletion") - began

    def alone(self):
        """One at a time: bound already (the kubelet's own part), and placed by the scheduler."""
        count = 5 if self.quick else 25
        for node, what in (("node1", "bound already"), (None, "by way of the scheduler")):
            samples, ends = [], []
            for name in self.names(count):
                self.forget()
                began = time.monotonic()
                self.api.create(NAMESPACE, pod(name, node))
                samples.append(self.watcher.wait(self.watcher.ready, 1, name) - began)
                ends.append(self.remove([name]))
            p50, spread = median_spread(samples)
            p99 = sorted(samples)[min(len(samples) - 1, int(len(samples) * 0.99))]
            self.log(f"alone, {what}: p50 {p50:.3f} s, p99 {p99:.3f} s")
            self.rows.append(Row(f"pod create to Ready, alone, {what}, p50 of {count}", "s", p50, 1.0, KUBELET,
                                 goal="ours <= 0.6", spread=spread))
            self.rows.append(Row(f"pod create to Ready, alone, {what}, p99 of {count}", "s", p99, spread=spread))
        p50, spread = median_spread(ends)
        self.rows.append(Row("pod delete to gone, alone, p50", "s", p50, spread=spread))

    def runtime_alone(self):
        """The same by CRI without a kubelet: the floor of the figure above."""
        node = self.cluster.node
        cri = Cri(f"{node.run_dir}/containerd/containerd.sock", node.log("containerd"))
        own, samples, execs = {2: 1}, [], []
        for name in self.names(5 if self.quick else 15):
            logs = f"{node.data_dir}/pod-logs/{name}"
            os.makedirs(logs, exist_ok=True)
            config = {1: {1: name, 2: name, 3: "bench"}, 2: name, 3: logs,
                      8: {1: f"/{node.cgroup_name}/{name}", 2: {1: own}}}
            began = time.monotonic()
            sandbox = cri.call("RunPodSandbox", {1: config})[1][0].decode()
            container = cri.call("CreateContainer", {1: sandbox, 3: config, 2: {
                1: {1: "c"}, 2: {1: "localhost/busybox:1"}, 3: STAY, 11: "c.log",
                15: {2: {3: own}}}})[1][0].decode()
            cri.call("StartContainer", {1: container})
            samples.append(time.monotonic() - began)
            began = time.monotonic()
            cri.call("ExecSync", {1: container, 2: ["true"], 3: 10})
            execs.append((time.monotonic() - began) * 1000)
            cri.call("StopPodSandbox", {1: sandbox})
            cri.call("RemovePodSandbox", {1: sandbox})
        return statistics.median(samples), statistics.median(execs)

    def at_once(self):
        """Thirty together; the clients are four connections, as one would not keep two cores busy."""
        ups, downs, firsts = [], [], []
        clients = [ApiClient(self.cluster.kubeconfig, self.cluster.node.ns, self.cluster.home) for _ in range(4)]
        for client in clients:
            client.connect()
        for _ in range(1 if self.quick else 5):
            names = self.names(MANY)
            self.forget()
            began = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
                list(pool.map(lambda i, n=names: [clients[i].create(NAMESPACE, pod(name, "node1"))
                                                  for name in n[i::len(clients)]], range(len(clients))))
            ups.append(self.watcher.wait(self.watcher.ready, MANY, "thirty at once") - began)
            firsts.append(statistics.median(self.watcher.ready.values()) - began)
            time.sleep(1)
            downs.append(self.remove(names))
            self.log(f"{MANY} at once: all ready in {ups[-1]:.2f} s, gone in {downs[-1]:.2f} s")
        for name, samples, peer, goal in (
                (f"{MANY} pods at once, all ready", ups, 4.0, "ours <= 2.5"),
                (f"{MANY} pods at once, p50", firsts, 3.6, ""),
                (f"{MANY} pods deleted at once, all gone", downs, 5.7, "")):
            value, spread = median_spread(samples)
            self.rows.append(Row(name, "s", value, peer, KUBELET, goal=goal, spread=spread))

    def scale(self):
        """A Deployment from 0 to 30: controllers, scheduler, kubelet, to 30 ready pods."""
        spec = {"replicas": 0, "selector": {"matchLabels": {"app": "bench"}}, "template": {
            "metadata": {"labels": {"app": "bench"}}, "spec": pod("x")["spec"]}}
        path = "/apis/apps/v1/namespaces/default/deployments"
        self.api.create(path, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bench"},
                               "spec": spec})
        samples = []
        for _ in range(1 if self.quick else 3):
            self.forget()
            began = time.monotonic()
            self.api.merge(f"{path}/bench", {"spec": {"replicas": MANY}})
            samples.append(self.watcher.wait(self.watcher.ready, MANY, "scaling up") - began)
            self.log(f"Deployment 0 to {MANY}: {samples[-1]:.2f} s")
            if len(samples) < (1 if self.quick else 3):
                self.api.merge(f"{path}/bench", {"spec": {"replicas": 0}})
                self.watcher.wait(self.watcher.gone, MANY, "scaling down")
        value, spread = median_spread(samples)
        self.rows.append(Row(f"Deployment scaled from 0 to {MANY}, all ready", "s", value, 4.0,
                             KUBELET + ", pods alone", spread=spread))

    def idle(self):
        """With the thirty pods of scale(): memory, and CPU over a while of nothing to do."""
        seconds = 5 if self.quick else 30
        time.sleep(3)
        pids = {name: self.cluster.node.pid(name) for name in ("sluice-kubelet", "containerd", "sluice-control")}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        for name, pid in pids.items():
            used = (cpu_seconds(pid) - before[name]) / seconds * 100
            peers = {"sluice-kubelet": 84, "containerd": 65}
            self.rows.append(Row(f"{name} resident, {MANY} pods", "MB", resident_mb(pid), peers.get(name),
                                 KUBELET if name in peers else ""))
            self.rows.append(Row(f"{name} CPU idle, {MANY} pods", "%", used))

    def execs(self, runtime_ms):
        name = self.cluster.pods("app=bench")[0]["metadata"]["name"]
        samples, starts = [], []
        for _ in range(3 if self.quick else 11):
            began = time.monotonic()
            self.cluster.kubectl("version", "--client")
            starts.append((time.monotonic() - began) * 1000)
            began = time.monotonic()
            self.cluster.kubectl("exec", name, "--", "true")
            samples.append((time.monotonic() - began) * 1000)
        value, spread = median_spread(samples)
        self.rows.append(Row("kubectl exec true", "ms", value, statistics.median(starts) + runtime_ms,
                             "start of kubectl and ExecSync by CRI, added", spread=spread))

    def run(self):
        runtime_s, exec_ms = self.runtime_alone()
        self.log(f"the runtime alone: {runtime_s:.3f} s a pod, exec {exec_ms:.0f} ms")
        self.alone()
        self.rows.append(Row("pod create to Ready over the runtime alone", "s", self.rows[0].ours, runtime_s,
                             "run sandbox, create, start by CRI, in this run"))
        self.at_once()
        self.scale()
        self.idle()
        self.execs(exec_ms)
        return self.rows


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as source:
        fields = source.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as source:
        return int([line.split()[1] for line in source if line.startswith("VmRSS")][0]) / 1024


def run(log, quick=False):
    """The suite's rows; quick: fewer of everything, to see that it works."""
    bench = Bench(log, quick)
    try:
        return bench.run()
    finally:
        bench.close()
