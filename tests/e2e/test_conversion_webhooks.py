"""Custom resources whose versions a webhook converts.

One control plane and one webhook, which is a Service with an address in the same namespace. The cases are those of
Kubernetes' conformance suite (CustomResourceConversionWebhook), and what a webhook that fails does to its users.
"""

import base64
import json
import re
import signal

import pytest

from harness import cluster as harness
from harness import netns, outside

SERVICE_IP = "10.96.0.78"
PORT = 18444
GROUP = "stable.example.com"
NAME = f"e2es.{GROUP}"


def converted(item, version):
    """hostPort "a:b" of v1 is host "a" and port "b" of v2."""
    out = {**item, "apiVersion": version}
    if version.endswith("/v2") and "hostPort" in out:
        out["host"], out["port"] = out.pop("hostPort").split(":")
    elif version.endswith("/v1") and "host" in out:
        out["hostPort"] = f"{out.pop('host')}:{out.pop('port')}"
    return out


class Hook(outside.Answers):
    seen = []

    def do_POST(self):
        review = self.body()
        request = review["request"]
        Hook.seen.append((self.path.split("?")[0], request))
        if review["kind"] == "AdmissionReview":
            patch = [{"op": "add", "path": "/host", "value": "patched"}]
            self.answer({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": {
                "uid": request["uid"], "allowed": True, "patchType": "JSONPatch",
                "patch": base64.b64encode(json.dumps(patch).encode()).decode()}})
            return
        version = request["desiredAPIVersion"]
        self.answer({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": {
            "uid": request["uid"], "result": {"status": "Success"},
            "convertedObjects": [converted(item, version) for item in request["objects"]]}})


def definition(world, stored, port=PORT):
    def version(name, properties):
        return {"name": name, "served": True, "storage": name == stored, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {key: {"type": "string"} for key in properties}}},
            "additionalPrinterColumns": [{"name": key, "type": "string", "jsonPath": f".{key}"} for key in properties]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
            "spec": {"group": GROUP, "scope": "Namespaced", "names": {"plural": "e2es", "kind": "E2e"},
                     "versions": [version("v1", ["hostPort"]), version("v2", ["host", "port"])],
                     "conversion": {"strategy": "Webhook", "webhook": {
                         "conversionReviewVersions": ["v1", "v1beta1"],
                         "clientConfig": {"caBundle": base64.b64encode(world.ca.encode()).decode(),
                                          "service": {"namespace": "default", "name": "hooks", "path": "/crdconvert",
                                                      "port": port}}}}}}


def e2e(name, version="v1", **fields):
    return {"apiVersion": f"{GROUP}/{version}", "kind": "E2e", "metadata": {"name": name}, **fields}


@pytest.fixture(scope="module")
def world():
    made = outside.Control("slcv", SERVICE_IP, 16455)
    try:
        made.ca = outside.certificates(made.directory, "DNS:hooks.default.svc")
        made.serve(PORT, Hook, made.context())
        made.kubectl("create", "service", "clusterip", "hooks", f"--clusterip={SERVICE_IP}", f"--tcp={PORT}:{PORT}")
        yield made
    finally:
        made.close()


@pytest.fixture()
def defined(world):
    world.apply(definition(world, "v1"))
    world.kubectl("wait", "--for=condition=Established", "crd", NAME, "--timeout=20s")
    Hook.seen.clear()
    yield world
    world.kubectl("delete", "crd", NAME)


def test_from_v1_to_v2(defined):
    defined.apply(e2e("one", hostPort="localhost:8080"))
    as_v2 = defined.json(f"e2es.v2.{GROUP}", "one")
    assert (as_v2["apiVersion"], as_v2["host"], as_v2["port"]) == (f"{GROUP}/v2", "localhost", "8080")
    assert "hostPort" not in as_v2
    path, request = Hook.seen[-1]
    assert path == "/crdconvert" and request["desiredAPIVersion"] == f"{GROUP}/v2"
    # Writes of the other version: created, merged, applied by the server, and read as either.
    defined.kubectl("create", "-f", "-", input=json.dumps(e2e("two", "v2", host="far", port="1")))
    assert defined.json(f"e2es.v1.{GROUP}", "two")["hostPort"] == "far:1"
    defined.kubectl("patch", f"e2es.v2.{GROUP}", "two", "--type=merge", "-p", '{"port": "2"}')
    defined.apply(e2e("two", "v2", host="near"), "--server-side", "--force-conflicts")
    assert defined.json(f"e2es.v1.{GROUP}", "two")["hostPort"] == "near:2"
    table = defined.kubectl("get", f"e2es.v2.{GROUP}", "two").stdout
    assert re.search(r"two +near +2", table), table


