"""Each object's way from its creation to its end through every verb, as Kubernetes' conformance suite walks it."""

import base64
import http.client
import json
import re
import subprocess
import threading
import time
import zlib

import pytest

from harness import cluster as harness
from harness import netns
from harness.api import ApiClient, ApiError
from test_kubectl import control  # noqa: F401  (fixture)

MERGE = {"Content-Type": "application/merge-patch+json"}


class Watch:
    """The events of one watch, read in a thread from the moment it is made."""

    def __init__(self, cluster, path):
        self.client = ApiClient(cluster.kubeconfig, cluster.node.ns)
        self.client.connect()
        self.client._connection.request("GET", path)
        self.answer = self.client._connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        self.events = []
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        try:
            for line in self.answer:
                self.events.append(json.loads(line))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass

    def wait(self, wanted):
        """Until an event of each (type, name) has come, in this order; BOOKMARKs are passed over."""
        def seen():
            left = list(wanted)
            for event in list(self.events):
                if left and (event["type"], event["object"]["metadata"]["name"]) == left[0]:
                    left.pop(0)
            return not left
        harness.eventually(seen, 10, f"events {wanted}; seen {[e['type'] for e in self.events]}")

    def close(self):
        self.client._connection.sock.shutdown(2)
        self.thread.join()
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture()
def api(control):  # noqa: F811
    client = ApiClient(control.kubeconfig, control.node.ns)
    yield client
    client.close()


@pytest.fixture()
def space(api, request):
    """The path of a namespace of the test's own; its default ServiceAccount is there."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


@pytest.fixture()
def group(request):
    """An API group of the test's own."""
    return f"g{zlib.crc32(request.node.name.encode())}.example.com"


def refusal(call, *arguments):
    with pytest.raises(ApiError) as caught:
        call(*arguments)
    return caught.value


def walk(control, api, base, body, change, status=None):  # noqa: F811
    """Create, get, list, watch, patch, update, delete and delete by label; returns the object as first created."""
    name = body["metadata"]["name"]
    label = {"walk": name}
    body = {**body, "metadata": {**body["metadata"], "labels": label}}
    selector = f"labelSelector=walk%3D{name}"
    with Watch(control, f"{base}?watch=1&{selector}") as watch:
        created = api.create(base, body)
        assert created["metadata"]["uid"] and created["metadata"]["creationTimestamp"]
        got = api.get(f"{base}/{name}")
        assert got == created
        assert [item["metadata"]["name"] for item in api.get(f"{base}?{selector}")["items"]] == [name]
        patched = api.merge(f"{base}/{name}", {"metadata": {"annotations": {"patched": "true"}}})
        assert patched["metadata"]["annotations"]["patched"] == "true"
        changed = change(api.get(f"{base}/{name}"))
        updated = api.put(f"{base}/{name}", changed)
        assert updated["metadata"]["resourceVersion"] != patched["metadata"]["resourceVersion"]
        stale = refusal(api.put, f"{base}/{name}", {**changed, "metadata": {
            **changed["metadata"], "resourceVersion": created["metadata"]["resourceVersion"]}})
        assert stale.code == 409 and stale.status["reason"] == "Conflict"
        if status:
            written = api.merge(f"{base}/{name}/status", {"status": status})
            assert {key: written["status"][key] for key in status} == status
        # What it owns is no garbage collector's here: dependents of some kinds are orphaned unless one says otherwise.
        api.delete(f"{base}/{name}?propagationPolicy=Background")
        watch.wait([("ADDED", name), ("MODIFIED", name), ("DELETED", name)])
        api.create(base, body)
        api.delete(f"{base}?{selector}&propagationPolicy=Background")
        harness.eventually(lambda: not api.get(f"{base}?{selector}")["items"], 10, "the collection is empty")
        watch.wait(2 * [("ADDED", name), ("DELETED", name)])
    gone = refusal(api.get, f"{base}/{name}")
    assert gone.code == 404 and gone.status["details"]["name"] == name
    return created


