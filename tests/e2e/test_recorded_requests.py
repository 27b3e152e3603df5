"""Requests recorded against kube-apiserver 1.32 that need a whole server: authorization, admission, watches, discovery
and what controllers make of objects. Those that the registry answers by itself are played back by replay_test.

testdata/recorded_requests.jsonl has what was asked and answered. Of many answers the recorder kept a part: KEPT takes
the same part of ours. SETUP makes what was there before.
"""

import base64
import json
import os
import re
import time

import pytest

from harness import cluster as harness
from harness.control import Server

ADDRESS = "127.0.0.1:16454"
HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "testdata", "recorded_requests.jsonl")) as source:
    ROWS = {row["title"]: row for row in map(json.loads, source)}
HO, HOQ = "/api/v1/namespaces/ho", "/api/v1/namespaces/hoq"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/ho"


@pytest.fixture(scope="module")
def server():
    made = Server(ADDRESS, "--components", "apiserver,controllers", "--anonymous-auth=true",
                  "--service-account-issuer", "https://kubernetes.default.svc")
    try:
        for name in ("ho", "hoq"):
            made.make("/api/v1/namespaces", {"metadata": {"name": name}})
            for path in ("configmaps/kube-root-ca.crt", "serviceaccounts/default"):
                settle(lambda path=f"/api/v1/namespaces/{name}/{path}": made.call("GET", path)[0] == 200, path)
        yield made
    finally:
        made.close()


def settle(check, what):
    return harness.eventually(check, 20, what, 0.05)


def pod(name, **more):
    labels = more.pop("labels", {"app": name})
    return {"metadata": {"name": name, "labels": labels, **more.pop("metadata", {})},
            "spec": {"containers": [{"name": "c", "image": "i", **more}]}}


def config_map(name, **labels):
    return {"metadata": {"name": name, "labels": labels}, "data": {"k": "v"}}


def watched(server, path, accept=None):
    """Events of a watch that ends by its timeoutSeconds."""
    code, text = server.call("GET", path, headers=[f"Accept: {accept}"] if accept else ())
    assert code == 200, text
    if isinstance(text, dict):  # one event alone
        return [text]
    return [json.loads(line) for line in text.splitlines() if line]


# What was there before ---------------------------------------------------------------------------

def made_once(server, path, body):
    code, answer = server.call("POST", path, body=body)
    assert code in (201, 409), answer


def some_config_maps(server):
    made_once(server, f"{HO}/configmaps", config_map("a"))
    for i in range(5):
        made_once(server, f"{HO}/configmaps", config_map(f"li{i}", l="x", i=str(i)))


def changes_of_a_label(server):
    first = server.make(f"{HO}/configmaps", config_map("w0"))["metadata"]["resourceVersion"]
    path = f"{HO}/configmaps/w1"
    server.make(f"{HO}/configmaps", config_map("w1", l="w"))
    for label in ("z", "w"):
        code, answer = server.call("PATCH", path, body={"metadata": {"labels": {"l": label}}},
                                   kind="application/merge-patch+json")
        assert code == 200, answer
    assert server.call("DELETE", path)[0] == 200
    return first


def a_pod_on_a_ghost(server):
    made_once(server, f"{HO}/pods", pod("bind"))
    server.call("POST", f"{HO}/pods/bind/binding", body={"metadata": {"name": "bind"}, "target": {"name": "ghost"}})


def quota(server):
    made_once(server, f"{HOQ}/resourcequotas", {
        "metadata": {"name": "q"}, "spec": {"hard": {"pods": "1", "requests.cpu": "1", "count/configmaps": "2"}}})
    settle(lambda: server.call("GET", f"{HOQ}/resourcequotas/q")[1].get("status", {}).get("used", {})
           .get("count/configmaps") in ("1", "2"), "the quota is counted")
    made_once(server, f"{HOQ}/configmaps", config_map("c1"))


def quota_and_pod(server):
    quota(server)
    server.call("POST", f"{HOQ}/pods", body=json.loads(ROWS["quota ok"]["body"]))


