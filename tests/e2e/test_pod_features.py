"""What a pod's spec may ask for, seen from inside of its containers."""

import base64
import json
import os

import pytest

from harness.cluster import BUILD, eventually
from harness.realnode import condition, container_state, is_ready
from harness.registry import Registry

FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def pod(name, spec, **more):
    """A Pod as JSON, which kubectl takes as well; its containers get the image and a command that stays."""
    for container in spec.get("containers", []) + spec.get("initContainers", []):
        container.setdefault("image", "localhost/busybox:1")
    for container in spec["containers"]:
        if container["image"].startswith("localhost/busybox") and "command" not in container:
            container["command"] = ["sh", "-c", FOREVER]
    spec.setdefault("terminationGracePeriodSeconds", 1)
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **more}, "spec": spec})


def test_init_containers_run_in_order_and_share_volumes(space):
    mount = [{"name": "shared", "mountPath": "/shared"}]
    space.apply(pod("order", {
        "initContainers": [
            {"name": "first", "command": ["sh", "-c", "sleep 0.3; echo first >>/shared/log"], "volumeMounts": mount},
            {"name": "second", "command": ["sh", "-c", "echo second >>/shared/log"], "volumeMounts": mount}],
        "containers": [{"name": "main", "volumeMounts": mount}],
        "volumes": [{"name": "shared", "emptyDir": {}}]}))
    ready = space.cluster.wait_ready("order", namespace=space.namespace)
    assert space.cluster.execute("order", "cat", "/shared/log", namespace=space.namespace) == "first\nsecond\n"
    for index in (0, 1):
        kind, details = container_state(ready, index, "initContainerStatuses")
        assert (kind, details["reason"], details["exitCode"]) == ("terminated", "Completed", 0)
    assert condition(ready, "Initialized") == "True"


def test_failing_init_container_keeps_the_pod_from_starting(space):
    space.apply(pod("stuck", {"initContainers": [{"name": "fails", "command": ["sh", "-c", "exit 4"]}],
                              "containers": [{"name": "main"}]}))
    stuck = space.cluster.wait_pod(
        "stuck", lambda p: container_state(p, 0, "initContainerStatuses")[1].get("reason") == "CrashLoopBackOff",
        namespace=space.namespace)
    assert stuck["status"]["phase"] == "Pending"
    assert container_state(stuck) == ("waiting", {"reason": "PodInitializing"})
    assert "Init:CrashLoopBackOff" in space("get", "pod", "stuck").stdout
    assert stuck["status"]["initContainerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 4


def test_environment_of_all_kinds(space):
    space("create", "configmap", "settings", "--from-literal=color=blue", "--from-literal=size=large")
    space("create", "secret", "generic", "key", "--from-literal=password=s3cret")
    space.apply(pod("env", {"containers": [{
        "name": "main", "env": [
            {"name": "PLAIN", "value": "a b"}, {"name": "JOINED", "value": "$(PLAIN)-$(NOSUCH)-$$(PLAIN)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
            {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
            {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x", "optional": True}}},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "password"}}}],
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "S_"}],
        "resources": {"limits": {"memory": "32Mi"}}}]}, labels={"tier": "front"}))
    ready = space.cluster.wait_ready("env", namespace=space.namespace)
    lines = space.cluster.execute("env", "env", namespace=space.namespace).splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    expected = {"PLAIN": "a b", "JOINED": "a b-$(NOSUCH)-$(PLAIN)", "POD": "env", "IP": ready["status"]["podIP"],
                "LABEL": "front", "LIMIT": "32", "COLOR": "blue", "PASSWORD": "s3cret", "S_color": "blue",
                "S_size": "large", "HOSTNAME": "env", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    assert {name: seen.get(name) for name in expected} == expected
    assert "ABSENT" not in seen


def test_volumes_of_all_kinds_and_their_updates(space):
    space("create", "configmap", "page", "--from-literal=index.html=one", "--from-literal=other=x")
    space("create", "secret", "generic", "key", "--from-literal=password=s3cret")
    space.apply(pod("volumes", {
        "containers": [{"name": "main", "volumeMounts": [
            {"name": "page", "mountPath": "/page"}, {"name": "some", "mountPath": "/some"},
            {"name": "key", "mountPath": "/key"}, {"name": "down", "mountPath": "/down"},
            {"name": "all", "mountPath": "/all"}, {"name": "memory", "mountPath": "/memory"},
            {"name": "host", "mountPath": "/host", "readOnly": True},
            {"name": "page", "mountPath": "/etc/one.html", "subPath": "index.html"}]}],
        "volumes": [
            {"name": "page", "configMap": {"name": "page"}},
            {"name": "some", "configMap": {"name": "page", "items": [{"key": "other", "path": "a/b", "mode": 0o400}]}},
            {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o440}},
            {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {
                "fieldPath": "metadata.labels"}}]}},
            {"name": "all", "projected": {"sources": [
                {"configMap": {"name": "page"}}, {"secret": {"name": "key"}}]}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "host", "hostPath": {"path": "/etc", "type": "Directory"}}]}, labels={"tier": "front"}))
    space.cluster.wait_ready("volumes", namespace=space.namespace)

    def inside(*command, check=True):
        return space.cluster.execute("volumes", *command, namespace=space.namespace, check=check).strip()
    assert inside("cat", "/page/index.html") == "one"
    assert inside("cat", "/etc/one.html") == "one"
    assert inside("cat", "/some/a/b") == "x" and inside("stat", "-L", "-c", "%a", "/some/a/b") == "400"
    assert inside("cat", "/key/password") == "s3cret" and inside("stat", "-L", "-c", "%a", "/key/password") == "440"
    assert inside("cat", "/down/labels") == 'tier="front"'
    assert inside("sh", "-c", "cat /all/index.html /all/password") == "ones3cret"
    assert "tmpfs" in inside("sh", "-c", "grep ' /memory ' /proc/mounts")
    assert "No space left" in inside("sh", "-c", "head -c 2000000 /dev/zero 2>&1 >/memory/big || true; "
                                     "dd if=/dev/zero of=/memory/big bs=1M count=2 2>&1 || true")
    assert inside("sh", "-c", "test -e /host/passwd && (touch /host/x 2>&1 || true)").endswith("Read-only file system")
    assert inside("sh", "-c", "touch /page/x 2>&1 || true").endswith("Read-only file system")
    # Changes arrive whole, without a restart; what is mounted by subPath stays as it was.
    space("patch", "configmap", "page", "-p", '{"data":{"index.html":"two"}}')
    space("label", "pod", "volumes", "tier=back", "--overwrite")
    eventually(lambda: inside("cat", "/page/index.html") == "two", 90, "the change of the ConfigMap", 0.5)
    eventually(lambda: inside("cat", "/down/labels") == 'tier="back"', 90, "the change of the label", 0.5)
    eventually(lambda: inside("cat", "/all/index.html") == "two", 90, "the change in the projection", 0.5)
    assert inside("cat", "/etc/one.html") == "one"
    assert space.cluster.pod("volumes", space.namespace)["status"]["containerStatuses"][0]["restartCount"] == 0


