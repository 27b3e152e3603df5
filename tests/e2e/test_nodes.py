"""Two nodes, the second by `sluice join`: pods and Services across them, and what happens when one is lost."""

import json
import re
import time

import pytest

from harness.cluster import eventually
from harness.realnode import RealCluster, condition, is_ready, wait_seconds

# Seconds; short, so that the test is. Kubernetes has 40 and 300. A kubelet renews its lease every 10.
GRACE, EVICTION = 15, 3
ARGUMENTS = {
    "control": f"--node-monitor-grace-period {GRACE}s --node-monitor-period 1s"
               f" --default-not-ready-toleration-seconds {EVICTION}"
               f" --default-unreachable-toleration-seconds {EVICTION}"}


@pytest.fixture(scope="module")
def real():
    cluster = RealCluster(nodes=2, arguments=ARGUMENTS)
    try:
        yield cluster
    finally:
        cluster.close()


SPREAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
         labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: localhost/web:1
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: 8080}]
"""


def node_condition(cluster, name):
    return condition(cluster.api.get(f"/api/v1/nodes/{name}"), "Ready")


def test_both_nodes_are_there(space):
    nodes = {node["metadata"]["name"]: node for node in space.cluster.api.get("/api/v1/nodes")["items"]}
    assert set(nodes) == {"node1", "node2"}
    ranges = [cidr for node in nodes.values() for cidr in node["spec"]["podCIDRs"]]
    assert len(set(ranges)) == 4, ranges
    for name, node in nodes.items():
        assert condition(node, "Ready") == "True"
        addresses = {(a["type"], a["address"]) for a in node["status"]["addresses"]}
        number = name[-1]
        assert {("InternalIP", f"172.30.0.{number}"), ("InternalIP", f"fd00:30::{number}"),
                ("Hostname", name)} <= addresses
    # The second speaks as itself: its credentials are those of a node.
    subject = space.cluster.nodes[1].ns.run(
        ["openssl", "x509", "-in", f"{space.cluster.nodes[1].join_dir}/kubelet-serving.crt", "-noout", "-subject"])
    assert "system:node:node2" in subject.stdout


def test_pods_and_services_across_nodes(space):
    space.apply(SPREAD)
    pods = space.ready_pods(4, "app=web")
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node1", "node2"}
    on = {node.name: [p for p in pods if p["spec"]["nodeName"] == node.name][0] for node in space.cluster.nodes}
    for node in space.cluster.nodes:
        other = on["node2" if node.name == "node1" else "node1"]
        for address in other["status"]["podIPs"]:
            ip = address["ip"]
            url = f"http://[{ip}]:8080/" if ":" in ip else f"http://{ip}:8080/"
            assert node.fetch(url) == "hello from web:1"
        for address in json.loads(space.field("svc", "web", ".spec.clusterIPs")):
            url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
            eventually(lambda u=url, n=node: n.fetch(u) == "hello from web:1", 10, f"{url} from {node.name}")
    # Containers of either node are reached by way of the API server: logs, exec, names.
    for name, pod in on.items():
        assert space("exec", pod["metadata"]["name"], "--", "hostname").stdout.strip() == pod["metadata"]["name"], name
        assert space("logs", pod["metadata"]["name"]).returncode == 0
    pod = on["node2"]["metadata"]["name"]
    eventually(lambda: space("exec", pod, "--", "wget", "-qO-", f"http://web.{space.namespace}/").stdout ==
               "hello from web:1\n", 15, "the name from the joined node", 0.3)


def measured_changes(node):
    """How often the agent has measured the time from a pod's readiness until packets follow."""
    text = node.fetch("http://127.0.0.1:10249/metrics")
    return int(re.search(r'^kubeproxy_network_programming_duration_seconds_count\{ip_family="IPv4"\} (\d+)$', text,
                         re.MULTILINE)[1])