def limit_range(server):
    quota(server)
    made_once(server, f"{HOQ}/limitranges", {
        "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}})


def restricted(server):
    quota(server)
    server.call("PATCH", HOQ, body={"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
                kind="application/merge-patch+json")


def developers(server):
    some_config_maps(server)
    made_once(server, f"{RBAC}/roles", {"metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["get"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}]})
    made_once(server, f"{RBAC}/rolebindings", {
        "metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "developers"}]})
    settle(lambda: server.call("GET", f"{HO}/configmaps/a", "devtoken")[0] == 200, "the role is in force")


def deployment(server):
    template = {"metadata": {"labels": {"a": "w"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made_once(server, "/apis/apps/v1/namespaces/ho/deployments", {
        "metadata": {"name": "w"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "w"}}, "template": template}})
    settle(lambda: len(server.call("GET", f"{HO}/pods?labelSelector=a%3Dw")[1]["items"]) == 2, "two pods")


def scaled_deployment(server):
    deployment(server)
    code, answer = server.call("PATCH", "/apis/apps/v1/namespaces/ho/deployments/w", body={"spec": {"replicas": 0}},
                               kind="application/merge-patch+json")
    assert code == 200, answer


def endpoints(server):
    """A Service and then two pods that become ready; no kubelet is here to say so."""
    made_once(server, f"{HO}/services", {"metadata": {"name": "w"},
                                         "spec": {"selector": {"a": "e"}, "ports": [{"port": 80}]}})
    settle(lambda: server.call("GET", f"{HO}/endpoints/w")[0] == 200, "its Endpoints")
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for i, name in enumerate(("e1", "e2")):
        made_once(server, f"{HO}/pods", pod(name, labels={"a": "e"}))
        server.call("POST", f"{HO}/pods/{name}/binding",
                    body={"metadata": {"name": name}, "target": {"name": "localhost"}})
        code, answer = server.call("PATCH", f"{HO}/pods/{name}/status", kind="application/merge-patch+json", body={
            "status": {"phase": "Running", "podIP": f"10.231.0.{109 + i}", "podIPs": [{"ip": f"10.231.0.{109 + i}"}],
                       "conditions": [{"type": "Ready", "status": "True",
                                       "lastTransitionTime": now}]}})
        assert code == 200, answer


def deleted_owner(policy):
    def setup(server):
        name = f"gc{policy.lower()}"
        path = "/apis/apps/v1/namespaces/ho/replicasets"
        server.make(path, {"metadata": {"name": name}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"g": name}},
            "template": {"metadata": {"labels": {"g": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
        settle(lambda: server.call("GET", f"{HO}/pods?labelSelector=g%3D{name}")[1]["items"], "its pod")
        assert server.call("DELETE", f"{path}/{name}?propagationPolicy={policy}")[0] == 200
        settle(lambda: server.call("GET", f"{path}/{name}")[0] == 404, "the owner goes")
    return setup


def failed_job(server):
    server.make("/apis/batch/v1/namespaces/ho/jobs", {"metadata": {"name": "bad"}, "spec": {
        "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
    def its_pods():
        return server.call("GET", f"{HO}/pods?labelSelector=job-name%3Dbad")[1]["items"]
    settle(its_pods, "the job's pod")
    name = its_pods()[0]["metadata"]["name"]
    code, answer = server.call("PATCH", f"{HO}/pods/{name}/status", body={"status": {"phase": "Failed"}},
                               kind="application/merge-patch+json")
    assert code == 200, answer


SETUP = {
    "no-op PUT keeps resourceVersion": some_config_maps, "continue": some_config_maps, "Exact": some_config_maps,
    "watch from rv": changes_of_a_label, "watch too old rv": some_config_maps, "legacy watch path": some_config_maps,
    "watch as Table": some_config_maps, "log of an unscheduled pod": a_pod_on_a_ghost,
    "exec without upgrade": a_pod_on_a_ghost, "quota ok": quota, "quota object count": quota,
    "quota status": quota_and_pod, "limitrange max": limit_range, "PodSecurity restricted": restricted,
    "RBAC denied list": developers, "allowed by resourceName": developers, "escalation": developers,
    "SelfSubjectAccessReview": developers, "ReplicaSet": deployment, "event list with fieldSelector": scaled_deployment,
    "Endpoints": endpoints, "GC Background result: dependents": deleted_owner("Background"),
    "GC Foreground result: owner": deleted_owner("Foreground"), "GC Orphan result: dependents": deleted_owner("Orphan"),
    "Job failed": failed_job,
}


# What the recorder kept --------------------------------------------------------------------------

def names(answer):
    return [item["metadata"]["name"] for item in answer["items"]]


def told(events):
    return [[event["type"], event["object"]["kind"], event["object"]["metadata"]["name"]] for event in events]


def claims_of(answer):
    part = answer["status"]["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    spec = {key: answer["spec"].get(key) for key in ("audiences", "expirationSeconds", "boundObjectRef")}
    assert claims["exp"] - claims["iat"] == 600 and claims["nbf"] == claims["iat"]
    return [spec, sorted(answer["status"]), {**claims, "exp": 1795212310, "iat": 1795211710, "nbf": 1795211710}]


def members(value, *keys):
    return {key: value[key] for key in keys if key in value}


def pods_entries(answer):
    return [[r["name"], r["kind"], r.get("group"), r.get("version"), r["verbs"]]
            for r in sorted(answer["resources"], key=lambda r: r["name"])
            if r["name"] == "pods" or r["name"].startswith("pods/")]


def openapi_index(answer):
    return {key: answer["paths"][key] for key in (".well-known/openid-configuration", "api")}


KEPT = {
    "quota ok": lambda a: "created" if a["kind"] == "Pod" else a, "quota object count": lambda a: a["message"],
    "quota status": lambda a: members(a["status"], "hard", "used"),
    "token": claims_of, "allowed by resourceName": lambda a: a["kind"],
    "SelfSubjectAccessReview": lambda a: a["status"], "SelfSubjectReview": lambda a: a["status"],
    "TokenReview bad": lambda a: a["status"], "/api v1 pods entries": pods_entries,
    "/api/v1 pods entries": pods_entries, "/openapi/v3 index": openapi_index,
    "categories": lambda a: {r["name"]: r["categories"] for r in a["resources"] if "categories" in r},
    "ReplicaSet": lambda a: [[i["metadata"]["name"], i["metadata"]["labels"], i["metadata"]["annotations"],
                              i["metadata"]["ownerReferences"]] for i in a["items"]],
    "Endpoints": lambda a: [a["metadata"].get("annotations"), a["subsets"]],
    "default objects in every namespace": lambda a: list(a["data"]),
    "GC Background result: dependents": names, "GC Foreground result: owner": lambda a: a["reason"],
    "GC Orphan result: dependents": lambda a: [i["metadata"].get("ownerReferences") for i in a["items"]],
    "Job failed": lambda a: [[c["type"], c["status"], c["reason"], c["message"]] for c in a["status"]["conditions"]],
    "event list with fieldSelector": lambda a: [
        [e["reason"], e["message"], e["type"], e["source"], e["count"]]
        for e in sorted(a["items"], key=lambda e: int(e["metadata"]["resourceVersion"]))],
}
# What controllers do comes in its own time.
SETTLES = {"ReplicaSet", "Endpoints", "Job failed", "event list with fieldSelector", "quota status",
           "GC Background result: dependents", "GC Orphan result: dependents", "RBAC denied list"}
APART = {"uid in body is ignored", "no-op PUT keeps resourceVersion", "continue", "Exact", "watch from rv",
         "watch too old rv", "legacy watch path", "watch as Table"}


def normal(value):
    """What differs from run to run, replaced by a word."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    for pattern, word in ((r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
                          (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"), (r"hash=[0-9A-Fa-f]+", "hash=<hash>"),
                          # The recorder did not keep the template that these are a digest of, nor where its server was.
                          (r"\bw-[bcdf-hj-np-tv-z2456789]{6,10}(-[bcdf-hj-np-tv-z2456789]{5})?\b", "w-<hash>"),
                          (r'"pod-template-hash": "[a-z0-9]+"', '"pod-template-hash": "<hash>"'),
                          (r'"name": "e[12]"', '"name": "w-<hash>"'),
                          (r"(192\.0\.2\.2:16443|127\.0\.0\.1:16454)", "<address>")):
        text = re.sub(pattern, word, text)
    return text


def same(row, code, answer):
    assert code == row["status"], answer
    kept = KEPT.get(row["title"], lambda a: a)(answer)
    recorded = row["resp"]
    try:
        recorded = json.loads(recorded)
    except ValueError:
        pass
    if row["title"] == "/version":
        # It is not the same program; but clients ask these.
        assert sorted(kept) == sorted(recorded)
        kept, recorded = (members(v, "major", "minor", "compiler", "platform") for v in (kept, recorded))
        kept["compiler"] = recorded["compiler"]
    assert normal(kept) == normal(recorded)


def ask(server, row):
    headers = [f"{name}: {value}" for name, value in row.get("h", {}).items()]
    return server.call(row["m"], row["p"], row.get("token"), row.get("body"), headers)


@pytest.mark.parametrize("title", [title for title in ROWS if title not in APART])
def test_recorded(server, title):
    row = ROWS[title]
    if title in SETUP:
        SETUP[title](server)
    if title not in SETTLES:
        return same(row, *ask(server, row))
    wrong = []

    def right():
        try:
            same(row, *ask(server, row))
        except (AssertionError, KeyError, TypeError) as error:
            wrong[:] = [error]
            return False
        return True
    try:
        settle(right, title)
    except AssertionError:
        raise wrong[0] from None
    return None


@pytest.mark.parametrize("title", [title for title in ROWS if "hdr" in ROWS[title] and title not in APART])
def test_recorded_headers(server, title):
    row = ROWS[title]
    heads = server.heads(row["m"], row["p"], row.get("token"))
    for name, value in row["hdr"].items():
        assert heads[name.lower()] == value


def test_uid_and_time_of_a_client_are_ignored(server):
    row = ROWS["uid in body is ignored"]
    code, answer = ask(server, row)
    sent = json.loads(row["body"])["metadata"]
    kept = [answer["metadata"][field] == sent[field] for field in ("uid", "creationTimestamp")]
    assert (code, f"uid kept={kept[0]} ts kept={kept[1]}") == (row["status"], row["resp"])


def test_an_update_that_changes_nothing_keeps_the_version(server):
    row = ROWS["no-op PUT keeps resourceVersion"]
    some_config_maps(server)
    before = server.call("GET", f"{HO}/configmaps/a")[1]
    code, after = server.call(row["m"], row["p"], body=before)
    versions = [o["metadata"]["resourceVersion"] for o in (before, after)]
    assert (code, f"same rv={versions[0] == versions[1]}") == (row["status"], row["resp"])


def test_a_list_goes_on(server):
    row = ROWS["continue"]
    some_config_maps(server)
    path, _, recorded = row["p"].partition("&continue=")
    first = server.call("GET", path)[1]
    token = first["metadata"]["continue"]

    def opened(text):
        return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    # The token says what it said there, but for the version.
    assert opened(token) == {**opened(recorded), "rv": int(first["metadata"]["resourceVersion"])}
    code, second = server.call("GET", f"{path}&continue={token}")
    assert (code, names(second)) == (row["status"], json.loads(row["resp"]))


def test_a_list_at_an_exact_version(server):
    row = ROWS["Exact"]
    some_config_maps(server)
    version = server.call("GET", f"{HO}/configmaps")[1]["metadata"]["resourceVersion"]
    server.make(f"{HO}/configmaps", config_map("later"))
    code, answer = server.call("GET", row["p"].replace("resourceVersion=300", f"resourceVersion={version}"))
    echoed = answer["metadata"]["resourceVersion"] == version
    assert (code, f"rv echoed={echoed}") == (row["status"], row["resp"])
    assert "later" not in names(answer)


def test_a_watch_from_a_version(server):
    row = ROWS["watch from rv"]
    first = changes_of_a_label(server)
    events = watched(server, row["p"].replace("resourceVersion=301", f"resourceVersion={first}"))
    assert told(events) == json.loads(row["resp"])


def test_a_watch_from_the_beginning(server):
    """The recording's server had all of its events still; so has ours. Its order is that of the changes."""
    row = ROWS["watch too old rv"]
    some_config_maps(server)
    events = told(watched(server, row["p"]))
    first = [event for event in events if event[2] in ("kube-root-ca.crt", "a", "li0", "li4")]
    recorded = [event for event in json.loads(row["resp"])
                if event[2] in ("kube-root-ca.crt", "a", "li0", "li4") and event[0] == "ADDED"]
    assert [event for event in first if event[0] == "ADDED"] == recorded


def test_the_watch_path_of_old(server):
    row = ROWS["legacy watch path"]
    some_config_maps(server)
    assert told(watched(server, row["p"])) == json.loads(row["resp"])


def test_a_watch_as_tables(server):
    row = ROWS["watch as Table"]
    some_config_maps(server)
    events = watched(server, row["p"], row["h"]["Accept"])
    kept = [[e["type"], e["object"]["kind"], {"rv": bool(e["object"]["metadata"].get("resourceVersion")),
                                              "ann": e["object"]["metadata"].get("annotations")}] for e in events]
    assert kept == json.loads(row["resp"])