def test_list_of_mixed_versions(defined):
    defined.apply(e2e("old", hostPort="localhost:8080"))
    defined.apply(definition(defined, "v2"))

    def stored_in_v2():
        Hook.seen.clear()
        defined.apply(e2e("probe", hostPort="a:1"))
        defined.kubectl("delete", f"e2es.v1.{GROUP}", "probe")
        return any(request["desiredAPIVersion"] == f"{GROUP}/v2" for _, request in Hook.seen)
    harness.eventually(stored_in_v2, 20, "objects stored in v2", 0.1)
    defined.apply(e2e("new", "v2", host="far", port="1"))
    assert sorted(defined.json("crd", NAME)["status"]["storedVersions"]) == ["v1", "v2"]
    as_v1 = defined.json(f"e2es.v1.{GROUP}")["items"]
    assert {item["metadata"]["name"]: item["hostPort"] for item in as_v1} == {"old": "localhost:8080", "new": "far:1"}
    as_v2 = defined.json(f"e2es.v2.{GROUP}")["items"]
    assert {item["metadata"]["name"]: (item["host"], item["port"]) for item in as_v2} == {
        "old": ("localhost", "8080"), "new": ("far", "1")}
    assert all(item["apiVersion"] == f"{GROUP}/v2" for item in as_v2)


def test_watch(defined):
    defined.apply(e2e("first", hostPort="localhost:8080"))
    watch = defined.net.popen(["kubectl", "get", f"e2es.v2.{GROUP}", "--watch", "--no-headers"],
                              env=defined.environment(), stdout=-1, text=True)
    try:
        assert watch.stdout.readline().split() == ["first", "localhost", "8080"]
        defined.apply(e2e("second", hostPort="x:2"))
        assert watch.stdout.readline().split() == ["second", "x", "2"]
    finally:
        netns.stop(watch, signal.SIGTERM)


def test_admission_in_another_version(defined):
    """A webhook whose rules name v2 alone sees what is sent in v1 as v2, and what it makes of that is v1 again."""
    client = definition(defined, "v1")["spec"]["conversion"]["webhook"]["clientConfig"]
    defined.apply({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                   "metadata": {"name": "v2-only"}, "webhooks": [{
                       "name": "v2-only.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                       "clientConfig": {**client, "service": {**client["service"], "path": "/admit"}},
                       "rules": [{"operations": ["CREATE"], "apiGroups": [GROUP], "apiVersions": ["v2"],
                                  "resources": ["e2es"]}]}]})
    try:
        Hook.seen.clear()
        defined.kubectl("create", "-f", "-", input=json.dumps(e2e("one", hostPort="localhost:8080")))
        asked = next(request for path, request in Hook.seen if path == "/admit")
        assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v2", "v1")
        assert (asked["object"]["host"], asked["object"]["port"]) == ("localhost", "8080")
        assert defined.json(f"e2es.v1.{GROUP}", "one")["hostPort"] == "patched:8080"
    finally:
        defined.kubectl("delete", "mutatingwebhookconfiguration", "v2-only")


def test_a_hook_that_cannot_be_asked(world):
    """Nobody listens at the port; what needs no conversion works on, and the definition can go."""
    world.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hooks"}, "spec": {
        "clusterIP": SERVICE_IP, "ports": [{"name": "a", "port": PORT}, {"name": "b", "port": PORT + 1}]}})
    world.apply(definition(world, "v1", PORT + 1))
    world.kubectl("wait", "--for=condition=Established", "crd", NAME, "--timeout=20s")
    world.apply(e2e("one", hostPort="localhost:8080"))
    refused = world.kubectl("get", f"e2es.v2.{GROUP}", "one", check=False)
    assert refused.returncode != 0
    assert (f'conversion webhook for {GROUP}/v1, Kind=E2e failed: Post '
            f'"https://hooks.default.svc:{PORT + 1}/crdconvert?timeout=30s": dial tcp {SERVICE_IP}:{PORT + 1}: '
            "connect: connection refused") in refused.stderr
    assert world.json(f"e2es.v1.{GROUP}", "one")["hostPort"] == "localhost:8080"
    metrics = world.kubectl("get", "--raw", "/metrics").stdout
    assert re.search(r'^apiserver_conversion_webhook_request_total\{result="failure",'
                     r'failure_type="conversion_webhook_call_failure"\} [1-9]', metrics, re.MULTILINE)
    assert re.search(rf'^apiserver_crd_conversion_webhook_duration_seconds_count\{{crd_name="{NAME}",'
                     r'from_version="v1",to_version="v2",succeeded="false"\} [1-9]', metrics, re.MULTILINE)
    world.kubectl("delete", "crd", NAME, "--timeout=20s")
    bad = definition(world, "v1")
    del bad["spec"]["conversion"]["webhook"]["clientConfig"]["service"]
    assert ("spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required"
            in world.apply(bad, check=False).stderr)
