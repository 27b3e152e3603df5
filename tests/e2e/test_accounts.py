"""Pods and what they run as: tokens of their accounts inside of them, and the Pod Security Standards."""

import base64
import json
import os

import pytest

from harness.cluster import eventually
from harness.realnode import CONTROL
from test_kubectl import control  # noqa: F401  (fixture)
from test_tokens import payload

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CALL = f"""
while :; do
    /usr/bin/curl -sS -o /dev/null -w '%{{http_code}}\\n' --cacert {ACCOUNT}/ca.crt \\
        -H "Authorization: Bearer $(cat {ACCOUNT}/token)" \\
        https://kubernetes.default.svc/api/v1/namespaces/$(cat {ACCOUNT}/namespace)/configmaps
    sleep 0.2
done
"""


def caller(name, **spec):
    """A Pod that asks the API server for its namespace's ConfigMaps again and again, with the node's curl."""
    folders = {"usr": "/usr", "lib": "/usr/lib", "lib64": "/usr/lib64"}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "image": "localhost/busybox:1", "command": ["sh", "-c", f"trap 'exit 0' TERM; {CALL}"],
            "volumeMounts": [{"name": key, "mountPath": f"/{key}", "readOnly": True} for key in folders]}],
        "volumes": [{"name": key, "hostPath": {"path": path}} for key, path in folders.items()], **spec}})


def as_bearer(cluster, token, *args):
    """kubectl with nothing but the token."""
    return cluster.kubectl(
        "--kubeconfig", os.devnull, "--server", f"https://{CONTROL}", "--certificate-authority",
        os.path.join(cluster.control_data, "pki", "ca.crt"), "--token", token, *args, check=False)


def test_a_pod_calls_the_api_as_its_account(space):
    space("create", "serviceaccount", "robot")
    space.apply(caller("caller", serviceAccountName="robot"))
    ready = space.cluster.wait_ready("caller", namespace=space.namespace)

    def last():
        lines = space("logs", "caller", "--tail=1").stdout.split()
        return lines[0] if lines else None
    eventually(lambda: last() == "403", 20, "refused without a role", 0.1)
    space("create", "rolebinding", "robots", "--clusterrole=view", f"--serviceaccount={space.namespace}:robot")
    eventually(lambda: last() == "200", 20, "allowed with one", 0.1)

    token = space.cluster.execute("caller", "cat", f"{ACCOUNT}/token", namespace=space.namespace)
    said = payload(token)
    assert said["sub"] == f"system:serviceaccount:{space.namespace}:robot"
    assert said["kubernetes.io"]["pod"] == {"name": "caller", "uid": ready["metadata"]["uid"]}
    assert said["kubernetes.io"]["node"]["name"] == space.cluster.node.name
    assert said["kubernetes.io"]["warnafter"] - said["iat"] == 3607
    assert as_bearer(space.cluster, token, "-n", space.namespace, "get", "configmaps").returncode == 0
    space("delete", "pod", "caller")
    assert "Unauthorized" in as_bearer(space.cluster, token, "-n", space.namespace, "get", "configmaps").stderr


def test_the_files_of_an_account(space):
    space.apply(caller("files", securityContext={"runAsUser": 1234, "fsGroup": 2345}))
    space.cluster.wait_ready("files", namespace=space.namespace)

    def run(*command):
        return space.cluster.execute("files", *command, namespace=space.namespace)
    assert run("cat", f"{ACCOUNT}/namespace") == space.namespace
    assert run("cat", f"{ACCOUNT}/ca.crt") == space.field("configmap", "kube-root-ca.crt", r".data.ca\.crt")
    assert run("ls", ACCOUNT).split() == ["ca.crt", "namespace", "token"]
    assert run("stat", "-L", "-c", "%a %u %g", f"{ACCOUNT}/token").split() == ["640", "1234", "2345"]
    address = run("sh", "-c", "echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT").split()
    assert address == [space.cluster.get("service", "kubernetes")["spec"]["clusterIP"], "443"]


def test_who_opts_out_has_no_files(space):
    space.apply(caller("mute", automountServiceAccountToken=False))
    space.cluster.wait_ready("mute", namespace=space.namespace)
    assert space.cluster.execute("mute", "ls", ACCOUNT, namespace=space.namespace, check=False) == ""


def test_tokens_in_secrets(space):
    api = space.cluster.api
    path = f"/api/v1/namespaces/{space.namespace}/secrets"
    space("create", "serviceaccount", "robot")
    uid = space.field("serviceaccount", "robot", ".metadata.uid")

    def make(name):
        api.create(path, {"type": "kubernetes.io/service-account-token", "metadata": {
            "name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}}})

        def look():
            secret = api.get(f"{path}/{name}")
            return secret if "token" in secret.get("data", {}) else None
        return eventually(look, 20, "the token is there")
    secret = make("long")
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == uid
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["namespace"] == space.namespace and data["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")
    said = payload(data["token"])
    assert said["sub"] == f"system:serviceaccount:{space.namespace}:robot" and "exp" not in said
    assert said["kubernetes.io/serviceaccount/secret.name"] == "long"
    assert as_bearer(space.cluster, data["token"], "get", "--raw", "/api").returncode == 0
    space("delete", "secret", "long")
    assert "Unauthorized" in as_bearer(space.cluster, data["token"], "get", "--raw", "/api").stderr
    make("other")
    space("delete", "serviceaccount", "robot")
    eventually(lambda: api.raw("GET", f"{path}/other")[0] == 404, 20, "the Secret goes with its account")


@pytest.fixture()
def guarded(control, request):  # noqa: F811
    name = "guarded"
    control.kubectl("create", "namespace", name)
    yield name
    control.kubectl("delete", "namespace", name, "--wait=false")


def test_pod_security_refuses_and_warns(control, guarded):  # noqa: F811
    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": {
        "containers": [{"name": "a", "image": "i", "securityContext": {"privileged": True}}]}}

    def create(body):
        return control.kubectl("-n", guarded, "create", "-f", "-", input=json.dumps(body), check=False)
    assert create(bare).returncode == 0
    tried = control.kubectl("label", "--dry-run=server", "namespace", guarded,
                            "pod-security.kubernetes.io/enforce=baseline")
    assert f'existing pods in namespace "{guarded}" violate the new PodSecurity enforce level "baseline:latest"' in (
        tried.stderr)
    assert "bare: privileged" in tried.stderr
    control.kubectl("label", "namespace", guarded, "pod-security.kubernetes.io/enforce=baseline",
                    "pod-security.kubernetes.io/warn=restricted")
    bare["metadata"]["name"] = "second"
    refused = create(bare)
    assert refused.returncode != 0
    assert ('pods "second" is forbidden: violates PodSecurity "baseline:latest": privileged (container "a" must not '
            'set securityContext.privileged=true)') in refused.stderr
    made = control.kubectl("-n", guarded, "create", "deployment", "web", "--image=i")
    assert 'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in made.stderr
    bad = control.kubectl("label", "--overwrite", "namespace", guarded, "pod-security.kubernetes.io/warn=strict",
                          check=False)
    assert "must be one of privileged, baseline, restricted" in bad.stderr
