"""Deployments and pods as people drive them: the commands of kubectl, old and new, on real containers."""

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from harness import netns
from harness.cluster import eventually
from harness.realnode import container_state, is_ready

SHELL = """
apiVersion: v1
kind: Pod
metadata: {name: shell, labels: {app: shell}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: localhost/busybox:1
    command: [sh, -c, "echo begin; echo error >&2; trap 'exit 0' TERM; while :; do sleep 0.2; done"]
  - name: two
    image: localhost/busybox:1
    command: [cat]
    stdin: true
"""

TERMINAL = (31, 97)  # rows and columns


def deployment(kube, name="web", replicas=1, image="localhost/web:1"):
    kube("create", "deployment", name, f"--image={image}", f"--replicas={replicas}")
    assert "successfully rolled out" in kube("rollout", "status", f"deployment/{name}", "--timeout=60s").stdout
    return kube.ready_pods(replicas, f"app={name}")


def test_create_scale_expose_delete(kube):
    deployment(kube, replicas=2)
    kube("expose", "deployment", "web", "--port=80", "--target-port=8080")
    address = kube.field("svc", "web", ".spec.clusterIP")
    eventually(lambda: kube.cluster.node.fetch(f"http://{address}/") == "hello from web:1", 10, "the Service answers")
    kube("scale", "deployment", "web", "--replicas=4")
    kube.ready_pods(4, "app=web")
    row = kube("get", "deployment", "web", "--no-headers").stdout.split()
    assert row[:4] == ["web", "4/4", "4", "4"]
    assert kube("get", "pods", "--no-headers").stdout.count("1/1") == 4
    kube("scale", "deployment", "web", "--current-replicas=4", "--replicas=1")
    kube.ready_pods(1, "app=web")
    kube("delete", "deployment", "web")
    eventually(lambda: not kube.cluster.pods(namespace=kube.namespace), 40, "pods gone", 0.1)


def test_wrong_image_is_refused_and_undone(kube):
    before = deployment(kube)[0]
    kube("set", "image", "deployment/web", "web=localhost/web:missing")

    def reasons():
        return {container_state(pod)[1].get("reason") for pod in kube.pods("app=web")}
    eventually(lambda: reasons() & {"ErrImagePull", "ImagePullBackOff"}, 20, "the pull fails", 0.1)
    eventually(lambda: "ImagePullBackOff" in reasons(), 30, "the kubelet backs off", 0.1)
    stuck = kube("rollout", "status", "deployment/web", "--timeout=2s", check=False)
    assert stuck.returncode != 0
    history = kube("rollout", "history", "deployment/web").stdout.split()
    assert "1" in history and "2" in history
    assert "localhost/web:missing" in kube("rollout", "history", "deployment/web", "--revision=2").stdout
    kube("rollout", "undo", "deployment/web")
    assert "successfully rolled out" in kube("rollout", "status", "deployment/web", "--timeout=30s").stdout
    assert kube.field("deployment", "web", ".spec.template.spec.containers[0].image") == "localhost/web:1"
    after = kube.ready_pods(1, "app=web")[0]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    history = kube("rollout", "history", "deployment/web").stdout.split()
    assert "3" in history and "1" not in history


def test_pause_resume_restart(kube):
    deployment(kube)

    def sets():
        return len(json.loads(kube("get", "rs", "-o", "json").stdout)["items"])
    kube("rollout", "pause", "deployment/web")
    generation = kube.field("deployment", "web", ".metadata.generation")
    kube("set", "env", "deployment/web", "PAGE=paused")
    eventually(lambda: int(kube.field("deployment", "web", ".status.observedGeneration")) > int(generation), 10,
               "the change is seen")
    assert sets() == 1
    kube("rollout", "resume", "deployment/web")
    eventually(lambda: sets() == 2, 10, "a second ReplicaSet")
    kube("rollout", "status", "deployment/web", "--timeout=60s")
    pod = kube.ready_pods(1, "app=web")[0]
    assert kube.cluster.node.fetch(f"http://{pod['status']['podIP']}:8080/") == "paused"
    kube("rollout", "restart", "deployment/web")
    kube("rollout", "status", "deployment/web", "--timeout=60s")
    assert kube.ready_pods(1, "app=web")[0]["metadata"]["uid"] != pod["metadata"]["uid"]