def test_how_long_a_change_takes_is_measured_on_every_node(space):
    space.apply(SPREAD)
    old = {pod["metadata"]["name"] for pod in space.ready_pods(4, "app=web")}
    path = f"/apis/discovery.k8s.io/v1/namespaces/{space.namespace}/endpointslices"
    named = "endpoints.kubernetes.io/last-change-trigger-time"

    def settled():
        """All pods are in the slices."""
        slices = space.cluster.api.get(path)["items"]
        return [len(s["endpoints"] or []) for s in slices] == [4, 4]
    eventually(settled, 10, "four endpoints of each family")
    wait_seconds(1)
    before = {node.name: measured_changes(node) for node in space.cluster.nodes}
    space("scale", "deployment", "web", "--replicas=5")
    new = [pod for pod in space.ready_pods(5, "app=web") if pod["metadata"]["name"] not in old][0]
    ready_at = [c["lastTransitionTime"] for c in new["status"]["conditions"] if c["type"] == "Ready"]
    eventually(lambda: [s["metadata"]["annotations"][named] for s in space.cluster.api.get(path)["items"]]
               == 2 * ready_at, 10, f"both slices say {ready_at}")
    for node in space.cluster.nodes:
        eventually(lambda n=node: measured_changes(n) > before[n.name], 10, f"a measurement on {node.name}")


def test_source_addresses_are_kept_between_nodes(space):
    """A pod sees the other pod's own address, not that of a node."""
    for number in (1, 2):
        space.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: p{number}}}
spec:
  nodeName: node{number}
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: localhost/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
""")
    ready = [space.cluster.wait_ready(f"p{number}", namespace=space.namespace) for number in (1, 2)]
    server, client = ready[0]["status"]["podIP"], ready[1]["status"]["podIP"]
    listening = space.process("exec", "p1", "--", "timeout", "20", "nc", "-l", "-p", "9000", "-e", "sh", "-c",
                              "cat /proc/net/tcp /proc/net/tcp6")
    seen = eventually(lambda: space("exec", "p2", "--", "timeout", "3", "nc", server, "9000", check=False).stdout
                      or None, 15, "the connection", 0.3)
    hexadecimal = "".join(f"{int(part):02X}" for part in reversed(client.split(".")))
    assert hexadecimal in seen, (client, seen)
    listening.kill()
    listening.wait()


TOLERANT = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  tolerations: [{{key: maintenance, operator: Exists, effect: NoExecute{seconds}}}]
  containers: [{{name: web, image: "localhost/web:1"}}]
"""


def test_kubectl_taint_evicts_by_tolerations(space):
    space.apply(TOLERANT.format(name="stays", seconds=""))
    space.apply(TOLERANT.format(name="later", seconds=", tolerationSeconds: 2"))
    space.apply(TOLERANT.format(name="now", seconds="").replace("key: maintenance", "key: other"))
    for name in ("stays", "later", "now"):
        space.cluster.wait_ready(name, namespace=space.namespace)
    space("taint", "node", "node2", "maintenance=true:NoExecute")
    try:
        eventually(lambda: "now" not in names(space.pods()), 10, "what does not tolerate it leaves", 0.1)
        eventually(lambda: "later" not in names(space.pods()), 15, "what tolerates it for 2 s leaves", 0.1)
        assert names(space.pods()) == {"stays"}
    finally:
        space("taint", "node", "node2", "maintenance-")
    eventually(lambda: not space.cluster.api.get("/api/v1/nodes/node2")["spec"].get("taints"), 5, "no taint", 0.1)


def names(pods):
    return {pod["metadata"]["name"] for pod in pods}


