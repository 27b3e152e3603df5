"""What is seen from outside of a running node, and that nothing is left when it is told to go."""

import json
import os
import subprocess

from harness.cluster import BIN, eventually, pins_in



def test_status_explain_and_cleanup(one_node):
    node = one_node.node
    created = one_node.service("web", type="NodePort")
    one_node.slices("web", node.pods[:2])
    address = created["spec"]["clusterIP"]
    eventually(lambda: node.load(address, 80, count=10)["ok"] == 10, 5, "the Service answers")

    status = json.loads(node.sluice("status", "-o", "json").stdout)
    assert status["services"] >= 4, status
    listing = json.loads(node.sluice("service", "list", "-o", "json").stdout)
    assert {"default/web:tcp", "default/web:udp"} <= {s["name"] for s in listing}
    one = node.sluice("service", "get", "default/web").stdout
    for pod in node.pods[:2]:
        assert f"{pod.v4}:8080" in one, one
    assert node.sluice("service", "get", "default/none", check=False).returncode == 1

    explained = json.loads(node.sluice("explain", node.pods[2].v4, f"{address}:80", "tcp",
                                       "-o", "json").stdout)
    assert explained["verdict"] == "translate", explained
    assert {c["address"] for c in explained["candidates"]} == {p.v4 for p in node.pods[:2]}
    refused = json.loads(node.sluice("explain", node.pods[2].v4, f"{address}:81", "tcp",
                                     "-o", "json").stdout)
    assert refused["verdict"] == "refuse", refused
    passed = json.loads(node.sluice("explain", node.pods[2].v4, "192.0.2.1:80", "tcp",
                                    "-o", "json").stdout)
    assert passed["verdict"] == "pass", passed

    # Counters move with traffic.
    def connections():
        services = json.loads(node.sluice("service", "list", "-o", "json").stdout)
        return {s["name"]: s["connections"] for s in services if s["family"] in (4, "IPv4")}
    before = connections()["default/web:tcp"]
    node.load(address, 80, count=50)
    assert connections()["default/web:tcp"] == before + 50

    assert node.stop_agent() == 0
    assert pins_in(node.bpffs), "the dataplane outlives the agent"
    assert node.load(address, 80, count=10)["ok"] == 10
    removed = node.ns.run([os.path.join(BIN, "sluice-agent"), "--cleanup", "--bpffs", node.bpffs,
                           "--cgroup-root", node.cgroup])
    assert removed.returncode == 0
    assert pins_in(node.bpffs) == []
    tree = subprocess.run(["bpftool", "cgroup", "tree", node.cgroup], capture_output=True, text=True)
    assert "sock_addr" not in tree.stdout and "connect4" not in tree.stdout, tree.stdout
    for device in ["eth0"] + [pod.device for pod in node.pods]:
        shown = node.ns.run(["bpftool", "net", "show", "dev", device]).stdout
        assert "tcx" not in shown.replace("tc:", "") and "clsact" not in shown, shown
    assert node.load(address, 80, count=1, timeout_ms=300)["ok"] == 0
    # Once more is harmless, and a new agent starts from nothing.
    node.ns.run([os.path.join(BIN, "sluice-agent"), "--cleanup", "--bpffs", node.bpffs,
                 "--cgroup-root", node.cgroup])
    node.start_agent()
    assert node.load(address, 80, count=10)["ok"] == 10