def test_probes_of_three_kinds_and_a_slow_start(space):
    space.apply(pod("probes", {"containers": [
        {"name": "http", "image": "localhost/web:1", "readinessProbe": {"httpGet": {"path": "/", "port": 8080}}},
        {"name": "tcp", "image": "localhost/web:1", "env": [{"name": "PORT", "value": "8081"}],
         "readinessProbe": {"tcpSocket": {"port": 8081}}},
        {"name": "exec", "command": ["sh", "-c", "sleep 1; touch /tmp/up; " + FOREVER],
         "startupProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 20},
         "livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1,
                           "failureThreshold": 1}}]}))
    ready = space.cluster.wait_ready("probes", namespace=space.namespace)
    assert all(status["restartCount"] == 0 and status["started"] for status in ready["status"]["containerStatuses"])
    space.cluster.execute("probes", "rm", "/tmp/up", namespace=space.namespace, container="exec")
    space.cluster.wait_pod("probes", lambda p: [
        status["restartCount"] for status in p["status"]["containerStatuses"] if status["name"] == "exec"] == [1],
        namespace=space.namespace)
    assert "Liveness probe failed" in space.cluster.wait_event("probes", "Unhealthy", namespace=space.namespace) or \
        any("Liveness probe failed" in event[2] for event in space.cluster.events("probes", space.namespace))
    assert any("failed liveness probe, will be restarted" in event[2]
               for event in space.cluster.events("probes", space.namespace))


def test_hooks_and_termination(space, tmp_path):
    path = str(tmp_path)
    space.apply(pod("hooks", {
        "terminationGracePeriodSeconds": 10,
        "containers": [{
            "name": "main",
            "command": ["sh", "-c", "trap 'echo term >>/log/log; exit 0' TERM; while :; do sleep 0.1; done"],
            "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo started >>/log/log"]}},
                          "preStop": {"exec": {"command": ["sh", "-c", "sleep 0.5; echo stopping >>/log/log"]}}},
            "volumeMounts": [{"name": "log", "mountPath": "/log"}]}],
        "volumes": [{"name": "log", "hostPath": {"path": path}}]}))
    space.cluster.wait_ready("hooks", namespace=space.namespace)
    space("delete", "pod", "hooks")
    with open(f"{path}/log") as log:
        assert log.read().split() == ["started", "stopping", "term"]
    # Who does not listen is killed when the grace period is over.
    space.apply(pod("deaf", {"terminationGracePeriodSeconds": 2, "containers": [
        {"name": "main", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]}]}))
    space.cluster.wait_ready("deaf", namespace=space.namespace)
    space("delete", "pod", "deaf", timeout=30)
    assert "NotFound" in space("get", "pod", "deaf", check=False).stderr


