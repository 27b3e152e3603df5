"""Pods that cannot run: the status, reason, message and event that Kubernetes gives, and nothing stuck afterwards."""

import json

import pytest

from harness.cluster import eventually
from harness.realnode import condition, container_state, is_ready


def pod(name, container=None, **spec):
    main = {"name": "main", "image": "localhost/busybox:1", "command": ["sleep", "1000"], **(container or {})}
    main = {key: value for key, value in main.items() if value is not None}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                       "spec": {"terminationGracePeriodSeconds": 1, "containers": [main], **spec}})


def waiting(reason):
    return lambda p: container_state(p) == ("waiting", container_state(p)[1]) and \
        container_state(p)[1].get("reason") == reason


def gone(space, name):
    """It can be deleted like any other."""
    space("delete", "pod", name, "--timeout=20s", timeout=30)
    assert "NotFound" in space("get", "pod", name, check=False).stderr


def test_unknown_image(space):
    space.apply(pod("bad", {"image": "localhost/nosuch:1"}))
    failed = space.cluster.wait_pod("bad", waiting("ErrImagePull"), namespace=space.namespace)
    assert failed["status"]["phase"] == "Pending" and not is_ready(failed)
    assert "localhost/nosuch:1" in container_state(failed)[1]["message"]
    later = space.cluster.wait_pod("bad", waiting("ImagePullBackOff"), namespace=space.namespace)
    assert container_state(later)[1]["message"].startswith('Back-off pulling image "localhost/nosuch:1"')
    assert 'Failed to pull image "localhost/nosuch:1"' in space.cluster.wait_event(
        "bad", "Failed", namespace=space.namespace)
    assert 'Back-off pulling image "localhost/nosuch:1"' in space.cluster.wait_event(
        "bad", "BackOff", namespace=space.namespace)
    gone(space, "bad")


def test_image_that_must_not_be_pulled_and_a_name_that_is_none(space):
    space.apply(pod("never", {"image": "localhost/nosuch:1", "imagePullPolicy": "Never"}))
    failed = space.cluster.wait_pod("never", waiting("ErrImageNeverPull"), namespace=space.namespace)
    assert container_state(failed)[1]["message"] == \
        'Container image "localhost/nosuch:1" is not present with pull policy of Never'
    space.apply(pod("name", {"image": "Not A Name"}))
    failed = space.cluster.wait_pod("name", waiting("InvalidImageName"), namespace=space.namespace)
    assert "Not A Name" in container_state(failed)[1]["message"]
    assert "couldn't parse image" in space.cluster.wait_event("name", "InspectFailed", namespace=space.namespace)


def test_more_than_any_node_has(space):
    space.apply(pod("huge", {"resources": {"requests": {"cpu": "1000", "memory": "100Ti"}}}))
    message = space.cluster.wait_event("huge", "FailedScheduling", namespace=space.namespace)
    assert message.startswith("0/1 nodes are available: ")
    assert "1 Insufficient cpu" in message and "1 Insufficient memory" in message
    # Told twice, in no certain order.
    pending = space.cluster.wait_pod("huge", lambda pod: condition(pod, "PodScheduled") == "False",
                                     namespace=space.namespace)
    assert pending["status"]["phase"] == "Pending"
    entry = [c for c in pending["status"]["conditions"] if c["type"] == "PodScheduled"][0]
    assert entry["reason"] == "Unschedulable"
    gone(space, "huge")


def test_more_than_the_node_has_when_it_was_bound_by_hand(space):
    space.apply(pod("forced", {"resources": {"requests": {"cpu": "1000"}}}, nodeName="node1"))
    failed = space.cluster.wait_pod("forced", lambda p: p["status"]["phase"] == "Failed", namespace=space.namespace)
    assert failed["status"]["reason"] == "OutOfcpu"
    assert "Node didn't have enough resource: cpu" in failed["status"]["message"]


def test_node_selector_that_nobody_has(space):
    space.apply(pod("nowhere", nodeSelector={"disk": "golden"}))
    assert "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector" in space.cluster.wait_event(
        "nowhere", "FailedScheduling", namespace=space.namespace)
    space("label", "node", "node1", "disk=golden")
    try:
        space.cluster.wait_ready("nowhere", namespace=space.namespace)
    finally:
        space("label", "node", "node1", "disk-")


@pytest.mark.parametrize("volume,said", [
    ({"configMap": {"name": "nosuch"}}, 'configmap "nosuch" not found'),
    ({"secret": {"secretName": "nosuch"}}, 'secret "nosuch" not found'),
    ({"hostPath": {"path": "/no/such/folder", "type": "Directory"}},
     "hostPath type check failed: /no/such/folder is not a directory")], ids=["configmap", "secret", "hostpath"])
