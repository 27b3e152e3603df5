"""Each program of a node killed under traffic: no connection fails, no container ends, and the state converges."""

import signal

import pytest

from harness.cluster import eventually
from harness.realnode import stop_load, wait_seconds

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: localhost/web:1
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        livenessProbe: {exec: {command: ["true"]}, periodSeconds: 2}
        lifecycle: {preStop: {exec: {command: [sleep, "2"]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


@pytest.fixture()
def web(space):
    space.apply(WEB)
    space.ready_pods(3, "app=web")
    space.url = f"http://{space.field('svc', 'web', '.spec.clusterIP')}/"
    eventually(lambda: space.cluster.node.fetch(space.url), 10, "the Service answers")
    return space


def containers(space):
    """(pod's uid, container's id, restarts) of the Deployment's pods."""
    return {(p["metadata"]["uid"], s["containerID"], s["restartCount"]) for p in space.pods("app=web")
            for s in p["status"]["containerStatuses"]}


@pytest.mark.parametrize("program", ["sluice-kubelet", "sluice-agent", "sluice-control", "containerd"])
def test_killed_under_traffic(web, program):
    node = web.cluster.node
    before = containers(web)
    pids = {cid: node.container_pid(cid) for _, cid, _ in before}
    assert all(pids.values())
    load = node.http_load(web.url, 200)
    wait_seconds(1)
    node.kill(program, signal.SIGKILL)
    # Without it for a while: traffic needs none of them.
    wait_seconds(2)
    node.up()
    wait_seconds(2)
    account = stop_load(load)
    print(program, account)
    assert account["failed"] == 0, account
    assert account["requests"] > 500, account
    # The same containers run, and nobody counted a restart.
    web.ready_pods(3, "app=web")
    assert containers(web) == before
    assert {cid: node.container_pid(cid) for _, cid, _ in before} == pids
    # What was asked for afterwards is done.
    web("scale", "deployment", "web", "--replicas=4")
    web.ready_pods(4, "app=web")
    web("scale", "deployment", "web", "--replicas=2")
    web.ready_pods(2, "app=web")
    web("exec", web.pods("app=web")[0]["metadata"]["name"], "--", "true")


def test_changes_while_the_kubelet_was_away(web):
    """A container that died, a pod that was deleted and one that was wanted: all seen to when it is back."""
    cluster, node = web.cluster, web.cluster.node
    pods = web.pods("app=web")
    node.kill("sluice-kubelet")
    victim = pods[0]["status"]["containerStatuses"][0]
    node.ns.run(["kill", "-KILL", str(node.container_pid(victim["containerID"]))])
    web("delete", "pod", pods[1]["metadata"]["name"], "--wait=false")
    web("scale", "deployment", "web", "--replicas=4")
    node.up()
    web.ready_pods(4, "app=web")
    restarted = cluster.pod(pods[0]["metadata"]["name"], web.namespace)["status"]["containerStatuses"][0]
    assert restarted["restartCount"] == 1
    assert restarted["lastState"]["terminated"]["exitCode"] == 137
    eventually(lambda: pods[1]["metadata"]["uid"] not in {
        p["metadata"]["uid"] for p in cluster.pods(namespace=web.namespace)}, 15, "the deleted pod is gone")
    eventually(lambda: node.container_pid(pods[1]["status"]["containerStatuses"][0]["containerID"]) is None, 15,
               "the deleted pod's container is gone")


def test_all_killed_at_once(web):
    node = web.cluster.node
    before = containers(web)
    load = node.http_load(web.url, 200)
    for program in ("sluice-control", "sluice-kubelet", "sluice-agent", "containerd"):
        node.kill(program)
    wait_seconds(1)
    node.up()
    wait_seconds(1)
    account = stop_load(load)
    assert account["failed"] == 0, account
    web.ready_pods(3, "app=web")
    assert containers(web) == before