def test_service_account(control, api, space):  # noqa: F811
    base = f"/api/v1/namespaces/{space}/serviceaccounts"

    def change(account):
        return {**account, "automountServiceAccountToken": False}
    walk(control, api, base, {"metadata": {"name": "robot"}}, change)


def test_resource_quota(control, api, space):  # noqa: F811
    base = f"/api/v1/namespaces/{space}/resourcequotas"

    def change(quota):
        quota["spec"]["hard"]["pods"] = "7"
        return quota
    walk(control, api, base, {"metadata": {"name": "limits"}, "spec": {"hard": {"cpu": "1", "pods": "5"}}}, change,
         status={"hard": {"cpu": "1", "pods": "7"}})


def test_status_of_a_quota(api, space):
    base = f"/api/v1/namespaces/{space}/resourcequotas"
    api.create(base, {"metadata": {"name": "limits"}, "spec": {"hard": {"cpu": "500m", "memory": "500Mi"}}})
    quota = api.get(f"{base}/limits/status")
    quota["status"] = {"hard": {"cpu": "500m", "memory": "500Mi"}}
    quota["spec"]["hard"]["cpu"] = "9"
    updated = api.put(f"{base}/limits/status", quota)
    assert updated["status"]["hard"]["cpu"] == "500m"
    assert updated["spec"]["hard"]["cpu"] == "500m", "the status alone is written"
    patched = api.merge(f"{base}/limits/status", {"status": {"hard": {"memory": "200Mi"}}})
    assert patched["status"]["hard"] == {"cpu": "500m", "memory": "200Mi"}


def replication_controller(name, replicas=1):
    return {"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"name": name}, "template": {
                "metadata": {"labels": {"name": name}},
                "spec": {"containers": [{"name": "main", "image": "localhost/web:1",
                                         "ports": [{"containerPort": 8080}]}]}}}}


def test_a_quota_counts_replication_controllers(api, space):
    quotas = f"/api/v1/namespaces/{space}/resourcequotas"
    base = f"/api/v1/namespaces/{space}/replicationcontrollers"
    api.create(quotas, {"metadata": {"name": "limits"}, "spec": {"hard": {"replicationcontrollers": "1"}}})

    def used():
        return api.get(f"{quotas}/limits").get("status", {}).get("used", {}).get("replicationcontrollers")
    harness.eventually(lambda: used() == "0", 10, "the quota is measured")
    api.create(base, replication_controller("one", 0))
    harness.eventually(lambda: used() == "1", 10, "it counts")
    refused = refusal(api.create, base, replication_controller("two", 0))
    assert refused.code == 403 and "exceeded quota: limits" in refused.status["message"]
    api.delete(f"{base}/one?propagationPolicy=Background")
    harness.eventually(lambda: used() == "0", 10, "it is released")


def test_replication_controller(control, api, space):  # noqa: F811
    base = f"/api/v1/namespaces/{space}/replicationcontrollers"

    def change(controller):
        controller["spec"]["replicas"] = 3
        return controller
    walk(control, api, base, replication_controller("walker", 0), change, status={"replicas": 0})


FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1"


def test_flow_schema(control, api):  # noqa: F811
    def change(schema):
        schema["spec"]["matchingPrecedence"] = 9999
        return schema
    walk(control, api, f"{FLOWS}/flowschemas", {
        "metadata": {"name": "walker"},
        "spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
                 "distinguisherMethod": {"type": "ByUser"},
                 "rules": [{"subjects": [{"kind": "User", "user": {"name": "walker"}}], "nonResourceRules": [
                     {"verbs": ["get"], "nonResourceURLs": ["/walk"]}]}]}}, change,
        status={"conditions": [{"type": "Dangling", "status": "False", "reason": "Found", "message": "walked",
                                "lastTransitionTime": "2030-01-01T00:00:00Z"}]})


def test_priority_level(control, api):  # noqa: F811
    def change(level):
        level["spec"]["limited"]["nominalConcurrencyShares"] = 4
        return level
    walk(control, api, f"{FLOWS}/prioritylevelconfigurations", {
        "metadata": {"name": "walker"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2,
                                                "limitResponse": {"type": "Reject"}}}}, change,
        status={"conditions": [{"type": "Walked", "status": "True", "reason": "Test", "message": "walked",
                                "lastTransitionTime": "2030-01-01T00:00:00Z"}]})


