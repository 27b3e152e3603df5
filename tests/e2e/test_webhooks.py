"""Admission webhooks: an HTTPS server is asked about what kubectl does.

One control plane and one webhook server for all cases. The cases are those of Kubernetes' conformance suite
(AdmissionWebhook); expectations are its own and the documentation of admission webhooks.
"""

import base64
import json
import re
import time

import pytest

from harness import cluster as harness
from harness import outside

CONTROL_PORT = 16454
SERVICE_IP = "10.96.0.77"
PORT = 18443
GROUP = "/apis/admissionregistration.k8s.io/v1"
AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  resources: [{group: "", resources: [configmaps]}]
"""
OPERATIONS = {"CREATE", "UPDATE", "DELETE", "CONNECT"}


def allow(request):
    return {"allowed": True}


def deny(request):
    return {"allowed": False, "status": {"message": "the request is unwanted", "reason": "Unwanted", "code": 403}}


def patched(*operations):
    text = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


def deny_data(request):
    """What says webhook-disallow may not be made or changed so; the one called undeletable may not be deleted."""
    if request["operation"] == "DELETE":
        wanted = request["oldObject"]["data"].get("undeletable") != "true"
    else:
        wanted = "webhook-disallow" not in json.dumps(request["object"].get("data", {}))
    return {"allowed": True} if wanted else deny(request)


def deny_pod(request):
    names = [c["name"] for c in request["object"]["spec"]["containers"]]
    bad = "webhook-disallow" in names
    return {"allowed": not bad, "status": {"message": "the pod contains unwanted container name"}}


def first_stage(request):
    if request["object"].get("data", {}).get("mutation-start") != "yes":
        return {"allowed": True}
    return patched({"op": "add", "path": "/data/mutation-stage-1", "value": "yes"})


def second_stage(request):
    if request["object"].get("data", {}).get("mutation-stage-1") != "yes":
        return {"allowed": True}
    return patched({"op": "add", "path": "/data/mutation-stage-2", "value": "yes"})


def add_init_container(request):
    assert request["object"]["spec"]["containers"]
    return patched({"op": "add", "path": "/spec/initContainers",
                    "value": [{"image": "registry.example/init", "name": "webhook-added-init-container"}]})


def label_everything(request):
    labels = request["object"]["metadata"].get("labels", {})
    return patched({"op": "add", "path": "/metadata/labels", "value": {**labels, "touched": "yes"}})


def warn(request):
    return {"allowed": True, "warnings": ["the webhook frowns"], "auditAnnotations": {"mood": "bad"}}


def slow(request):
    time.sleep(1.5)
    return {"allowed": True}


def deny_attach(request):
    assert request["operation"] == "CONNECT" and request["object"]["kind"] == "PodAttachOptions", request
    return {"allowed": False, "status": {"message": "attaching to pod 'to-be-attached-pod' is not allowed"}}


ANSWERS = {"/" + answer.__name__.replace("_", "-"): answer for answer in
           (allow, deny, deny_data, deny_pod, deny_attach, first_stage, second_stage, add_init_container,
            label_everything, warn, slow)}


class Hooks(outside.Answers):
    seen = []

    def do_POST(self):
        review = self.body()
        path = self.path.split("?")[0]
        request = review["request"]
        assert request["operation"] in OPERATIONS
        Hooks.seen.append((path, request))
        self.answer({"kind": review["kind"], "apiVersion": review["apiVersion"],
                     "response": {"uid": request["uid"], **ANSWERS[path](request)}})


class World(outside.Control):
    """sluice-control and a webhook server at 127.0.0.1 and at the ClusterIP of the Service default/hooks, which is an
    address of the namespace that both are in: no dataplane is needed to reach it."""

    def __init__(self):
        super().__init__("hooks", SERVICE_IP, CONTROL_PORT, audit=AUDIT)
        self.ca = outside.certificates(self.directory, "DNS:hooks.default.svc,IP:127.0.0.1")
        for address in ("127.0.0.1", SERVICE_IP):
            self.serve(PORT, Hooks, self.context(), address)
        self.kubectl("create", "service", "clusterip", "hooks", f"--clusterip={SERVICE_IP}", f"--tcp={PORT}:{PORT}")


@pytest.fixture(scope="module")
def world():
    yield from outside.lasting(World)


@pytest.fixture()
def case(world, request):
    Hooks.seen.clear()
    return Case(world, request.node.name)


@pytest.fixture(autouse=True)
def no_leftovers(world):
    yield
    for kind in ("mutating", "validating"):
        world.kubectl("delete", f"{kind}webhookconfigurations", "--all")


class Case(outside.Case):
    def hook(self, path, resources, operations=("CREATE", "UPDATE"), groups=("",), versions=("v1",), by_url=False,
             **more):
        client = {"caBundle": base64.b64encode(self.world.ca.encode()).decode()}
        if by_url:
            client["url"] = f"https://127.0.0.1:{PORT}{path}"
        else:
            client["service"] = {"namespace": "default", "name": "hooks", "path": path, "port": PORT}
        return {"name": f"{path.strip('/')}.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": client, "namespaceSelector": {"matchLabels": {"case": self.namespace}},
                "rules": [{"operations": list(operations), "apiGroups": list(groups), "apiVersions": list(versions),
                           "resources": list(resources)}], **more}

    def configure(self, kind, *hooks, name=None):
        self.world.apply({"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration",
                          "metadata": {"name": name or self.namespace}, "webhooks": list(hooks)})

    def config_map(self, name, *args, check=True, **data):
        return self.kubectl("create", "configmap", name, *args,
                            *[f"--from-literal={key.replace('_', '-')}={value}" for key, value in data.items()],
                            check=check)

    def data(self, name, kind="configmap"):
        return json.loads(self.kubectl("get", kind, name, "-o", "json").stdout).get("data")


def test_deny_pods_and_config_maps(case):
    case.configure("Validating",
                   case.hook("/deny-pod", ["pods"], ["CREATE"]), case.hook("/deny-data", ["configmaps"],
                                                                           ["CREATE", "UPDATE", "DELETE"]))
    bad = case.kubectl("run", "p", "--image=i", "--restart=Never", "--overrides", json.dumps(
        {"apiVersion": "v1", "spec": {"containers": [{"name": "webhook-disallow", "image": "i"}]}}), check=False)
    assert ('admission webhook "deny-pod.example.com" denied the request: the pod contains unwanted container name'
            in bad.stderr)
    refused = case.config_map("m", key="webhook-disallow", check=False)
    assert 'admission webhook "deny-data.example.com" denied the request: the request is unwanted' in refused.stderr
    case.config_map("m", key="fine", undeletable="true")
    for args in (["patch", "configmap", "m", "-p", '{"data": {"k": "webhook-disallow"}}'],
                 ["delete", "configmap", "m"]):
        assert "denied the request" in case.kubectl(*args, check=False).stderr
    assert case.data("m") == {"key": "fine", "undeletable": "true"}
    # Namespaces that the selector does not name are left alone.
    case.world.kubectl("create", "configmap", "elsewhere", "--from-literal=key=webhook-disallow")
    case.world.kubectl("delete", "configmap", "elsewhere")
    metrics = case.world.kubectl("get", "--raw", "/metrics").stdout
    assert re.search(r'^apiserver_admission_webhook_rejection_count\{name="deny-pod.example.com",type="validating",'
                     r'operation="CREATE",error_type="no_error",rejection_code="400"\} 1$', metrics, re.MULTILINE)
    assert re.search(r'^apiserver_admission_webhook_admission_duration_seconds_count\{name="deny-data.example.com"',
                     metrics, re.MULTILINE)


def test_mutate_config_map(case):
    # Out of order in time, in order by name.
    case.configure("Mutating", case.hook("/second-stage", ["configmaps"]), name=case.namespace + "-b")
    case.configure("Mutating", case.hook("/first-stage", ["configmaps"], by_url=True), name=case.namespace + "-a")
    case.config_map("m", mutation_start="yes")
    assert case.data("m") == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    case.config_map("n", other="yes")
    assert case.data("n") == {"other": "yes"}


def test_defaults_after_mutation(case):
    case.configure("Mutating", case.hook("/add-init-container", ["pods"], ["CREATE"]))
    case.kubectl("run", "p", "--image=registry.example/main", "--restart=Never")
    pod = json.loads(case.kubectl("get", "pod", "p", "-o", "json").stdout)
    added, = pod["spec"]["initContainers"]
    assert added["name"] == "webhook-added-init-container"
    assert added["terminationMessagePolicy"] == "File"


def test_everything_but_the_labelled(case):
    case.configure("Mutating", case.hook(
        "/label-everything", ["*"], groups=["*"], versions=["*"],
        objectSelector={"matchExpressions": [{"key": "skip-me", "operator": "NotIn", "values": ["yes"]}]},
        matchConditions=[{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]))
    case.config_map("skip-me")
    case.config_map("m")
    case.kubectl("apply", "-f", "-", input=json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "labels": {"skip-me": "yes"}}}))

    def labels(name):
        return json.loads(case.kubectl("get", "configmap", name, "-o", "json").stdout)["metadata"].get("labels")
    assert labels("m") == {"touched": "yes"}
    assert labels("n") == {"skip-me": "yes"}
    assert labels("skip-me") is None


def definition(group, **schema):
    shape = {"openAPIV3Schema": {"type": "object", "properties": {"data": {"type": "object", **schema}}}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"testcrds.{group}"},
            "spec": {"group": group, "scope": "Namespaced",
                     "names": {"plural": "testcrds", "singular": "testcrd", "kind": "TestCrd"},
                     "versions": [{"name": name, "served": True, "storage": name == "v1", "schema": shape}
                                  for name in ("v1", "v2")]}}


def define(case, group, **schema):
    case.world.apply(definition(group, **schema))
    case.world.kubectl("wait", "--for=condition=established", f"crd/testcrds.{group}", "--timeout=30s")


def custom(case, group, name, version="v1", check=True, **data):
    return case.kubectl("create", "-f", "-", check=check, input=json.dumps(
        {"apiVersion": f"{group}/{version}", "kind": "TestCrd", "metadata": {"name": name},
         "data": {key.replace("_", "-"): value for key, value in data.items()}}))


def test_deny_custom_objects(case):
    group = "deny.example.com"
    define(case, group, additionalProperties={"type": "string"})
    case.configure("Validating", case.hook("/deny-data", ["testcrds"], ["CREATE", "UPDATE", "DELETE"], [group],
                                           ["v1"]))
    assert "the request is unwanted" in custom(case, group, "a", key="webhook-disallow", check=False).stderr
    # The other version is asked about by way of the one that the rule names.
    assert "the request is unwanted" in custom(case, group, "a", "v2", key="webhook-disallow", check=False).stderr
    custom(case, group, "a", key="fine", undeletable="true")
    bad = case.kubectl("patch", "testcrds." + group, "a", "--type=merge", "-p", '{"data": {"k": "webhook-disallow"}}',
                       check=False)
    assert "the request is unwanted" in bad.stderr
    assert "the request is unwanted" in case.kubectl("delete", "testcrds." + group, "a", check=False).stderr
    case.kubectl("patch", "testcrds." + group, "a", "--type=merge", "-p", '{"data": {"undeletable": null}}')
    case.kubectl("delete", "testcrds." + group, "a")


def test_mutate_custom_objects(case):
    group = "mutate.example.com"
    define(case, group, additionalProperties={"type": "string"})
    case.configure("Mutating", case.hook("/first-stage", ["testcrds"], ["CREATE"], [group], ["v1"]),
                   case.hook("/second-stage", ["testcrds"], ["CREATE"], [group], ["v1", "v2"]))
    for version in ("v1", "v2"):
        custom(case, group, version, version, mutation_start="yes")
        assert case.data(version, "testcrds." + group) == {
            "mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    # The stored version changes; what was stored is still changed by way of webhooks.
    changed = definition(group, additionalProperties={"type": "string"})
    for version in changed["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    case.world.apply(changed)
    case.configure("Mutating", case.hook("/first-stage", ["testcrds"], ["UPDATE"], [group], ["v1", "v2"]))
    case.kubectl("patch", "testcrds." + group, "v1", "--type=merge", "-p", '{"data": {"mutation-stage-1": null}}')
    assert case.data("v1", "testcrds." + group)["mutation-stage-1"] == "yes"


def test_pruning_after_mutation(case):
    group = "prune.example.com"
    define(case, group, properties={"mutation-start": {"type": "string"}, "mutation-stage-1": {"type": "string"}})
    case.configure("Mutating", case.hook("/first-stage", ["testcrds"], ["CREATE"], [group]),
                   case.hook("/second-stage", ["testcrds"], ["CREATE"], [group]))
    custom(case, group, "a", mutation_start="yes")
    assert case.data("a", "testcrds." + group) == {"mutation-start": "yes", "mutation-stage-1": "yes"}


def test_deny_definitions(case):
    case.configure("Validating", case.hook("/deny", ["customresourcedefinitions"], ["CREATE"],
                                           ["apiextensions.k8s.io"],
                                           objectSelector={"matchLabels": {"unwanted": "yes"}}))
    wanted = definition("unwanted.example.com", additionalProperties={"type": "string"})
    wanted["metadata"]["labels"] = {"unwanted": "yes"}
    assert "the request is unwanted" in case.world.apply(wanted, check=False).stderr
    assert case.world.kubectl("get", "crd", "testcrds.unwanted.example.com", check=False).returncode != 0


def test_deny_attaching(case):
    case.configure("Validating", case.hook("/deny-attach", ["pods/attach"], ["CONNECT"]))
    case.kubectl("run", "to-be-attached-pod", "--image=i", "--restart=Never")
    refused = case.kubectl("attach", "to-be-attached-pod", "-i", "-c=to-be-attached-pod", check=False)
    assert "attaching to pod 'to-be-attached-pod' is not allowed" in refused.stderr


def test_fail_closed_and_open(case):
    broken = {"caBundle": base64.b64encode(case.world.ca.encode()).decode(),
              "url": "https://127.0.0.1:1/nobody"}
    case.configure("Validating", case.hook("/deny", ["configmaps"], ["CREATE"], clientConfig=broken))
    refused = case.config_map("m", check=False)
    assert "Internal error occurred: failed calling webhook" in refused.stderr
    assert "connect: connection refused" in refused.stderr
    # No authority of this machine has signed it.
    untrusted = {"url": f"https://127.0.0.1:{PORT}/allow"}
    case.configure("Validating", case.hook("/deny", ["configmaps"], ["CREATE"], clientConfig=untrusted))
    assert "certificate signed by unknown authority" in case.config_map("m", check=False).stderr
    case.configure("Validating", case.hook("/deny", ["configmaps"], ["CREATE"], clientConfig=untrusted,
                                           failurePolicy="Ignore"))
    case.config_map("m")
    metrics = case.world.kubectl("get", "--raw", "/metrics").stdout
    assert 'apiserver_admission_webhook_fail_open_count{name="deny.example.com",type="validating"} 1' in metrics


def test_timeouts(case):
    case.configure("Validating", case.hook("/slow", ["configmaps"], ["CREATE"], timeoutSeconds=1))
    assert "context deadline exceeded" in case.config_map("m", check=False).stderr
    case.configure("Validating", case.hook("/slow", ["configmaps"], ["CREATE"], timeoutSeconds=1,
                                           failurePolicy="Ignore"))
    case.config_map("m")
    case.configure("Validating", case.hook("/slow", ["configmaps"], ["CREATE"], timeoutSeconds=30))
    case.config_map("n")
    assert Hooks.seen[-1][0] == "/slow"


def test_warnings_and_the_audit_log(case):
    case.configure("Mutating", case.hook("/warn", ["configmaps"], ["CREATE"]))
    assert "the webhook frowns" in case.config_map("m").stderr

    def annotations():
        with open(case.world.audit_log) as log:
            for line in log:
                event = json.loads(line)
                reference = event.get("objectRef", {})
                if event["verb"] == "create" and reference.get("namespace") == case.namespace:
                    return event["annotations"]
        return None
    harness.eventually(annotations, 10, "audit event", 0.1)
    assert annotations()["warn.example.com/mood"] == "bad"
    mutation = json.loads(annotations()["mutation.webhook.admission.k8s.io/round_0_index_0"])
    assert mutation == {"configuration": case.namespace, "webhook": "warn.example.com", "mutated": False}


def test_dry_run(case):
    case.configure("Mutating", case.hook("/first-stage", ["configmaps"]))
    document = {"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "m", "namespace": case.namespace}, "data": {"mutation-start": "yes"}}
    shown = case.world.apply(document, "--dry-run=server", "-o", "json")
    assert json.loads(shown.stdout)["data"]["mutation-stage-1"] == "yes"
    assert Hooks.seen[-1][1]["dryRun"] is True
    assert case.kubectl("get", "configmap", "m", check=False).returncode != 0


@pytest.mark.parametrize("kind, path", [("Validating", "/deny-data"), ("Mutating", "/first-stage")])
def test_changing_and_listing(case, kind, path):
    resource = f"{kind.lower()}webhookconfigurations"
    operation = {"op": "replace", "path": "/webhooks/0/rules/0/operations"}

    def effective(name):
        made = case.config_map(name, mutation_start="yes", key="webhook-disallow", check=False)
        return made.returncode != 0 or "mutation-stage-1" in case.data(name)

    def set_operations(*operations):
        case.world.kubectl("patch", resource, case.namespace, "--type=json", "-p",
                           json.dumps([{**operation, "value": list(operations)}]))
    case.configure(kind, case.hook(path, ["configmaps"], ["CREATE"]))
    assert effective("a")
    set_operations("UPDATE")
    assert not effective("b")
    set_operations("CREATE")
    assert effective("c")
    case.world.kubectl("label", resource, case.namespace, "suite=webhooks")
    listed = case.world.kubectl("get", resource, "-l", "suite=webhooks", "-o", "name").stdout.split()
    assert listed == [f"{kind.lower()}webhookconfiguration.admissionregistration.k8s.io/{case.namespace}"]
    case.world.kubectl("delete", resource, "-l", "suite=webhooks")
    assert not effective("d")


def test_configurations_are_not_asked_about(case):
    everything = dict(groups=["*"], versions=["*"], operations=["*"], namespaceSelector={}, objectSelector={
        "matchLabels": {"case": case.namespace}})
    case.configure("Validating", case.hook("/deny", ["*/*"], **everything), name=case.namespace + "-deny")
    case.configure("Mutating", case.hook("/label-everything", ["*/*"], **everything), name=case.namespace + "-label")
    for kind in ("Validating", "Mutating"):
        dummy = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}WebhookConfiguration",
                 "metadata": {"name": case.namespace + "-dummy", "labels": {"case": case.namespace}}, "webhooks": []}
        case.world.apply(dummy)
        resource = f"{kind.lower()}webhookconfigurations"
        made = json.loads(case.world.kubectl("get", resource, dummy["metadata"]["name"], "-o", "json").stdout)
        assert made["metadata"]["labels"] == {"case": case.namespace}
        case.world.kubectl("delete", resource, dummy["metadata"]["name"])
    assert Hooks.seen == []


@pytest.mark.parametrize("kind", ["Validating", "Mutating"])
def test_match_conditions(case, kind):
    hook = case.hook("/deny", ["configmaps"], matchConditions=[
        {"name": "not-leases", "expression": "request.resource.resource != 'leases'"},
        {"name": "marked", "expression": "has(object.data) && 'marked' in object.data"}])
    case.configure(kind, hook)
    case.config_map("plain", key="value")
    refused = case.config_map("marked", marked="yes", check=False)
    assert 'admission webhook "deny.example.com" denied the request' in refused.stderr
    # Changed, they hold at once.
    hook["matchConditions"][1]["expression"] = "object.metadata.name == 'other'"
    case.configure(kind, hook)
    resource = f"{kind.lower()}webhookconfigurations"
    stored = json.loads(case.world.kubectl("get", resource, case.namespace, "-o", "json").stdout)
    assert stored["webhooks"][0]["matchConditions"] == hook["matchConditions"]
    case.config_map("marked", marked="yes")
    assert case.config_map("other", check=False).returncode != 0
    metrics = case.world.kubectl("get", "--raw", "/metrics").stdout
    assert re.search(r'^apiserver_admission_match_condition_exclusions_total\{name="deny.example.com",kind="webhook",',
                     metrics, re.MULTILINE)


@pytest.mark.parametrize("kind", ["Validating", "Mutating"])
def test_invalid_match_conditions(case, kind):
    hook = case.hook("/deny", ["configmaps"], matchConditions=[
        {"name": "bad", "expression": "... [] bad expression"}])
    refused = case.world.apply({"apiVersion": "admissionregistration.k8s.io/v1",
                                "kind": f"{kind}WebhookConfiguration", "metadata": {"name": case.namespace},
                                "webhooks": [hook]}, check=False)
    assert 'webhooks[0].matchConditions[0].expression: Invalid value: "... [] bad expression": compilation failed' \
        in refused.stderr


def test_match_conditions_that_fail(case):
    hook = case.hook("/allow", ["configmaps"], matchConditions=[{"name": "c", "expression": "object.data.none == 'x'"}])
    case.configure("Validating", hook)
    refused = case.config_map("m", key="value", check=False)
    assert ("is forbidden: expression 'object.data.none == 'x'' resulted in error: no such key: none"
            in refused.stderr)
    case.configure("Validating", {**hook, "failurePolicy": "Ignore"})
    case.config_map("m", key="value")
    assert Hooks.seen == []