def test_a_deleted_pod_is_replaced(kube):
    before = deployment(kube)[0]["metadata"]["name"]
    assert "deleted" in kube("delete", "pod", before).stdout
    after = kube.ready_pods(1, "app=web")[0]["metadata"]["name"]
    assert after != before
    assert "NotFound" in kube("get", "pod", before, check=False).stderr


def test_run_with_input_and_exit_code(kube):
    result = kube("run", "once", "-i", "--rm", "--restart=Never", "--image=localhost/busybox:1", "--command", "--",
                  "sh", "-c", "read word; echo got $word", input="bread\n")
    assert "got bread" in result.stdout
    assert "NotFound" in kube("get", "pod", "once", check=False).stderr
    result = kube("run", "fails", "-i", "--rm", "--restart=Never", "--image=localhost/busybox:1", "--command", "--",
                  "sh", "-c", "read word; exit 7", input="\n", check=False)
    assert result.returncode == 7, result.stderr


def on_terminal(kube, argv, answers, timeout=30):
    """kubectl on a terminal: for each (expected, reply) waits for the one and types the other; all of its output."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL, 0, 0))
    child = subprocess.Popen(
        kube.cluster.node.ns.command([kube.binary, "-n", kube.namespace, *argv]), stdin=terminal, stdout=terminal,
        stderr=terminal, start_new_session=True, env={
            **os.environ, "HOME": kube.cluster.home, "KUBECONFIG": kube.cluster.kubeconfig, "TERM": "dumb"})
    os.close(terminal)
    output, waiting, deadline = "", list(answers), time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            if waiting and re.search(waiting[0][0], output):
                os.write(controller, waiting.pop(0)[1].encode())
            if select.select([controller], [], [], 0.1)[0]:
                try:
                    data = os.read(controller, 65536)
                except OSError:
                    break
                if not data:
                    break
                output += data.decode(errors="replace")
        assert not waiting, output
        return child.wait(10), output
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        os.close(controller)


def test_run_on_a_terminal(kube):
    code, output = on_terminal(
        kube, ["run", "term", "-it", "--rm", "--restart=Never", "--image=localhost/busybox:1", "--", "sh"],
        [(r"[#$] ", "tty && echo sum $((40 + 2))\n"), (r"sum 42", "exit\n")])
    assert code == 0 and "/dev/pts/0" in output, output


def test_exec_attach_and_their_ends(kube):
    kube.apply(SHELL)
    kube.cluster.wait_ready("shell", namespace=kube.namespace)
    result = kube("exec", "shell", "-c", "one", "--", "sh", "-c", "echo out; echo err >&2")
    assert result.stdout == "out\n" and "err" in result.stderr
    assert kube("exec", "-i", "shell", "-c", "two", "--", "wc", "-c", input="x" * 100000).stdout.strip() == "100000"
    assert kube("exec", "shell", "-c", "one", "--", "sh", "-c", "exit 3", check=False).returncode == 3
    missing = kube("exec", "shell", "-c", "one", "--", "nosuch", check=False)
    assert missing.returncode != 0 and "nosuch" in missing.stderr
    wrong = kube("exec", "shell", "-c", "three", "--", "true", check=False)
    assert wrong.returncode != 0 and "three" in wrong.stderr
    code, output = on_terminal(kube, ["exec", "-it", "shell", "-c", "one", "--", "sh"],
                               [(r"[#$] ", "stty size && exit 5\n")])
    assert code == 5 and "%d %d" % TERMINAL in output, output
    # Attached to a running program: what it is told it says.
    attached = kube.process("attach", "-i", "shell", "-c", "two", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)
    attached.stdin.write("echo this\n")
    attached.stdin.flush()
    assert attached.stdout.readline() == "echo this\n"
    attached.stdin.close()
    netns.stop(attached)


def test_logs(kube):
    kube.apply(SHELL)
    kube.cluster.wait_ready("shell", namespace=kube.namespace)
    assert sorted(kube("logs", "shell", "-c", "one").stdout.split()) == ["begin", "error"]
    assert re.match(r"\d{4}-\d\d-\d\dT\S+ ", kube("logs", "shell", "-c", "one", "--timestamps").stdout)
    assert len(kube("logs", "shell", "-c", "one", "--tail=1").stdout.splitlines()) == 1
    missing = kube("logs", "shell", "-c", "three", check=False)
    assert missing.returncode != 0 and "three" in missing.stderr
    kube.apply("""
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: "localhost/busybox:1", command: [sh, -c, "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.3; done"]}
""")
    kube.cluster.wait_pod("talker", lambda pod: pod["status"]["phase"] != "Pending", 20, kube.namespace, "started")
    # Followed to the end of the container, whether or not it had begun.
    assert kube("logs", "-f", "talker").stdout.splitlines() == [f"line {i}" for i in range(1, 7)]
    kube.cluster.wait_pod("talker", lambda pod: pod["status"]["phase"] == "Succeeded", 10, kube.namespace)
    assert kube("logs", "--tail=2", "talker").stdout.splitlines() == ["line 5", "line 6"]


def test_copy_both_ways(kube, tmp_path):
    kube.apply(SHELL)
    kube.cluster.wait_ready("shell", namespace=kube.namespace)
    data = os.urandom(3 << 20)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").write_bytes(data)
    (tmp_path / "in" / "small").write_text("small\n")
    kube("cp", "-c", "one", str(tmp_path / "in"), "shell:/tmp/there")
    seen = kube("exec", "shell", "-c", "one", "--", "sha256sum", "/tmp/there/data").stdout.split()[0]
    assert seen == hashlib.sha256(data).hexdigest()
    kube("cp", "-c", "one", "shell:/tmp/there", str(tmp_path / "out"))
    assert (tmp_path / "out" / "data").read_bytes() == data
    assert (tmp_path / "out" / "small").read_text() == "small\n"


def test_port_forward(kube):
    pod = deployment(kube)[0]["metadata"]["name"]
    kube("expose", "deployment", "web", "--port=80", "--target-port=8080")
    for target in (f"pod/{pod}", "service/web"):
        port = 8080 if target.startswith("pod") else 80
        forward = kube.process("port-forward", target, f":{port}", stdout=subprocess.PIPE, text=True)
        try:
            local = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline()).group(1)
            for _ in range(3):
                assert kube.cluster.node.fetch(f"http://127.0.0.1:{local}/") == "hello from web:1"
        finally:
            netns.stop(forward)


def test_describe_and_top(kube):
    pod = deployment(kube)[0]["metadata"]["name"]
    text = kube("describe", "pod", pod).stdout
    for pattern in (r"^Node:\s+node1/172\.30\.0\.1$", r"^Status:\s+Running$", r"^\s+Image:\s+localhost/web:1$",
                    r"Successfully assigned \S+ to node1", r"Normal\s+Started", r"^Controlled By:\s+ReplicaSet/web-"):
        assert re.search(pattern, text, re.M), (pattern, text)
    text = kube("describe", "deployment", "web").stdout
    assert re.search(r"Scaled up replica set web-\S+", text), text
    assert re.search(r"^Replicas:\s+1 desired \| 1 updated \| 1 total \| 1 available \| 0 unavailable$", text, re.M)
    text = kube("describe", "node", "node1").stdout
    assert pod in text and re.search(r"^  Ready\s+True", text, re.M), text
    top = kube("top", "pods", check=False)
    assert top.returncode != 0 and "Metrics API not available" in top.stderr


def test_replication_controller(kube):
    kube("create", "-f", "-", input="""