@pytest.mark.parametrize("kind", ["Validating", "Mutating"])
def test_webhook_configuration(control, api, kind):  # noqa: F811
    def change(configuration):
        configuration["webhooks"][0]["rules"][0]["operations"] = ["CREATE", "UPDATE"]
        return configuration
    # Of a resource that nobody has, so that nothing is asked of it.
    walk(control, api, f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}webhookconfigurations", {
        "metadata": {"name": "walker"},
        "webhooks": [{"name": "walk.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                      "clientConfig": {"url": "https://127.0.0.1:1/walk"},
                      "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"],
                                 "resources": ["walkers"]}]}]}, change)


def test_certificate_signing_request(control, api, tmp_path):  # noqa: F811
    base = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=walker", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "csr")],
                   check=True, capture_output=True)
    body = {"metadata": {"name": "walker"},
            "spec": {"request": base64.b64encode((tmp_path / "csr").read_bytes()).decode(),
                     "signerName": "example.com/nobody", "usages": ["client auth"]}}

    def change(request):
        request["metadata"]["annotations"]["changed"] = "true"
        return request
    created = walk(control, api, base, body, change)
    assert created["spec"]["username"] and created["spec"]["groups"]
    again = api.create(base, body)
    approval = {"type": "Approved", "status": "True", "reason": "Walked", "message": "by a test"}
    again["status"] = {"conditions": [approval]}
    approved = api.put(f"{base}/walker/approval", again)
    assert approved["status"]["conditions"][0]["type"] == "Approved"
    assert "conditions" in api.get(f"{base}/walker")["status"]
    signed = api.merge(f"{base}/walker/status", {"status": {"conditions": [
        approval, {"type": "Failed", "status": "True", "reason": "Nobody", "message": "signs for nobody"}]}})
    assert sorted(one["type"] for one in signed["status"]["conditions"]) == ["Approved", "Failed"]
    api.delete(f"{base}/walker")


def test_namespace_is_patched_and_its_status_written(api, space):
    path = f"/api/v1/namespaces/{space}"
    assert api.merge(path, {"metadata": {"labels": {"seen": "yes"}}})["metadata"]["labels"]["seen"] == "yes"
    whole = api.get(path)
    whole["metadata"]["labels"]["updated"] = "yes"
    assert api.put(path, whole)["metadata"]["labels"]["updated"] == "yes"
    condition = {"type": "Walked", "status": "True", "reason": "Test", "message": "patched"}
    patched = api.merge(f"{path}/status", {"status": {"conditions": [condition]}})
    assert patched["status"]["phase"] == "Active" and patched["status"]["conditions"][0]["type"] == "Walked"
    patched["status"]["conditions"].append({**condition, "type": "Updated"})
    updated = api.put(f"{path}/status", patched)
    assert [one["type"] for one in updated["status"]["conditions"]] == ["Walked", "Updated"]


def test_finalizer_of_a_namespace(api, space):
    path = f"/api/v1/namespaces/{space}"
    whole = api.get(path)
    assert whole["spec"]["finalizers"] == ["kubernetes"]
    whole["spec"]["finalizers"].append("example.com/walker")
    assert api.put(f"{path}/finalize", whole)["spec"]["finalizers"] == ["kubernetes", "example.com/walker"]
    # The spec is not what an update of the object itself may change.
    whole = api.get(path)
    whole["spec"]["finalizers"] = ["kubernetes"]
    api.put(path, whole)
    assert api.get(path)["spec"]["finalizers"] == ["kubernetes", "example.com/walker"]
    api.delete(path)

    def held():
        now = api.get(path)
        return now["status"]["phase"] == "Terminating" and now["spec"]["finalizers"] == ["example.com/walker"]
    harness.eventually(held, 10, "it is emptied and kept")
    now = api.get(path)
    now["spec"]["finalizers"] = []
    api.put(f"{path}/finalize", now)
    harness.eventually(lambda: api.raw("GET", path)[0] == 404, 10, "the namespace is gone")


