"""The scale suite: 50,000 Services with 250,000 endpoints on a node, a flood, changes at full rate under traffic."""

import json
import signal
import subprocess
import threading
import time

import waiting
from harness import cluster as harness
from rows import Row, median_spread

from scale import node
from scale.node import ScaleNode

LOAD_ADDRESS, FLIP_ADDRESS, SINK_ADDRESS = "10.96.255.1", "10.96.255.2", "203.0.113.80"
LONGEST_FLOOD_S = 900
TCP = [{"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"}]


class Suite:
    def __init__(self, log, services, floods, flows, changes):
        self.log, self.services = log, services
        self.floods, self.flows, self.changes = floods, flows, changes
        self.rows = []
        self.scale = ScaleNode(log)
        self.node = self.scale.node

    def close(self):
        self.scale.close()

    def fill(self):
        scale = self.scale
        scale.service("load", LOAD_ADDRESS, [scale.a, scale.b], TCP)
        scale.service("flip", FLIP_ADDRESS, [], TCP)
        # Policy Local keeps the clients' addresses: every SYN is a flow of its own, and not short of a source port.
        scale.api.create(node.SERVICES, {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "sink"},
            "spec": {"type": "NodePort", "clusterIP": "10.96.255.4", "externalTrafficPolicy": "Local",
                     "externalIPs": [SINK_ADDRESS], "ports": TCP}})
        body = node.slice_body("sink", [scale.sink.v4], TCP)
        body["endpoints"][0]["nodeName"] = self.node.name
        scale.api.create(node.SLICES, body)
        scale.fill(self.services, 5, TCP)

    def size(self):
        return f"{self.services} services x 5 endpoints"

    def start(self):
        """Agent start until every service port is in force; the list comes from the same two cores."""
        samples = []
        for _ in range(3):
            if self.node.agent:
                self.node.stop_agent()
            self.node.ns.run(self.node.agent_command("--cleanup"))
            began = time.monotonic()
            self.node.start_agent(wait=False)
            self.wait(LOAD_ADDRESS, True)
            samples.append(time.monotonic() - began)
            in_force = self.scale.status()["services"]
            if in_force < self.services:
                raise RuntimeError(f"only {in_force} of {self.services} service ports are in force")
            self.node.wait_agent()
        ours, spread = median_spread(samples)
        self.rows.append(Row(f"agent start until {self.size()} are in force", "s", ours, spread=spread))

    def wait(self, address, want_up, client=None):
        """When (monotonic) connects to address began to succeed, or to be refused."""
        return waiting.time_of_change(client or self.scale.client, address, want_up, within=60, attempt_s=0.05)

    def one_change(self):
        samples = []
        self.wait(FLIP_ADDRESS, False)
        for i in range(100):
            want_up, seen = i % 2 == 0, {}
            watcher = threading.Thread(
                target=lambda up=want_up: seen.update(at=self.wait(FLIP_ADDRESS, up)))
            watcher.start()
            time.sleep(0.2)
            self.scale.endpoints("flip", [self.scale.a] if want_up else [], TCP)
            returned = time.monotonic()
            watcher.join()
            samples.append(max(0.0, seen["at"] - returned) * 1000)
        ours, spread = median_spread(samples)
        worst = sorted(samples)[98]
        self.rows.append(Row(f"one endpoint change in force after the API call, {self.size()}", "ms", ours,
                             spread=spread))
        self.rows.append(Row("the same, 99th percentile", "ms", worst, 3300, "kube-proxy, 10,000 services, median",
                             goal="ours <= 5"))

    def memory(self):
        self.rows.append(Row(f"kernel memory of all tables, {self.size()}", "MB",
                             self.scale.kernel_megabytes(), goal="ours <= 256"))
        self.rows.append(Row(f"agent resident memory, {self.size()}", "MB", self.scale.resident_megabytes(),
                             210, "kube-proxy, 10,000 services", goal="ours <= 150"))

    def kept(self, seconds):
        """Live connections through tc, asked in turn; returns the process once all are there."""
        client = self.scale.client
        child = client.ns.popen([harness.TESTPEER, "flows", LOAD_ADDRESS, 80, "--count", self.flows,
                                 "--seconds", seconds, "--pause-us", 100], stdout=subprocess.PIPE, text=True)
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError("the live connections did not come about")
        return child

    def flood(self):
        outside = self.scale.cluster.outside
        mac = self.node.ns.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip()
        child = self.kept(LONGEST_FLOOD_S)
        before = self.scale.drops()
        sent = json.loads(outside.run(
            [harness.TESTPEER, "flood", SINK_ADDRESS, 80, "--device", "eth0", "--mac", mac, "--count",
             self.floods], timeout=LONGEST_FLOOD_S).stdout)
        # They were asked for as long as it lasted, however slow it was, and are asked once more after it.
        child.send_signal(signal.SIGINT)
        result = json.loads(child.communicate(timeout=600)[0])
        after = self.scale.drops()
        told = {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)}
        self.log(f"flood: {sent}; {result}; drops {told}")
        kept = 100 * (result["flows"] - result["lost"]) / result["flows"]
        self.rows.append(Row(f"live connections kept in a flood of {self.floods} SYNs", "%", kept,
                             goal="ours >= 99.9", met=kept >= 99.9))
        self.rows.append(Row("the flood's rate", "SYN/s", sent["per_second"]))

    def full_rate_changes(self):
        scale = self.scale
        child = self.kept(self.changes / 100)
        # Of two pods: to the kernel of one, a connection that the hook leads to an endpoint and one to the Service's
        # address may have the same port, and tc would make them the same connection.
        loads = [self.node.load_process(LOAD_ADDRESS, 80, where=where, hooked=hooked,
                                        seconds=self.changes / 150, timeout_ms=3000)
                 for where, hooked in ((scale.hooked, True), (scale.client, False))]
        began = time.monotonic()
        for i in range(self.changes):
            scale.endpoints("load", ([scale.a], [scale.a, scale.b], [scale.b])[i % 3], TCP)
        rate = self.changes / (time.monotonic() - began)
        results = [json.loads(load.communicate(timeout=120)[0]) for load in loads]
        kept = json.loads(child.communicate(timeout=120)[0])
        self.log(f"changes: {rate:.0f}/s; {kept}; {results}")
        failed = kept["lost"] + sum(r["failed"] + r["wrong_peer"] for r in results)
        self.rows.append(Row(f"failures in {self.changes} endpoint changes at full rate, {kept['flows']} live "
                             f"connections and {sum(r['ok'] for r in results)} new ones", "", failed,
                             goal="ours <= 0", met=failed == 0))
        self.rows.append(Row("the rate of changes", "1/s", rate))

    def run(self):
        self.fill()
        self.start()
        self.one_change()
        self.memory()
        self.flood()
        self.full_rate_changes()
        return self.rows


def run(log, quick=False):
    """The suite's rows; quick: a small run, to see that it works."""
    suite = (Suite(log, 200, 100_000, 100, 50) if quick else Suite(log, 50_000, 10_000_000, 5_000, 1_000))
    try:
        return suite.run()
    finally:
        suite.close()
