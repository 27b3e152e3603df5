"""Expressions in CEL: policies about writes, and rules of custom resources, as kubectl sees them.

One control plane for all cases. The cases are those of Kubernetes' conformance suite (ValidatingAdmissionPolicy) and of
its specs of CustomResourceValidationRules; expectations are their own, and the documentation's.
"""

import json
import re

import pytest

from harness import cluster as harness
from harness import outside

PORT = 16461
ADMISSION = "admissionregistration.k8s.io/v1"
AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch]
  resources: [{group: "", resources: [configmaps]}]
"""


class World(outside.Control):
    """sluice-control alone; nothing runs the Pods that are made."""

    def __init__(self):
        super().__init__("policies", "10.96.0.78", PORT, audit=AUDIT)

    def apply(self, *documents, check=True):
        return super().apply({"apiVersion": "v1", "kind": "List", "items": list(documents)}, check=check)


@pytest.fixture(scope="module")
def world():
    yield from outside.lasting(World)


@pytest.fixture()
def case(world, request):
    yield Case(world, request.node.name)
    world.kubectl("delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", "--all")


class Case(outside.Case):
    def policy(self, resources, groups=("",), name=None, **spec):
        return {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": name or self.namespace},
                "spec": {"matchConstraints": {"resourceRules": [{
                    "apiGroups": list(groups), "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": list(resources)}]}, **spec}}

    def binding(self, policy=None, actions=("Deny",), name=None, **spec):
        return {"apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": name or policy or self.namespace},
                "spec": {"policyName": policy or self.namespace, "validationActions": list(actions),
                         "matchResources": {"namespaceSelector": {"matchLabels": {"case": self.namespace}}}, **spec}}

    def checked(self, name=None):
        """The status of a policy, once there is one."""
        def status():
            found = self.world.json("validatingadmissionpolicy", name or self.namespace)
            return found.get("status", {}) if "typeChecking" in found.get("status", {}) else None
        harness.eventually(lambda: status() is not None, 10, "types checked", 0.05)
        return status()

    def deployment(self, name, replicas, check=True, kind="deployment"):
        labels = {"app": name}
        document = {"apiVersion": "apps/v1", "kind": {"deployment": "Deployment", "replicaset": "ReplicaSet"}[kind],
                    "metadata": {"name": name, "namespace": self.namespace},
                    "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                             "template": {"metadata": {"labels": labels},
                                          "spec": {"containers": [{"name": "c", "image": "registry.example/i"}]}}}}
        return self.kubectl("create", "-f", "-", input=json.dumps(document), check=check)

    def config_map(self, name, *args, check=True, **data):
        return self.kubectl("create", "configmap", name, *args,
                            *[f"--from-literal={key}={value}" for key, value in data.items()], check=check)


def test_deployment(case):
    case.world.apply(case.policy(["deployments"], groups=["apps"], validations=[{
        "expression": "object.spec.replicas > 1",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}]), case.binding())
    # The message is made of a text and a number, which nothing but the type of a Deployment shows.
    warning, = case.checked()["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[0].messageExpression"
    assert "found no matching overload for '_+_' applied to '(string, int)'" in warning["warning"]
    refused = case.deployment("marker", 1, check=False)
    assert ("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: failed expression: "
            "object.spec.replicas > 1" % (case.namespace, case.namespace)) in refused.stderr
    case.deployment("replicated", 2)
    case.deployment("single", 1, kind="replicaset")
    # Elsewhere, nobody asks.
    case.world.kubectl("create", "deployment", "elsewhere", "--image=registry.example/i", "--replicas=1")


def test_types(case):
    case.world.apply(case.policy(["deployments"], groups=["apps"], validations=[{
        "expression": "object.spec.replicas > 1"}]))
    status = case.checked()
    assert status["typeChecking"] == {} and status["observedGeneration"] == 1
    case.world.apply(case.policy(["deployments"], groups=["apps"], validations=[{
        "expression": "object.spec.replicas > '1'", "messageExpression": "'wants ' + object.spec.replicas"}]))
    harness.eventually(lambda: case.checked().get("observedGeneration") == 2, 10, "checked again", 0.05)
    first, second = case.checked()["typeChecking"]["expressionWarnings"]
    assert first["fieldRef"] == "spec.validations[0].expression"
    assert first["warning"].startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:22: ")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in first["warning"]
    assert second["fieldRef"] == "spec.validations[0].messageExpression"


def test_variables(case):
    case.world.apply(case.policy(["deployments"], groups=["apps"], variables=[
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}], validations=[
        {"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]), case.binding())
    for replicas, why in ((1, "variables.replicas > 1"), (4, "variables.oddReplicas")):
        refused = case.deployment("d", replicas, check=False)
        assert f"denied request: failed expression: {why}" in refused.stderr
    case.deployment("d", 3)
    bad = case.world.apply(case.policy(["pods"], name="bad", validations=[{"expression": "variables.none == 1"}]),
                           check=False)
    assert 'spec.validations[0].expression: Invalid value: "variables.none == 1": compilation failed' in bad.stderr


def test_warnings_and_audit(case):
    case.world.apply(
        case.policy(["configmaps"],
                    validations=[{"expression": "!('bad' in object.data)", "message": "bad is not good"}],
                    auditAnnotations=[{"key": "keys", "valueExpression": "string(size(object.data))"}]),
        case.binding(actions=["Warn", "Audit"]))
    made = case.config_map("m", bad="1")
    assert ("Warning: Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': bad is not good"
            % (case.namespace, case.namespace)) in made.stderr

    def annotations():
        with open(case.world.audit_log) as log:
            for event in map(json.loads, log):
                if event["verb"] == "create" and event["objectRef"].get("namespace") == case.namespace:
                    return event["annotations"]
        return None
    harness.eventually(annotations, 10, "audit event", 0.1)
    failure, = json.loads(annotations()["validation.policy.admission.k8s.io/validation_failure"])
    assert failure == {"message": "bad is not good", "policy": case.namespace, "binding": case.namespace,
                       "expressionIndex": 0, "validationActions": ["Warn", "Audit"]}
    assert annotations()[case.namespace + "/keys"] == "1"
    metrics = case.world.kubectl("get", "--raw", "/metrics").stdout
    assert re.search(r'^apiserver_validating_admission_policy_check_total\{policy="%s",policy_binding="%s",'
                     r'error_type="invalid_error",enforcement_action="warn"\} 1$' % (case.namespace, case.namespace),
                     metrics, re.MULTILINE)


def definition(plural, kind, scope, schema, **more):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.rules.example.com"},
            "spec": {"group": "rules.example.com", "scope": scope,
                     "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": kind + "List"},
                     "versions": [{"name": "v1", "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": schema}, **more}]}}


def test_custom_params(case):
    case.world.apply(definition("replicalimits", "ReplicaLimit", "Namespaced", {
        "type": "object", "properties": {"maxReplicas": {"type": "integer"}}}))
    case.world.kubectl("wait", "--for=condition=Established", "crd/replicalimits.rules.example.com")
    limit = {"apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit", "maxReplicas": 3,
             "metadata": {"name": "limit", "namespace": case.namespace}}
    case.world.apply(
        case.policy(["deployments"], groups=["apps"], paramKind={"apiVersion": "rules.example.com/v1",
                                                                 "kind": "ReplicaLimit"},
                    validations=[{"expression": "object.spec.replicas <= params.maxReplicas", "reason": "Forbidden",
                                  "messageExpression": "'at most ' + string(params.maxReplicas)"}]),
        case.binding(paramRef={"name": "limit", "parameterNotFoundAction": "Deny"}))
    missing = case.deployment("d", 1, check=False)
    assert "no params found for policy binding with `Deny` parameterNotFoundAction" in missing.stderr
    case.world.apply(limit)
    refused = case.deployment("d", 4, check=False)
    assert "denied request: at most 3" in refused.stderr and "(Forbidden)" in refused.stderr
    case.deployment("d", 3)


def test_authorizer(case):
    case.world.apply(
        case.policy(["configmaps"], matchConditions=[
            {"name": "not-the-cluster", "expression": "!request.userInfo.username.startsWith('system:')"}],
            validations=[{"expression": "authorizer.group('').resource('secrets').namespace(request.namespace)"
                                        ".check('get').allowed()", "message": "whoever writes may read secrets"}]),
        case.binding())
    case.kubectl("create", "role", "writer", "--verb=create", "--resource=configmaps")
    case.kubectl("create", "rolebinding", "writer", "--role=writer", "--user=jane")
    refused = case.config_map("m", "--as=jane", check=False, k="v")
    assert "denied request: whoever writes may read secrets" in refused.stderr
    case.kubectl("create", "role", "reader", "--verb=get", "--resource=secrets")
    case.kubectl("create", "rolebinding", "reader", "--role=reader", "--user=jane")
    case.config_map("m", "--as=jane", k="v")


WIDGETS = {"type": "object", "x-kubernetes-validations": [
    {"rule": "self.metadata.name.startsWith('w-')", "message": "widgets begin with w-"}],
    "properties": {"spec": {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.x > self.y", "message": "x has to be greater than y"},
                                     {"rule": "self.size >= oldSelf.size", "message": "widgets do not shrink",
                                      "fieldPath": ".size"}],
        "required": ["x", "y"],
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer"},
                       "size": {"type": "integer", "default": 1},
                       "colors": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map",
                                  "x-kubernetes-list-map-keys": ["name"],
                                  "items": {"type": "object", "required": ["name"],
                                            "properties": {"name": {"type": "string", "maxLength": 20},
                                                           "rgb": {"type": "string", "maxLength": 6}},
                                            "x-kubernetes-validations": [
                                                {"rule": "self.rgb == oldSelf.rgb", "messageExpression":
                                                 "self.name + ' was ' + oldSelf.rgb"}]}}}},
        "status": {"type": "object", "properties": {"ready": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self >= 0"}]}}}}}


def test_rules_of_custom_resources(case):
    case.world.apply(definition("widgets", "Widget", "Namespaced", WIDGETS, subresources={"status": {}}))
    case.world.kubectl("wait", "--for=condition=Established", "crd/widgets.rules.example.com")

    def widget(name="w-a", check=True, **spec):
        document = {"apiVersion": "rules.example.com/v1", "kind": "Widget",
                    "metadata": {"name": name, "namespace": case.namespace}, "spec": {"x": 2, "y": 1, **spec}}
        return case.kubectl("apply", "-f", "-", input=json.dumps(document), check=check)
    assert 'spec: Invalid value: "object": x has to be greater than y' in widget(x=1, check=False).stderr
    assert 'Invalid value: "object": widgets begin with w-' in widget("a", check=False).stderr
    incomplete = case.kubectl("apply", "-f", "-", check=False, input=json.dumps(
        {"apiVersion": "rules.example.com/v1", "kind": "Widget", "metadata": {"name": "w-b"}, "spec": {"x": 1}}))
    assert "some validation rules were not checked because the object was invalid" in incomplete.stderr
    widget(size=3, colors=[{"name": "red", "rgb": "f00"}, {"name": "blue", "rgb": "00f"}])
    assert 'spec.size: Invalid value: "object": widgets do not shrink' in widget(size=2, check=False).stderr
    widget(size=4, colors=[{"name": "blue", "rgb": "00f"}, {"name": "green", "rgb": "0f0"}])
    changed = widget(size=4, colors=[{"name": "green", "rgb": "0e0"}], check=False)
    assert 'spec.colors[0]: Invalid value: "object": green was 0f0' in changed.stderr
    status = ["patch", "widget", "w-a", "--subresource=status", "--type=merge", "-p"]
    case.kubectl(*status, '{"status": {"ready": 1}}')
    bad = case.kubectl(*status, '{"status": {"ready": -1}}', check=False)
    assert 'status.ready: Invalid value: "integer": failed rule: self >= 0' in bad.stderr


def test_rules_that_are_refused(case):
    def refused(schema):
        return case.world.apply(definition("gadgets", "Gadget", "Namespaced", {
            "type": "object", "properties": {"spec": schema}}), check=False).stderr

    def rule(text, **properties):
        return {"type": "object", "x-kubernetes-validations": [{"rule": text}], "properties": properties}
    where = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: "
    unknown = refused(rule("self.z > 1", x={"type": "integer"}))
    assert where + "Invalid value: " in unknown and "undefined field 'z'" in unknown
    # Looking at every pair of a list that nothing bounds.
    costly = refused(rule("self.l.all(a, self.l.all(b, a == b))", l={"type": "array", "items": {"type": "string"}}))
    assert where + "Forbidden: estimated rule cost exceeds budget by factor of more than 100x" in costly
    reserved = case.world.apply(definition("gadgets", "Gadget", "Namespaced", {
        "type": "object", "properties": {"spec": rule(
            "self.__namespace__ == 'a' && self.x__dash__y == 1",
            **{"namespace": {"type": "string"}, "x-y": {"type": "integer"}})}}))
    assert "gadgets" in reserved.stdout