def test_a_table_of_what_has_no_metadata(api):
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
              "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}
    code, _, body = api.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review,
                            {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    assert code == 406, body
    assert json.loads(body)["reason"] == "NotAcceptable"


def test_concurrent_watches_see_one_order(control, api, space):  # noqa: F811
    base = f"/api/v1/namespaces/{space}/configmaps"
    start = api.get(base)["metadata"]["resourceVersion"]
    stop = threading.Event()

    def produce():
        mine = ApiClient(control.kubeconfig, control.node.ns)
        for turn in range(60):
            name = f"m{turn % 3}"
            if turn % 9 < 3:
                mine.raw("POST", base, {"metadata": {"name": name}, "data": {"turn": str(turn)}})
            elif turn % 9 < 6:
                mine.raw("PATCH", f"{base}/{name}", {"data": {"turn": str(turn)}}, MERGE)
            else:
                mine.raw("DELETE", f"{base}/{name}")
            time.sleep(0.005)
        stop.set()
        mine.close()
    producer = threading.Thread(target=produce)
    watches = [Watch(control, f"{base}?watch=1&resourceVersion={start}")]
    producer.start()
    try:
        # Each begins where the one before had got to.
        while not stop.is_set() and len(watches) < 8:
            harness.eventually(lambda: watches[-1].events or stop.is_set(), 10, "a first event")
            if watches[-1].events:
                version = watches[-1].events[0]["object"]["metadata"]["resourceVersion"]
                watches.append(Watch(control, f"{base}?watch=1&resourceVersion={version}"))
        producer.join()
        last = api.create(base, {"metadata": {"name": "last"}})["metadata"]["resourceVersion"]

        def versions(watch):
            return [event["object"]["metadata"]["resourceVersion"] for event in watch.events]
        harness.eventually(lambda: all(last in versions(watch) for watch in watches), 10, "all have seen the last")
        whole = versions(watches[0])
        assert len(whole) > 50 and whole == sorted(whole, key=int)
        for watch in watches[1:]:
            seen = versions(watch)
            assert seen == whole[-len(seen):]
    finally:
        producer.join()
        for watch in watches:
            watch.close()


def definition(group, plural="walkers", kind="Walker", versions=("v1",), schema=None, **version):
    schema = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}", "labels": {"of": group}},
            "spec": {"group": group, "scope": "Namespaced",
                     "names": {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"},
                     "versions": [{"name": one, "served": True, "storage": one == versions[0],
                                   "schema": {"openAPIV3Schema": schema}, **version} for one in versions]}}


DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def established(api, *definitions):
    for one in definitions:
        api.create(DEFINITIONS, one)
    for one in definitions:
        harness.eventually(lambda: any(
            condition["type"] == "Established" and condition["status"] == "True" for condition in
            api.get(f"{DEFINITIONS}/{one['metadata']['name']}").get("status", {}).get("conditions", [])), 10,
            f"{one['metadata']['name']} is established")


def test_status_of_a_definition(api, group):
    established(api, definition(group))
    path = f"{DEFINITIONS}/walkers.{group}"
    assert api.get(f"{path}/status")["status"]["acceptedNames"]["kind"] == "Walker"
    conditions = api.get(path)["status"]["conditions"]
    added = {"type": "Walked", "status": "True", "reason": "Test", "message": "patched"}
    patched = api.merge(f"{path}/status", {"status": {"conditions": conditions + [added]}})
    assert "Walked" in [one["type"] for one in patched["status"]["conditions"]]
    patched["status"]["conditions"].append({**added, "type": "Updated"})
    patched["spec"]["names"]["shortNames"] = ["no"]
    updated = api.put(f"{path}/status", patched)
    assert "Updated" in [one["type"] for one in updated["status"]["conditions"]]
    assert "shortNames" not in updated["spec"]["names"], "the status alone is written"
    api.delete(path)