@pytest.mark.parametrize("policy,code,phase", [("Never", 0, "Succeeded"), ("Never", 3, "Failed"),
                                               ("OnFailure", 0, "Succeeded"), ("OnFailure", 3, None),
                                               ("Always", 0, None)])
def test_restart_policies(space, policy, code, phase):
    space.apply(pod("ends", {"restartPolicy": policy, "containers": [
        {"name": "main", "command": ["sh", "-c", f"exit {code}"]}]}))
    if phase:
        ended = space.cluster.wait_pod("ends", lambda p: p["status"]["phase"] == phase, namespace=space.namespace)
        kind, details = container_state(ended)
        assert (kind, details["exitCode"]) == ("terminated", code)
        assert details["reason"] == ("Completed" if code == 0 else "Error")
        assert ended["status"]["containerStatuses"][0]["restartCount"] == 0
    else:
        again = space.cluster.wait_pod("ends", lambda p: p["status"]["containerStatuses"][0]["restartCount"] >= 1,
                                       namespace=space.namespace)
        assert again["status"]["phase"] == "Running"


def read_cgroup(cluster, pod_object, index, v1_controller, v1_name, v2_name):
    """The file of the container's cgroup, in whichever hierarchy this machine has."""
    status = sorted(pod_object["status"]["containerStatuses"], key=lambda s: s["name"])[index]
    pid = cluster.node.container_pid(status["containerID"])
    with open(f"/proc/{pid}/cgroup") as source:
        paths = dict(line.strip().split(":", 2)[1:] for line in source)
    assert cluster.node.cgroup_name + "/kubepods" in paths.get(v1_controller, paths.get("", "")), paths
    for controllers, path in paths.items():
        if v1_controller in controllers.split(","):
            with open(f"/sys/fs/cgroup/{v1_controller}{path}/{v1_name}") as source:
                return source.read().strip()
    with open(f"/sys/fs/cgroup{paths['']}/{v2_name}") as source:
        return source.read().strip()