FULL = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
apiVersion: batch/v1
kind: Job
metadata: {name: held, finalizers: [sluice.test/hold]}
spec:
  suspend: true
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "localhost/busybox:1", command: ["true"]}]
"""


def test_a_namespace_empties_itself(space):
    """With pods that run, everything that makes new ones, and something that somebody holds on to."""
    cluster = space.cluster
    cluster.kubectl("create", "namespace", "doomed")
    cluster.apply(SPREAD, namespace="doomed")
    cluster.apply(FULL, namespace="doomed")
    cluster.wait_rollout("deployment/web", namespace="doomed")
    cluster.kubectl("delete", "namespace", "doomed", "--wait=false")
    # Pods end in their time, and nobody makes new ones.
    eventually(lambda: not cluster.pods(namespace="doomed"), 30, "the pods are gone", 0.2)

    def left():
        return cluster.kubectl("-n", "doomed", "get", "-o", "name",
                               "deployments,replicasets,services,configmaps,endpointslices,jobs").stdout.split()
    eventually(lambda: left() == ["job.batch/held"], 15, "all but what is held is gone", 0.3)
    status = cluster.api.get("/api/v1/namespaces/doomed")["status"]
    assert status["phase"] == "Terminating"
    told = {c["type"]: c["message"] for c in status["conditions"] if c["status"] == "True"}
    assert "sluice.test/hold in 1" in told["NamespaceFinalizersRemaining"], told
    assert "jobs.batch has 1" in told["NamespaceContentRemaining"], told
    cluster.kubectl("-n", "doomed", "patch", "job", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    cluster.kubectl("wait", "--for=delete", "namespace/doomed", "--timeout=20s")
    for node in cluster.nodes:
        assert "doomed" not in node.ctr("containers", "ls")


def test_a_lost_node_is_forgotten_and_its_pods_move(space):
    cluster = space.cluster
    space.apply(SPREAD)
    pods = space.ready_pods(4, "app=web")
    lost = {p["status"]["podIP"] for p in pods if p["spec"]["nodeName"] == "node2"}
    assert lost
    address = space.field("svc", "web", ".spec.clusterIP")
    eventually(lambda: cluster.node.fetch(f"http://{address}/"), 10, "the Service answers")

    def endpoints():
        items = cluster.api.get(f"/apis/discovery.k8s.io/v1/namespaces/{space.namespace}/endpointslices"
                                "?labelSelector=kubernetes.io/service-name=web")["items"]
        return {a for item in items if item["addressType"] == "IPv4" for e in item.get("endpoints") or []
                if e["conditions"].get("ready") for a in e["addresses"]}
    assert lost <= endpoints()
    cluster.nodes[1].vanish()
    eventually(lambda: node_condition(cluster, "node2") == "Unknown", GRACE + 15, "node2 is seen lost")
    seen_at = time.monotonic()
    eventually(lambda: not lost & endpoints(), 5, "the Service forgets its pods")
    print(f"endpoints gone {1000 * (time.monotonic() - seen_at):.0f} ms after the node was seen lost")
    eventually(lambda: all(cluster.node.fetch(f"http://{address}/", check=False) for _ in range(20)), 5,
               "every request is answered")
    # Evicted, and replaced where there is a node left.
    eventually(lambda: len([p for p in cluster.pods("app=web", space.namespace)
                            if p["spec"].get("nodeName") == "node1" and is_ready(p)]) == 4, EVICTION + 30,
               "four ready pods on node1", 0.2)
    events = [e[1] for e in cluster.events("node2")]
    assert "NodeNotReady" in events, events
    # Back again: ready, without its taint, and without the pods that were taken from it.
    cluster.nodes[1].ns.ip("link", "set", "eth0", "up")
    cluster.nodes[1].ns.ip("addr", "replace", f"{cluster.nodes[1].v6}/64", "dev", "eth0", "nodad")
    cluster.nodes[1].ns.ip("route", "replace", "default", "via", "172.30.0.254")
    cluster.nodes[1].ns.ip("-6", "route", "replace", "default", "via", "fd00:30::254")
    cluster.nodes[1].up()
    eventually(lambda: node_condition(cluster, "node2") == "True", 30, "node2 is back")
    eventually(lambda: not cluster.api.get("/api/v1/nodes/node2")["spec"].get("taints"), 15, "no taint", 0.2)
    eventually(lambda: all(not p["metadata"].get("deletionTimestamp") for p in
                           cluster.pods("app=web", space.namespace)), 30, "what was evicted is gone", 0.2)
    wait_seconds(1)
    assert "node2" in space("get", "nodes").stdout


def test_a_node_is_taken_down_without_a_trace(space):
    node = space.cluster.nodes[1]
    space.apply("""
apiVersion: v1
kind: Pod
metadata: {name: stays}
spec:
  nodeName: node2
  containers: [{name: web, image: "localhost/web:1"}]
""")
    space.cluster.wait_ready("stays", namespace=space.namespace)
    assert node.leftovers()
    node.down()
    assert node.leftovers() == []