def test_definitions_deleted_as_a_collection(api, group):
    made = [definition(group, plural, kind) for plural, kind in
            (("walkers", "Walker"), ("runners", "Runner"), ("sitters", "Sitter"))]
    established(api, *made)
    selector = f"labelSelector=of%3D{group}"
    assert len(api.get(f"{DEFINITIONS}?{selector}")["items"]) == 3
    api.delete(f"{DEFINITIONS}?{selector}")
    harness.eventually(lambda: not api.get(f"{DEFINITIONS}?{selector}")["items"], 10, "they are gone")
    harness.eventually(lambda: api.raw("GET", f"/apis/{group}/v1")[0] == 404, 10, "their group is gone")


def published(api, group, version, kind):
    """The definition in the OpenAPI document of version 2; None if there is none."""
    document = json.loads(api.raw("GET", "/openapi/v2")[2])
    for one in document["definitions"].values():
        named = {"group": group, "version": version, "kind": kind}
        if named in one.get("x-kubernetes-group-version-kind", []):
            return one
    return None


def test_published_schemas_of_open_definitions(control, api, space, group):  # noqa: F811
    nested = {"type": "object", "properties": {
        "spec": {"type": "object", "description": "Anything goes.", "x-kubernetes-preserve-unknown-fields": True,
                 "x-kubernetes-embedded-resource": True}}}
    established(api, definition(group), definition(group, "nesters", "Nester", schema=nested))
    harness.eventually(lambda: published(api, group, "v1", "Nester"), 10, "the document has both")
    root = published(api, group, "v1", "Walker")
    assert root["x-kubernetes-preserve-unknown-fields"] is True
    spec = published(api, group, "v1", "Nester")["properties"]["spec"]
    assert spec["x-kubernetes-preserve-unknown-fields"] is True and spec["description"] == "Anything goes."
    # What clients check by the document lets unknown fields pass.
    body = f"apiVersion: {group}/v1\nkind: Walker\nmetadata: {{name: a}}\nanything: {{at: [all]}}\n"
    control.kubectl("-n", space, "create", "-f", "-", input=body)
    assert json.loads(control.kubectl("-n", space, "get", f"walkers.{group}", "a", "-o", "json").stdout)[
        "anything"] == {"at": ["all"]}
    shown = control.kubectl("explain", f"nesters.{group}.spec").stdout
    assert "Anything goes." in shown


def test_published_schemas_follow_the_definitions(api, group):
    other = f"other-{group}"
    established(api, definition(group, versions=("v2", "v3")), definition(group, "runners", "Runner"),
                definition(other))
    harness.eventually(lambda: published(api, other, "v1", "Walker"), 10, "the document has all")
    for of, version, kind in ((group, "v2", "Walker"), (group, "v3", "Walker"), (group, "v1", "Runner")):
        assert published(api, of, version, kind), (of, version, kind)
    path = f"{DEFINITIONS}/walkers.{group}"
    # A version that is not served any more, then one that is called otherwise.
    changed = api.get(path)
    changed["spec"]["versions"][1]["served"] = False
    api.put(path, changed)
    harness.eventually(lambda: not published(api, group, "v3", "Walker"), 10, "v3 is not published")
    assert published(api, group, "v2", "Walker")
    changed = api.get(path)
    changed["spec"]["versions"][1].update(name="v4", served=True)
    api.put(path, changed)
    harness.eventually(lambda: published(api, group, "v4", "Walker"), 10, "v4 is published")
    assert not published(api, group, "v3", "Walker") and published(api, group, "v1", "Runner")