apiVersion: v1
kind: ReplicationController
metadata: {name: update}
spec:
  replicas: 2
  selector: {name: update}
  template:
    metadata: {labels: {name: update}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: localhost/web:1}]
""")
    pods = kube.ready_pods(2, "name=update")
    text = kube("describe", "rc", "update").stdout
    for pattern in (r"^Replicas:\s+2 current / 2 desired$", r"^Pods Status:\s+2 Running / 0 Waiting",
                    r"Created pod: " + pods[0]["metadata"]["name"]):
        assert re.search(pattern, text, re.M), (pattern, text)
    assert re.search(r"^Controlled By:\s+ReplicationController/update$",
                     kube("describe", "pod", pods[0]["metadata"]["name"]).stdout, re.M)
    for replicas in (1, 2):
        kube("scale", "rc", "update", f"--replicas={replicas}", "--timeout=40s")
        kube.ready_pods(replicas, "name=update")
    kube("delete", "rc", "update", "--grace-period=0", "--force")
    eventually(lambda: not kube.pods("name=update"), 40, "pods gone", 0.1)


def test_cordon_keeps_pods_away(kube):
    kube("cordon", "node1")
    try:
        assert "SchedulingDisabled" in kube("get", "nodes").stdout
        kube("run", "waits", "--image=localhost/web:1", "--restart=Never")
        message = kube.cluster.wait_event("waits", "FailedScheduling", namespace=kube.namespace)
        assert "0/1 nodes are available" in message and "unschedulable" in message, message
    finally:
        kube("uncordon", "node1")
    kube.cluster.wait_ready("waits", namespace=kube.namespace)


def test_each_cascade(kube):
    def left(kind):
        return kube("get", kind, "-o", "name").stdout.split()
    deployment(kube)
    kube("delete", "deployment", "web", "--cascade=orphan")
    time.sleep(1)
    sets = left("rs")
    assert len(sets) == 1 and len(left("pods")) == 1 and left("deployments") == []
    assert kube("get", *sets, "-o", "jsonpath={.metadata.ownerReferences}").stdout == ""
    kube("delete", *sets, "--cascade=foreground")
    # What is deleted in the foreground is gone only after its pods.
    assert left("pods") == [] and left("rs") == []
    deployment(kube)
    kube("delete", "deployment", "web", "--cascade=background")
    eventually(lambda: left("rs") == [] and left("pods") == [], 30, "dependents gone", 0.2)


def test_ready_condition_follows_the_service(kube):
    """The columns of `get endpoints` and of endpointslices name what is ready."""
    pod = deployment(kube)[0]
    kube("expose", "deployment", "web", "--port=80", "--target-port=8080")
    assert is_ready(pod)
    eventually(lambda: f"{pod['status']['podIP']}:8080" in kube("get", "endpoints", "web").stdout, 10, "endpoints", 0.2)
    kube("scale", "deployment", "web", "--replicas=0")
    eventually(lambda: "<none>" in kube("get", "endpoints", "web").stdout, 20, "no endpoints", 0.2)


DRAINED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, drained: "yes"}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: localhost/web:1, volumeMounts: [{name: scratch, mountPath: /scratch}]}
      volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent, drained: "yes"}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: localhost/web:1}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: web}}
"""