def test_resources_become_cgroups(space):
    space.apply(pod("limits", {"containers": [{"name": "main", "resources": {
        "requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}}]}))
    space.apply(pod("best", {"containers": [{"name": "main"}]}))
    ready = space.cluster.wait_ready("limits", namespace=space.namespace)
    assert ready["status"]["qosClass"] == "Burstable"
    assert read_cgroup(space.cluster, ready, 0, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    quota = read_cgroup(space.cluster, ready, 0, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert quota == "50000"
    assert space.cluster.wait_ready("best", namespace=space.namespace)["status"]["qosClass"] == "BestEffort"
    # More than the limit: killed by the kernel, and the status says so.
    space.apply(pod("greedy", {"restartPolicy": "Never", "containers": [{
        "name": "main", "command": ["sh", "-c", "sleep 0.2; tail /dev/zero"],
        "resources": {"limits": {"memory": "16Mi"}}}]}))
    dead = space.cluster.wait_pod("greedy", lambda p: p["status"]["phase"] == "Failed", namespace=space.namespace)
    kind, details = container_state(dead)
    assert (kind, details["reason"], details["exitCode"]) == ("terminated", "OOMKilled", 137)


def test_security_context_and_pod_fields(space):
    space.apply(pod("fields", {
        "hostname": "box", "subdomain": "sub", "hostAliases": [{"ip": "10.9.9.9", "hostnames": ["other.host"]}],
        "securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000},
        "containers": [{"name": "main", "workingDir": "/tmp", "securityContext": {"readOnlyRootFilesystem": True},
                        "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}]}))
    space.cluster.wait_ready("fields", namespace=space.namespace)
    script = ("id -u; id -g; id -G; pwd; hostname; touch /x 2>&1; stat -c %g /v; "
              "grep other.host /etc/hosts | tr '\\t' ' '")
    lines = space.cluster.execute("fields", "sh", "-c", script, namespace=space.namespace).splitlines()
    assert lines[:2] == ["1000", "2000"] and "3000" in lines[2].split()
    assert lines[3:5] == ["/tmp", "box"] and "Read-only" in lines[5] and lines[6] == "3000"
    assert lines[7].startswith("10.9.9.9")


def test_names_from_pods(space):
    space.apply(pod("server", {"containers": [{"name": "web", "image": "localhost/web:1"}]}, labels={"app": "server"}))
    space.apply(pod("asker", {"containers": [{"name": "main"}]}))
    space.apply("""
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
""")
    for name in ("server", "asker"):
        space.cluster.wait_ready(name, namespace=space.namespace)
    for name in ("web", f"web.{space.namespace}", f"web.{space.namespace}.svc.cluster.local"):
        eventually(lambda n=name: space.cluster.execute(
            "asker", "timeout", "5", "wget", "-qO-", f"http://{n}/",
            namespace=space.namespace) == "hello from web:1\n", 15, f"{name} answers", 0.3)
    resolv = space.cluster.execute("asker", "cat", "/etc/resolv.conf", namespace=space.namespace)
    assert "nameserver 10.96.0.10" in resolv and f"search {space.namespace}.svc.cluster.local" in resolv
    assert "ndots:5" in resolv
    code = "nslookup kubernetes.default.svc.cluster.local | grep -c 10.96.0.1"
    assert space.cluster.execute("asker", "sh", "-c", code, namespace=space.namespace).strip() != "0"


def test_http_through_the_api_server(space):
    """pods/, services/ and nodes/NAME/proxy, as `kubectl get --raw` and `kubectl proxy` use them."""
    container = {"name": "main", "image": "localhost/web:1", "ports": [{"containerPort": 8080}]}
    space.apply(pod("web", {"containers": [container]}, labels={"app": "web"}))
    ready = space.cluster.wait_ready("web", namespace=space.namespace)
    direct = space.cluster.node.fetch(f"http://{ready['status']['podIP']}:8080/")
    base = f"/api/v1/namespaces/{space.namespace}"

    def raw(path, **more):
        return space("get", "--raw", path, **more)
    for name in ("web", "web:8080", "http:web:8080"):
        assert raw(f"{base}/pods/{name}/proxy/").stdout.strip() == direct
    space("expose", "pod", "web", "--port=80", "--target-port=8080")
    for name in ("web", "web:80", ":web:80"):
        path = f"{base}/services/{name}/proxy/"
        eventually(lambda path=path: raw(path, check=False).stdout.strip() == direct, 10, path, 0.2)
    assert raw(f"/api/v1/nodes/{ready['spec']['nodeName']}/proxy/healthz").stdout == "ok"
    refused = raw(f"{base}/services/web:81/proxy/", check=False)
    assert refused.returncode != 0 and 'no service port 81 found for service "web"' in refused.stderr
    refused = raw(f"{base}/pods/web:9/proxy/", check=False)
    assert refused.returncode != 0 and "(ServiceUnavailable)" in refused.stderr


def test_daemonset_and_job(space):
    space.apply("""
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec:
      containers: [{name: web, image: "localhost/web:1"}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "localhost/busybox:1", command: [sh, -c, "echo $((40 + 2))"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: fails}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "localhost/busybox:1", command: ["false"]}]
""")
    space("rollout", "status", "daemonset/each", "--timeout=30s")
    assert space.ready_pods(1, "app=each")[0]["spec"]["nodeName"] == "node1"
    space("wait", "--for=condition=Complete", "job/sum", "--timeout=40s", timeout=50)
    assert space.field("job", "sum", ".status.succeeded") == "3"
    assert space("logs", "job/sum").stdout.strip() == "42"
    space("wait", "--for=condition=Failed", "job/fails", "--timeout=40s", timeout=50)
    assert space.field("job", "fails", ".status.conditions[?(@.type=='Failed')].reason") == "BackoffLimitExceeded"


def test_pulls_with_and_without_secrets(space):
    cluster = space.cluster
    folder = f"{cluster.node.run_dir}/containerd/registries"
    registry = Registry(cluster.node.ns, "127.0.0.1", 5000, "tester", "secret word")
    try:
        registry.trust(folder)
        reference = registry.push(os.path.join(BUILD, "images", "web-2.tar"), "shop/web", "9")
        spec = {"containers": [{"name": "web", "image": reference, "imagePullPolicy": "Always"}]}
        space.apply(pod("without", json.loads(json.dumps(spec))))
        failed = cluster.wait_pod("without", lambda p: container_state(p)[1].get("reason") == "ErrImagePull",
                                  namespace=space.namespace)
        assert "401 Unauthorized" in container_state(failed)[1]["message"]
        auth = base64.b64encode(b"tester:secret word").decode()
        space.apply(json.dumps({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps({"auths": {registry.name: {"auth": auth}}})}}))
        space.apply(pod("with", {**spec, "imagePullSecrets": [{"name": "pull"}]}))
        ready = cluster.wait_ready("with", namespace=space.namespace)
        assert cluster.node.fetch(f"http://{ready['status']['podIP']}:8080/") == "hello from web:2"
        assert f"Successfully pulled image \"{reference}\"" in cluster.wait_event("with", "Pulled",
                                                                               namespace=space.namespace)
        assert is_ready(ready)
    finally:
        registry.close()