def test_duplicate_and_unknown_fields_of_open_objects(api, space, group):
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {
        "template": {"type": "object", "x-kubernetes-embedded-resource": True,
                     "x-kubernetes-preserve-unknown-fields": True}}}
    established(api, definition(group, schema=schema))
    base = f"/apis/{group}/v1/namespaces/{space}/walkers"
    head = f'"apiVersion":"{group}/v1","kind":"Walker","metadata":{{"name":"a"}}'
    strict = f"{base}?fieldValidation=Strict"

    def create(path, body, kind="application/json"):
        code, headers, answer = api.raw("POST", path, body, {"Content-Type": kind})
        return code, headers.get_all("Warning") or [], json.loads(answer)
    code, _, answer = create(strict, f'{{{head},"open":1,"open":2}}')
    assert code == 400 and 'duplicate field "open"' in answer["message"]
    code, _, answer = create(strict, f"apiVersion: {group}/v1\nkind: Walker\nmetadata: {{name: a}}\nopen: 1\nopen: 2\n",
                             "application/yaml")
    assert code == 400 and 'key "open" already set in map' in answer["message"]
    embedded = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","unknownSubMeta":1},"free":true}'
    body = f'{{"apiVersion":"{group}/v1","kind":"Walker","metadata":{{"name":"a","unknownMeta":1}},' \
           f'"template":{embedded},"free":true}}'
    code, _, answer = create(strict, body)
    assert code == 400
    assert 'unknown field "metadata.unknownMeta"' in answer["message"]
    assert 'unknown field "template.metadata.unknownSubMeta"' in answer["message"]
    assert "free" not in answer["message"]
    code, warnings, answer = create(f"{base}?fieldValidation=Warn", body)
    assert code == 201 and any("unknownMeta" in warning for warning in warnings)
    assert "unknownMeta" not in answer["metadata"] and answer["free"] is True
    assert "unknownSubMeta" not in answer["template"]["metadata"] and answer["template"]["free"] is True


def test_duplicate_and_unknown_fields_of_typed_objects(api, space):
    base = f"/apis/apps/v1/namespaces/{space}/deployments"

    def create(level, metadata="", spec="", sub="", kind="application/json"):
        body = f'''{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"a"{metadata}}},"spec":{{
            "selector":{{"matchLabels":{{"a":"b"}}}}{spec},"template":{{"metadata":{{"labels":{{"a":"b"}}{sub}}},
            "spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}}}'''
        code, headers, answer = api.raw("POST", f"{base}?fieldValidation={level}&dryRun=All", body,
                                        {"Content-Type": kind})
        return code, " ".join(headers.get_all("Warning") or []), json.loads(answer)
    bad = {"metadata": ',"unknownMeta":1', "spec": ',"paused":true,"paused":true,"unknownSpec":1',
           "sub": ',"unknownSubMeta":1'}
    words = ['unknown field "metadata.unknownMeta"', 'unknown field "spec.unknownSpec"',
             'duplicate field "spec.paused"', 'unknown field "spec.template.metadata.unknownSubMeta"']
    code, _, answer = create("Strict", **bad)
    assert code == 400 and answer["reason"] == "BadRequest"
    for word in words:
        assert word in answer["message"], word
    code, warnings, _ = create("Warn", **bad)
    assert code == 201
    for word in words:
        assert word.replace('"', r'\"') in warnings or word in warnings, (word, warnings)
    code, warnings, _ = create("Ignore", **bad)
    assert code == 201 and not warnings
    assert create("Strict")[0] == 201


def test_watch_by_selectable_fields(control, api, space, group):  # noqa: F811
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "color": {"type": "string"}}}}}
    established(api, definition(group, schema=schema, selectableFields=[{"jsonPath": ".spec.color"}]))
    base = f"/apis/{group}/v1/namespaces/{space}/walkers"

    def walker(name, color):
        return {"apiVersion": f"{group}/v1", "kind": "Walker", "metadata": {"name": name}, "spec": {"color": color}}
    with Watch(control, f"{base}?watch=1&fieldSelector=spec.color%3Dblue") as watch:
        api.create(base, walker("one", "blue"))
        api.create(base, walker("two", "red"))
        api.merge(f"{base}/two", {"spec": {"color": "blue"}})
        api.merge(f"{base}/one", {"spec": {"color": "red"}})
        api.create(base, walker("three", "blue"))
        watch.wait([("ADDED", "one"), ("ADDED", "two"), ("DELETED", "one"), ("ADDED", "three")])
        assert len(watch.events) == 4
    blue = api.get(f"{base}?fieldSelector=spec.color%3Dblue")["items"]
    assert sorted(one["metadata"]["name"] for one in blue) == ["three", "two"]
    api.delete(f"{base}?fieldSelector=spec.color%3Dblue")
    assert [one["metadata"]["name"] for one in api.get(base)["items"]] == ["one"]
    refused = refusal(api.get, f"{base}?fieldSelector=spec.size%3D1")
    assert refused.code == 400