def test_drain_evicts_within_budgets(space):
    """On one node nobody takes the evicted Pods, so that a budget of one holds the last of two."""
    kube, node = space, space.cluster.node.name
    kube.apply(DRAINED)
    kube.ready_pods(2, "app=web")
    agent = kube.ready_pods(1, "app=agent")[0]["metadata"]["uid"]
    # Nobody counts budgets here but whoever made them.
    kube.cluster.api.merge(f"/apis/policy/v1/namespaces/{kube.namespace}/poddisruptionbudgets/web/status", {"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}})

    def drain(*more, timeout=60):
        return kube("drain", node, "--pod-selector=drained=yes", f"--timeout={timeout}s", *more, check=False,
                    timeout=timeout + 30)
    try:
        refused = drain()
        assert refused.returncode != 0
        assert "cannot delete DaemonSet-managed Pods" in refused.stderr
        assert "cannot delete Pods with local storage" in refused.stderr
        assert kube.cluster.get("node", node)["spec"]["unschedulable"] is True
        assert len(kube.ready_pods(2, "app=web")) == 2

        held = drain("--ignore-daemonsets", "--delete-emptydir-data", timeout=8)
        assert held.returncode != 0
        assert "Cannot evict pod as it would violate the pod's disruption budget." in held.stderr
        pods = kube.pods("app=web")
        assert sum(is_ready(pod) for pod in pods) == 1
        assert sum("nodeName" not in pod["spec"] for pod in pods) == 1, "the other one waits for a node"

        kube("delete", "pdb", "web")
        done = drain("--ignore-daemonsets", "--delete-emptydir-data")
        assert done.returncode == 0, done.stderr
        assert f"node/{node} " in done.stdout and ("evicted" in done.stdout or "drained" in done.stdout)
        assert not [pod for pod in kube.pods("app=web") if pod["spec"].get("nodeName")]
        assert kube.pods("app=agent")[0]["metadata"]["uid"] == agent, "a DaemonSet's Pod was not left alone"
    finally:
        kube("uncordon", node)
    kube.ready_pods(2, "app=web")
