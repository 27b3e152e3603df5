"""What clients of a Service see while its pods come, go, fail and never become ready: nothing."""

import os
import signal

from harness.cluster import eventually
from harness.realnode import container_state, is_ready, stop_load, wait_seconds

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: localhost/web:1
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {exec: {command: [sleep, "2"]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: http}]
"""


def service_url(space, name="web", family=0):
    address = space.field("svc", name, f".spec.clusterIPs[{family}]")
    return f"http://[{address}]/" if ":" in address else f"http://{address}/"


def test_rolling_update_under_load_fails_no_request(space):
    space.apply(WEB)
    space("rollout", "status", "deployment/web", "--timeout=60s")
    node = space.cluster.node
    eventually(lambda: node.fetch(service_url(space)), 10, "the Service answers")
    loads = [node.http_load(service_url(space), 200), node.http_load(service_url(space, family=1), 20)]
    space("set", "image", "deployment/web", "web=localhost/web:2")
    space("rollout", "status", "deployment/web", "--timeout=60s")
    space("scale", "deployment", "web", "--replicas=5")
    space("rollout", "undo", "deployment/web")
    space("rollout", "status", "deployment/web", "--timeout=60s")
    space("scale", "deployment", "web", "--replicas=1")
    space.ready_pods(1, "app=web")
    wait_seconds(1)
    for account in map(stop_load, loads):
        print(account)
        assert account["failed"] == 0, account
        assert set(account["pages"]) == {"hello from web:1", "hello from web:2"}, account
        assert account["requests"] > 40, account


def pod_yaml(name, page, more=""):
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: mixed}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: localhost/web:1
    env: [{{name: PAGE, value: {page}}}]
{more}"""


def test_what_is_not_ready_gets_no_traffic(space):
    space.apply(pod_yaml("good", "good"))
    space.apply(pod_yaml("never", "never", """
    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}
"""))
    space.apply("""
apiVersion: v1
kind: Service
metadata: {name: mixed}
spec: {selector: {app: mixed}, ports: [{port: 80, targetPort: 8080}]}
""")
    cluster, node = space.cluster, space.cluster.node
    cluster.wait_ready("good", namespace=space.namespace)
    cluster.wait_pod("never", lambda pod: container_state(pod)[0] == "running", namespace=space.namespace)
    assert "Readiness probe failed" in cluster.wait_event("never", "Unhealthy", namespace=space.namespace)
    url = service_url(space, "mixed")
    eventually(lambda: node.fetch(url) == "good", 10, "the Service answers")
    assert {node.fetch(url) for _ in range(40)} == {"good"}
    # It does as soon as its probe succeeds, and not any more when it fails again.
    cluster.execute("never", "touch", "/tmp/ready", namespace=space.namespace)
    eventually(lambda: {node.fetch(url) for _ in range(10)} == {"good", "never"}, 15, "both get traffic")
    cluster.execute("never", "rm", "/tmp/ready", namespace=space.namespace)
    cluster.wait_pod("never", lambda pod: not is_ready(pod), namespace=space.namespace)
    eventually(lambda: {node.fetch(url) for _ in range(40)} == {"good"}, 5, "the other gets none")


def test_killed_container_restarts_with_back_off(space):
    space.apply(pod_yaml("good", "good") + "---" + pod_yaml("victim", "victim"))
    space.apply("""
apiVersion: v1
kind: Service
metadata: {name: mixed}
spec: {selector: {app: mixed}, ports: [{port: 80, targetPort: 8080}]}
""")
    cluster, node = space.cluster, space.cluster.node
    for name in ("good", "victim"):
        cluster.wait_ready(name, namespace=space.namespace)
    url = service_url(space, "mixed")
    eventually(lambda: {node.fetch(url) for _ in range(10)} == {"good", "victim"}, 10, "both answer")

    def kill():
        status = cluster.pod("victim", space.namespace)["status"]["containerStatuses"][0]
        os.kill(node.container_pid(status["containerID"]), signal.SIGKILL)
        return status["restartCount"]

    # The first death is answered with an immediate start, further ones with a wait that doubles.
    assert kill() == 0
    pod = cluster.wait_pod("victim", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1 and is_ready(p),
                           namespace=space.namespace)
    last = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (137, "Error"), last
    kill()
    pod = cluster.wait_pod("victim", lambda p: container_state(p)[1].get("reason") == "CrashLoopBackOff",
                           namespace=space.namespace)
    assert "back-off 10s restarting failed container=web pod=victim_" in container_state(pod)[1]["message"]
    assert not is_ready(pod)
    assert "Back-off restarting failed container web in pod victim_" in cluster.wait_event(
        "victim", "BackOff", namespace=space.namespace)
    eventually(lambda: {node.fetch(url) for _ in range(20)} == {"good"}, 5, "the other answers alone")
    cluster.wait_pod("victim", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 2 and is_ready(p), 30,
                     space.namespace)
    eventually(lambda: {node.fetch(url) for _ in range(20)} == {"good", "victim"}, 10, "both answer again")
    assert space("logs", "victim", "--previous").returncode == 0