def test_wrong_volume(space, volume, said):
    space.apply(pod("bad", {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v", **volume}]))
    message = space.cluster.wait_event("bad", "FailedMount", namespace=space.namespace)
    assert message.startswith('MountVolume.SetUp failed for volume "v" : ') and said in message
    stuck = space.cluster.wait_pod("bad", waiting("ContainerCreating"), namespace=space.namespace)
    assert stuck["status"]["phase"] == "Pending"
    gone(space, "bad")


def test_missing_config_map_in_the_environment_heals(space):
    space.apply(pod("bad", {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]}))
    failed = space.cluster.wait_pod("bad", waiting("CreateContainerConfigError"), namespace=space.namespace)
    assert container_state(failed)[1]["message"] == 'configmap "late" not found'
    space("create", "configmap", "late", "--from-literal=b=1")
    eventually(lambda: "couldn't find key a in ConfigMap" in container_state(
        space.cluster.pod("bad", space.namespace))[1].get("message", ""), 40, "the key is missing", 0.2)
    space("patch", "configmap", "late", "-p", '{"data":{"a":"2"}}')
    space.cluster.wait_ready("bad", 40, space.namespace)
    assert space.cluster.execute("bad", "sh", "-c", "echo $A", namespace=space.namespace) == "2\n"


def test_wrong_command(space):
    space.apply(pod("bad", {"command": ["/no/such/program"]}, restartPolicy="Never"))
    failed = space.cluster.wait_pod("bad", lambda p: p["status"]["phase"] == "Failed", namespace=space.namespace)
    kind, details = container_state(failed)
    assert (kind, details["reason"]) == ("terminated", "StartError") and details["exitCode"] == 128
    assert "/no/such/program" in details["message"]
    space.apply(pod("loops", {"command": ["/no/such/program"]}))
    failed = space.cluster.wait_pod("loops", lambda p: p["status"]["containerStatuses"][0].get("lastState", {}).get(
        "terminated", {}).get("reason") == "StartError", namespace=space.namespace)
    assert container_state(failed)[1].get("reason") in ("CrashLoopBackOff", "RunContainerError")
    assert "/no/such/program" in space.cluster.wait_event("loops", "Failed", namespace=space.namespace)


def test_bad_probe_never_becomes_ready(space):
    space.apply(pod("bad", {"image": "localhost/web:1", "command": None, "readinessProbe": {
        "httpGet": {"path": "/nosuch", "port": 8080}, "periodSeconds": 1}}))
    assert "Readiness probe failed: HTTP probe failed with statuscode: 404" == space.cluster.wait_event(
        "bad", "Unhealthy", namespace=space.namespace)
    running = space.cluster.wait_pod("bad", lambda p: container_state(p)[0] == "running", namespace=space.namespace)
    assert not is_ready(running) and condition(running, "ContainersReady") == "False"
    entry = [c for c in running["status"]["conditions"] if c["type"] == "Ready"][0]
    assert (entry["reason"], entry["message"]) == (
        "ContainersNotReady", "containers with unready status: [main]")


def test_failing_hook(space):
    space.apply(pod("bad", {"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "exit 9"]}}}}))
    space.cluster.wait_event("bad", "FailedPostStartHook", namespace=space.namespace)
    space.cluster.wait_pod("bad", lambda p: container_state(p)[1].get("reason") in (
        "PostStartHookError", "CrashLoopBackOff"), namespace=space.namespace)
    gone(space, "bad")


def test_what_the_api_refuses(space):
    for change, said in (
            ({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
             "must be less than or equal to cpu limit"),
            ({"image": ""}, "spec.containers[0].image: Required value"),
            ({"name": "Not_A_Label"}, "spec.containers[0].name: Invalid value"),
            ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
             'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
            ({"readinessProbe": {"periodSeconds": 1}}, "must specify a handler type")):
        result = space("apply", "-f", "-", input=pod("bad", change), check=False)
        assert result.returncode != 0 and said in result.stderr, (change, result.stderr)


def test_deadline(space):
    space.apply(pod("late", activeDeadlineSeconds=1))
    failed = space.cluster.wait_pod("late", lambda p: p["status"]["phase"] == "Failed", namespace=space.namespace)
    assert failed["status"]["reason"] == "DeadlineExceeded"
    assert failed["status"]["message"] == "Pod was active on the node longer than the specified deadline"