def test_cluster_info(control, kubectl_binary):  # noqa: F811
    shown = re.sub(r"\x1b\[[0-9;]*m", "", control.kubectl("cluster-info", binary=kubectl_binary).stdout)
    assert re.search(r"Kubernetes (control plane|master) is running at https://", shown), shown


def test_proxy_by_port_and_by_socket(control, kubectl_binary, tmp_path):  # noqa: F811
    path = str(tmp_path / "proxy.sock")
    environment = {"KUBECONFIG": control.kubeconfig, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for arguments in (["--port=0"], [f"--unix-socket={path}"]):
        proxy = control.node.ns.popen([kubectl_binary, "proxy", *arguments], stdout=subprocess.PIPE, text=True,
                                      env=environment)
        try:
            line = proxy.stdout.readline()
            port = re.search(r"127\.0\.0\.1:(\d+)", line)
            where = ["--unix-socket", path, "http://localhost/api/"] if path in line else \
                [f"http://127.0.0.1:{port.group(1)}/api/"]
            answer = json.loads(control.node.ns.run(["curl", "-sS", *where]).stdout)
            assert answer["kind"] == "APIVersions" and "v1" in answer["versions"], answer
        finally:
            netns.stop(proxy)


@pytest.fixture()
def kube(control, kubectl_binary, space):  # noqa: F811
    def run(*args, **kwargs):
        return control.kubectl("-n", space, *args, binary=kubectl_binary, **kwargs)
    return run


def test_kubectl_exposes_a_replication_controller(kube):
    kube("create", "-f", "-", input=json.dumps(replication_controller("web", 0)))
    kube("expose", "rc", "web", "--name=first", "--port=1234", "--target-port=8080")
    kube("expose", "service", "first", "--name=second", "--port=2345", "--target-port=8080")
    for name, port in (("first", 1234), ("second", 2345)):
        spec = json.loads(kube("get", "svc", name, "-o", "json").stdout)["spec"]
        assert spec["selector"] == {"name": "web"}
        assert [(one["port"], one["targetPort"]) for one in spec["ports"]] == [(port, 8080)]
    shown = kube("describe", "rc", "web").stdout
    for word in ("Name: +web", "Selector: +name=web", "Replicas: +0 current / 0 desired", "Image: +localhost/web:1"):
        assert re.search(word, shown), shown
    kube("scale", "rc", "web", "--replicas=2")
    assert kube("get", "rc", "web", "-o", "jsonpath={.spec.replicas}").stdout == "2"
    kube("delete", "rc", "web")


def test_kubectl_replaces_and_dry_runs_a_pod(kube):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
           "spec": {"containers": [{"name": "c", "image": "localhost/web:1"}]}}
    kube("create", "-f", "-", input=json.dumps(pod))

    def image():
        return kube("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].image}").stdout
    patch = json.dumps({"spec": {"containers": [{"name": "c", "image": "localhost/web:2"}]}})
    kube("patch", "pod", "p", "-p", patch, "--dry-run=server")
    assert image() == "localhost/web:1"
    whole = json.loads(kube("get", "pod", "p", "-o", "json").stdout)
    whole["spec"]["containers"][0]["image"] = "localhost/web:2"
    assert "pod/p replaced" in kube("replace", "-f", "-", input=json.dumps(whole)).stdout
    assert image() == "localhost/web:2"


def test_kubectl_finds_the_difference_of_a_deployment(kube):
    text = kube("create", "deployment", "d", "--image=localhost/web:1", "--dry-run=client", "-o", "yaml").stdout
    kube("apply", "-f", "-", input=text)
    same = kube("diff", "-f", "-", input=text, check=False)
    assert same.returncode == 0, same.stdout + same.stderr
    other = kube("diff", "-f", "-", input=text.replace("web:1", "web:2"), check=False)
    assert other.returncode == 1
    assert re.search(r"^-.*image: localhost/web:1$", other.stdout, re.M), other.stdout
    assert re.search(r"^\+.*image: localhost/web:2$", other.stdout, re.M), other.stdout
