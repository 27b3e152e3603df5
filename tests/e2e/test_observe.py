"""What the person's tools and /metrics say agrees with the traffic that was sent.

Counts are exact where a connection is counted once: by the hook that translated it, or by the flow that was opened.
"""

import json
import re
import signal
import subprocess
import sys
import urllib.parse

import pytest

from harness.cluster import BIN, OUTSIDE_V4, eventually


class Outside:
    def __init__(self, cluster):
        self.ns = cluster.outside
        self.cgroup = None


@pytest.fixture(scope="module")
def web(one_node):
    """A NodePort Service with two endpoints."""
    created = one_node.service("web", type="NodePort")
    one_node.slices("web", one_node.node.pods[:2])
    address = created["spec"]["clusterIP"]
    node_port = [p["nodePort"] for p in created["spec"]["ports"] if p["protocol"] == "TCP"][0]
    eventually(lambda: one_node.node.load(address, 80, count=1, timeout_ms=200)["ok"] == 1, 10,
               "the Service answers")
    eventually(lambda: one_node.node.load(one_node.node.address(4), node_port, where=Outside(one_node),
                                          hooked=False, count=1, timeout_ms=200)["ok"] == 1, 10,
               "the NodePort answers")
    return {"address": address, "node_port": node_port}


def show(node, *args):
    return json.loads(node.sluice(*args, "-o", "json").stdout)


def service_row(node, name="default/web:tcp", family="IPv4"):
    top = show(node, "top", "--once", "--interval", "0.2", "-n", "0")
    return [s for s in top["services"] if s["service"] == name and s["family"] == family][0]


def metrics(node):
    """{(name, frozenset of labels): value} of the agent's /metrics."""
    text = node.ns.run(["curl", "-sS", "http://127.0.0.1:10249/metrics"]).stdout
    out = {}
    for line in text.splitlines():
        found = re.fullmatch(r"([a-z0-9_]+)(?:\{(.*)\})? (\S+)", line)
        if found:
            labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            out[found[1], labels] = float(found[3])
    return out


def web_metric(node, name):
    labels = frozenset({("service", "default/web:tcp"), ("protocol", "TCP"), ("ip_family", "IPv4")})
    return metrics(node)[name, labels]


@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_connections_are_counted_once_everywhere(one_node, web, hooked):
    node = one_node.node
    before = service_row(node)
    metric_before = web_metric(node, "sluice_service_connections_total")
    result = node.load(web["address"], 80, where=node.pods[2], hooked=hooked, count=60)
    assert result["ok"] == 60, result
    after = service_row(node)
    assert after["connections"] - before["connections"] == 60
    assert web_metric(node, "sluice_service_connections_total") - metric_before == 60
    # Per endpoint: as many as each server says it was asked.
    had = {b["target"] or b["address"]: b["connections"] for b in before["backends"]}
    given = {b["address"]: b["connections"] - had[b["target"] or b["address"]] for b in after["backends"]}
    served = {pod.v4: result["servers"].get(pod.name, 0) for pod in node.pods[:2]}
    assert given == served
    packets = after["packets"] - before["packets"]
    if hooked:
        assert packets == 0, "what a hook has translated is no service's packet any more"
    else:
        # A handshake, an answer and an end: at least five packets a connection, both directions together.
        assert packets >= 60 * 5
        assert after["bytes"] - before["bytes"] >= packets * 54


def test_flows_of_a_nodeport_show_both_ends(one_node, web):
    node = one_node.node
    before = len(show(node, "flows", "--client", OUTSIDE_V4)["flows"])
    result = node.load(node.address(4), web["node_port"], where=Outside(one_node), hooked=False, count=20)
    assert result["ok"] == 20, result
    listed = show(node, "flows", "--client", OUTSIDE_V4, "--service", "default/web")
    # A port that was used again takes its flow over.
    assert before < listed["matched"] <= before + 20
    endpoints = {pod.v4 for pod in node.pods[:2]}
    for flow in listed["flows"]:
        assert flow["service"] == "default/web:tcp"
        assert flow["destination"] == node.address(4) and flow["destinationPort"] == web["node_port"]
        assert flow["backend"] in endpoints and flow["backendPort"] == 8080
        assert flow["sourceNAT"] and flow["source"] == node.address(4)
        assert flow["state"] in ("closed", "closing"), flow
        assert flow["idleSeconds"] < 30
    one = listed["flows"][0]
    told = show(node, "explain", f"{OUTSIDE_V4}:{one['clientPort']}",
                f"{node.address(4)}:{web['node_port']}", "tcp", "--from", "outside")
    assert told["flowState"] == one["state"]
    only = show(node, "flows", "--backend", one["backend"], "--client", OUTSIDE_V4)["flows"]
    assert only and {f["backend"] for f in only} == {one["backend"]}
    assert node.sluice("flows", "--client", "nobody", check=False).returncode == 2


def test_explain_says_set_source_and_probability(one_node, web):
    node = one_node.node
    told = show(node, "explain", OUTSIDE_V4, f"{node.address(4)}:{web['node_port']}", "tcp",
                "--from", "outside")
    assert (told["verdict"], told["set"], told["masquerade"]) == ("translate", "external", True)
    assert [c["share"] for c in told["candidates"]] == [0.5, 0.5]
    told = show(node, "explain", node.address(4), f"{node.address(4)}:{web['node_port']}", "tcp")
    assert (told["origin"], told["set"]) == ("node", "inside")


@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_refusals_are_counted_by_service_reason_and_metric(one_node, hooked):
    node = one_node.node
    name = "empty-hook" if hooked else "empty-tc"
    created = one_node.service(name)
    address = created["spec"]["clusterIP"]
    refused = {"connect: Connection refused": 5}
    eventually(lambda: node.load(address, 80, where=node.pods[2], hooked=True,
                                 count=1, timeout_ms=200)["errors"] == {"connect: Connection refused": 1},
               10, "refused")

    def drops():
        return {d["reason"]: d["count"] for d in show(node, "drops")}["no_endpoint"]
    reason = ("sluice_drops_total", frozenset({("reason", "no_endpoint")}))
    before, row, metric = drops(), service_row(node, f"default/{name}:tcp")["refused"], metrics(node)[reason]
    result = node.load(address, 80, where=node.pods[2], hooked=hooked, count=5)
    assert result["errors"] == refused, result
    assert drops() - before == 5
    assert service_row(node, f"default/{name}:tcp")["refused"] - row == 5
    assert metrics(node)[reason] - metric == 5
    assert f"default/{name}:tcp" in node.sluice("drops").stdout


def follow(node, *args):
    """A running follower, which has begun: its pin holds kinds that are wanted."""
    process = node.ns.popen([f"{BIN}/sluice", "--bpffs", node.bpffs, "-o", "json", *args],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wanted():
        dump = subprocess.run(["bpftool", "-j", "map", "dump", "pinned",
                               f"{node.bpffs}/sluice/state-v1/sluice_log"], capture_output=True, text=True)
        # struct sluice_log_config: until_ns, then the kinds.
        value = bytes(int(byte, 16) for byte in json.loads(dump.stdout)[0]["value"])
        return int.from_bytes(value[8:12], sys.byteorder) != 0
    eventually(wanted, 5, "the log is on")
    return process


def events_of(process):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_the_flow_log_has_each_connection(one_node, web):
    node = one_node.node
    follower = follow(node, "flows", "--follow", "--service", "default/web")
    assert node.sluice("flows", "--follow", check=False).returncode == 1, "the ring has one reader"
    node.load(web["address"], 80, where=node.pods[2], hooked=True, count=15)
    node.load(web["address"], 80, where=node.pods[2], hooked=False, count=25)
    events = events_of(follower)
    assert {e["event"] for e in events} == {"opened"}
    assert len([e for e in events if e["place"] == "socket"]) == 15
    packets = [e for e in events if e["place"] == "pod"]
    assert len(packets) == 25
    endpoints = {f"{pod.v4}:8080" for pod in node.pods[:2]}
    for event in packets:
        assert urllib.parse.urlsplit(f"//{event['client']}").hostname == node.pods[2].v4
        assert event["destination"] == f"{web['address']}:80"
        assert event["backend"] in endpoints
        assert event["service"] == "default/web:tcp"


def test_the_flow_log_works_without_the_agent_and_says_why(one_node, web):
    node = one_node.node
    assert node.stop_agent() == 0
    try:
        follower = follow(node, "drops", "--follow")
        node.load("10.96.254.253", 80, where=node.pods[2], hooked=False, count=1, timeout_ms=300)
        node.load(web["address"], 81, where=node.pods[2], hooked=True, count=3)
        events = events_of(follower)
        reasons = [e["reason"] for e in events]
        assert reasons.count("port_not_served") == 3
        assert "unallocated" in reasons
        assert service_row(node)["connections"] > 0
    finally:
        node.start_agent()
