"""Who may do what: roles, bindings, reviews, impersonation, kubelets, and the roles a cluster starts with.

One control plane for all cases. Expectations: recordings of kube-apiserver 1.32 (shared wire recordings) and
Kubernetes' documentation of RBAC, of the node authorizer and of NodeRestriction.
"""

import os
import subprocess

import pytest

from harness import cluster as harness
from harness.cluster import BIN
from harness.control import Server

ADDRESS = "127.0.0.1:16453"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def server():
    made = Server(ADDRESS)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture()
def space(server, request):
    """A namespace of the test's own."""
    name = request.node.name.lower().replace("]", "")
    for sign in "_[.":
        name = name.replace(sign, "-")
    name = name[:50].strip("-")
    server.make("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def rule(verbs, resources, names=None, group=""):
    out = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return {**out, "resourceNames": names} if names else out


def grant(server, space, rules, user="dev", name="r"):
    server.make(f"{RBAC}/namespaces/{space}/roles", {"metadata": {"name": name}, "rules": rules})
    server.make(f"{RBAC}/namespaces/{space}/rolebindings", {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]})


def test_forbidden_until_granted_and_at_once_after(server, space):
    path = f"/api/v1/namespaces/{space}/configmaps"
    code, refused = server.call("GET", path, "devtoken")
    assert (code, refused["message"], refused["details"]) == (
        403, f'configmaps is forbidden: User "dev" cannot list resource "configmaps" in API group "" in the namespace '
        f'"{space}"', {"kind": "configmaps"})
    grant(server, space, [rule(["get"], ["configmaps"], ["a"])])
    # 403 comes before 404: what may be read is missed, what may not is not looked for.
    assert server.call("GET", path + "/a", "devtoken")[0] == 404
    assert server.call("GET", path + "/b", "devtoken")[0] == 403
    # Each acknowledged change is in force for the next request, both ways, many times.
    role = f"{RBAC}/namespaces/{space}/roles/r"
    for _ in range(20):
        code, answer = server.call("PATCH", role, body={"rules": [rule(["list"], ["configmaps"])]},
                                   kind="application/merge-patch+json")
        assert code == 200, answer
        assert server.call("GET", path, "devtoken")[0] == 200
        server.call("PATCH", role, body={"rules": []}, kind="application/merge-patch+json")
        assert server.call("GET", path, "devtoken")[0] == 403
    server.call("PATCH", role, body={"rules": [rule(["list"], ["configmaps"])]}, kind="application/merge-patch+json")
    assert server.call("DELETE", f"{RBAC}/namespaces/{space}/rolebindings/r")[0] == 200
    assert server.call("GET", path, "devtoken")[0] == 403


def test_selectors_do_not_open_what_names_close(server, space):
    grant(server, space, [rule(["list", "watch"], ["configmaps"], ["a"])])
    path = f"/api/v1/namespaces/{space}/configmaps?fieldSelector="
    assert server.call("GET", path + "metadata.name%3Da", "devtoken")[0] == 200
    assert server.call("GET", path + "metadata.name%3Db", "devtoken")[0] == 403
    assert server.call("GET", path + "metadata.name!%3Da", "devtoken")[0] == 403
    assert server.call("GET", path + "metadata.namespace!%3Dx%5C,metadata.name%3Da", "devtoken")[0] == 403
    assert server.call("GET", f"/api/v1/watch/namespaces/{space}/configmaps", "devtoken")[0] == 403


def test_paths_that_are_no_resources(server):
    for path, dev, monitoring in (("/version", 200, 200), ("/openapi/v2", 200, 200), ("/apis", 200, 200),
                                  ("/api/v1", 200, 200), ("/metrics", 403, 200), ("/readyz/store", 403, 200),
                                  ("/", 403, 403)):
        assert server.call("GET", path, "devtoken")[0] == dev, path
        assert server.call("GET", path, "montoken")[0] == monitoring, path
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert server.call("GET", path, None)[0] == 200
    for path in ("/metrics", "/api", "/api/v1/nodes"):
        assert server.call("GET", path, None)[0] == 401
    assert server.call("GET", "/api/v1/namespaces/kube-public/configmaps/cluster-info", None)[0] == 404
    assert server.call("GET", "/api/v1/namespaces/kube-public/configmaps/other", None)[0] == 401


def test_escalation(server, space):
    grant(server, space, [rule(["get"], ["configmaps"]),
                          rule(["create", "update", "patch", "get"], ["roles", "rolebindings"],
                               group="rbac.authorization.k8s.io")])
    roles = f"{RBAC}/namespaces/{space}/roles"
    code, refused = server.call("POST", roles, "devtoken", {
        "metadata": {"name": "e"}, "rules": [rule(["get"], ["secrets"])]})
    assert code == 403
    assert refused["message"] == (
        'roles.rbac.authorization.k8s.io "e" is forbidden: user "dev" (groups=["developers" "system:authenticated"]) '
        'is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}')
    assert refused["details"] == {"name": "e", "group": "rbac.authorization.k8s.io", "kind": "roles"}
    server.make(roles, {"metadata": {"name": "fine"}, "rules": [rule(["get"], ["configmaps"])]}, "devtoken")
    # Neither by a change nor by a patch nor by a dry run.
    assert server.call("PATCH", roles + "/fine", "devtoken", {"rules": [rule(["get"], ["secrets"])]},
                       kind="application/merge-patch+json")[0] == 403
    assert server.call("PATCH", roles + "/fine?dryRun=All", "devtoken", {"rules": [rule(["get"], ["secrets"])]},
                       kind="application/merge-patch+json")[0] == 403
    assert server.call("PUT", roles + "/new", "devtoken", {
        "metadata": {"name": "new"}, "rules": [rule(["get"], ["secrets"])]})[0] == 403

    def binding(kind, role):
        return {"metadata": {"generateName": "b-"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]}
    bindings = f"{RBAC}/namespaces/{space}/rolebindings"
    assert server.call("POST", bindings, "devtoken", binding("ClusterRole", "cluster-admin"))[0] == 403
    code, missing = server.call("POST", bindings, "devtoken", binding("Role", "nowhere"))
    assert (code, missing["message"]) == (404, 'roles.rbac.authorization.k8s.io "nowhere" not found')
    server.make(bindings, binding("Role", "fine"), "devtoken")
    # The verb bind, for one role.
    grant(server, space, [rule(["bind"], ["clusterroles"], ["view"], "rbac.authorization.k8s.io")], name="binder")
    server.make(bindings, binding("ClusterRole", "view"), "devtoken")
    assert server.call("POST", bindings, "devtoken", binding("ClusterRole", "edit"))[0] == 403
    # And escalate.
    grant(server, space, [rule(["escalate"], ["roles"], group="rbac.authorization.k8s.io")], name="escalator")
    server.make(roles, {"metadata": {"name": "e"}, "rules": [rule(["get"], ["secrets"])]}, "devtoken")


def test_creation_by_put_needs_create(server, space):
    grant(server, space, [rule(["update"], ["roles"], group="rbac.authorization.k8s.io")])
    code, refused = server.call("PUT", f"{RBAC}/namespaces/{space}/roles/new", "devtoken",
                                {"metadata": {"name": "new"}, "rules": []})
    assert code == 403 and 'cannot create resource "roles"' in refused["message"]


def test_impersonation(server, space):
    path = f"/api/v1/namespaces/{space}/pods"
    code, refused = server.call("GET", path, headers=["Impersonate-User: bob", "Impersonate-Group: g1"])
    assert (code, refused["message"]) == (
        403, f'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "{space}"')
    code, refused = server.call("GET", path, "evetoken", headers=["Impersonate-User: bob"])
    assert (code, refused["message"]) == (
        403, 'users "bob" is forbidden: User "eve" cannot impersonate resource "users" in API group "" at the cluster '
        'scope')
    server.make(f"{RBAC}/clusterroles", {"metadata": {"name": "as-bob"}, "rules": [
        rule(["impersonate"], ["users"], ["bob"]),
        rule(["impersonate"], ["userextras/scopes"], ["view"], "authentication.k8s.io")]})
    server.make(f"{RBAC}/clusterrolebindings", {
        "metadata": {"name": "as-bob"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "as-bob"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]})

    def who(*headers):
        return server.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "evetoken", {}, headers)
    code, answer = who("Impersonate-User: bob", "Impersonate-Extra-Scopes: view")
    assert code == 201
    assert answer["status"]["userInfo"] == {"username": "bob", "groups": ["system:authenticated"],
                                            "extra": {"scopes": ["view"]}}
    assert who("Impersonate-User: bob", "Impersonate-Group: system:masters")[0] == 403
    assert who("Impersonate-User: bob", "Impersonate-Extra-Scopes: admin")[0] == 403
    assert who("Impersonate-User: bob", "Impersonate-Uid: 1")[0] == 403
    assert who("Impersonate-User: root")[0] == 403


def test_reviews(server, space):
    grant(server, space, [rule(["get"], ["configmaps"], ["a"])])

    def may(attributes, token="devtoken"):
        return server.make(f"{REVIEWS}/selfsubjectaccessreviews",
                           {"spec": {"resourceAttributes": {"namespace": space, **attributes}}}, token)["status"]
    assert may({"verb": "get", "resource": "configmaps", "name": "a"}) == {
        "allowed": True, "reason": f'RBAC: allowed by RoleBinding "r/{space}" of Role "r" to User "dev"'}
    assert may({"verb": "get", "resource": "configmaps", "name": "b"}) == {"allowed": False}
    attributes = {"namespace": space, "verb": "get", "resource": "configmaps", "name": "a"}
    other = server.make(f"{REVIEWS}/subjectaccessreviews", {"spec": {"user": "dev", "resourceAttributes": attributes}})
    assert other["status"]["allowed"]
    assert server.call("POST", f"{REVIEWS}/subjectaccessreviews", "devtoken", {"spec": {"user": "dev"}})[0] == 403
    local = f"{REVIEWS}/namespaces/{space}/localsubjectaccessreviews"
    assert server.make(local, {"metadata": {"namespace": space}, "spec": {
        "user": "dev", "resourceAttributes": attributes}})["status"]["allowed"]
    code, wrong = server.call("POST", local, body={"spec": {
        "user": "dev", "resourceAttributes": {**attributes, "namespace": "other"}}})
    assert code == 422, wrong
    for body in ({"spec": {}}, {"spec": {"resourceAttributes": {}, "nonResourceAttributes": {}}}):
        assert server.call("POST", f"{REVIEWS}/selfsubjectaccessreviews", "devtoken", body)[0] == 422
    rules = server.make(f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": space}}, "devtoken")["status"]
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]} in (
        rules["resourceRules"])
    assert rules["incomplete"] is False
    me = server.make("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, "devtoken")["status"]
    assert me == {"userInfo": {"username": "dev", "uid": "dev-uid", "groups": ["developers", "system:authenticated"]}}


def test_kubectl_auth(server, space, kubectl_binary):
    grant(server, space, [rule(["get", "list"], ["pods"])])

    def kubectl(*args, check=True):
        return subprocess.run([kubectl_binary, "--kubeconfig", server.kubeconfig, "-n", space, *args], timeout=60,
                              capture_output=True, text=True, check=check,
                              env={**os.environ, "HOME": server.directory})
    assert kubectl("auth", "can-i", "delete", "nodes").stdout.strip() == "yes"
    assert kubectl("auth", "can-i", "list", "pods", "--as", "dev").stdout.strip() == "yes"
    no = kubectl("auth", "can-i", "delete", "pods", "--as", "dev", check=False)
    assert (no.stdout.strip(), no.returncode) == ("no", 1)
    assert kubectl("auth", "can-i", "get", "/version", "--as", "dev").stdout.strip() == "yes"
    listed = kubectl("auth", "can-i", "--list", "--as", "dev").stdout
    assert any(line.split() == ["pods", "[]", "[]", "[get", "list]"] for line in listed.splitlines()), listed
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed and "[/healthz]" in listed
    if not kubectl_binary.endswith(("1.27",)) and "whoami" in kubectl("auth", "--help").stdout:
        assert "kubernetes-admin" in kubectl("auth", "whoami").stdout
    kubectl("create", "role", "made", "--verb=get", "--resource=configmaps")
    kubectl("create", "rolebinding", "made", "--role=made", "--user=eve")
    assert kubectl("auth", "can-i", "get", "configmaps", "--as", "eve").stdout.strip() == "yes"
    kubectl("create", "clusterrole", f"sum-{space}-{os.path.basename(kubectl_binary)}", "--aggregation-rule", "a=b")


def test_default_roles_and_aggregation(server):
    roles = {role["metadata"]["name"]: role for role in server.call("GET", f"{RBAC}/clusterroles")[1]["items"]}
    admin = roles["cluster-admin"]
    assert admin["metadata"]["annotations"] == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    assert admin["metadata"]["labels"] == {"kubernetes.io/bootstrapping": "rbac-defaults"}
    assert admin["rules"] == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                              {"verbs": ["*"], "nonResourceURLs": ["*"]}]

    def permits(role, verb, resource):
        return any(verb in each["verbs"] and resource in each.get("resources", []) for each in
                   server.call("GET", f"{RBAC}/clusterroles/{role}")[1]["rules"])
    assert permits("view", "list", "pods") and not permits("view", "get", "secrets")
    assert permits("edit", "get", "secrets") and permits("edit", "list", "pods") and permits("edit", "create", "pods")
    assert permits("admin", "create", "rolebindings") and not permits("edit", "create", "rolebindings")
    # A role with the label is drawn on at once, and through edit and admin too; without it no more.
    server.make(f"{RBAC}/clusterroles", {
        "metadata": {"name": "crontabs", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [rule(["get"], ["crontabs"], group="stable.example.com")]})
    for role in ("view", "edit", "admin"):
        harness.eventually(lambda role=role: permits(role, "get", "crontabs"), 5, role)
    assert server.call("PATCH", f"{RBAC}/clusterroles/crontabs", body={"metadata": {"labels": None}},
                       kind="application/merge-patch+json")[0] == 200
    for role in ("view", "edit", "admin"):
        harness.eventually(lambda role=role: not permits(role, "get", "crontabs"), 5, role)


def test_restart_mends_the_default_roles(server):
    path = f"{RBAC}/clusterroles/system:discovery"
    before = server.call("GET", path)[1]["rules"]
    mine = {"apiGroups": [""], "resources": ["mine"], "verbs": ["get"]}
    server.call("PATCH", path, body={"rules": [mine]}, kind="application/merge-patch+json")
    alone = f"{RBAC}/clusterroles/system:kube-dns"
    server.call("PATCH", alone, body={"rules": [], "metadata": {"annotations": {
        "rbac.authorization.kubernetes.io/autoupdate": "false"}}}, kind="application/merge-patch+json")
    assert server.call("DELETE", f"{RBAC}/clusterrolebindings/system:basic-user")[0] == 200
    assert server.call("DELETE", f"{RBAC}/clusterroles/system:heapster")[0] == 200
    server.stop()
    server.start()
    # What people added stays, what is missing comes back; who said so is left alone.
    after = server.call("GET", path)[1]["rules"]
    assert after[0] == {"verbs": ["get"], "apiGroups": [""], "resources": ["mine"]} and after[1:] == before
    assert not server.call("GET", alone)[1].get("rules")
    assert server.call("GET", f"{RBAC}/clusterrolebindings/system:basic-user")[0] == 200
    assert server.call("GET", f"{RBAC}/clusterroles/system:heapster")[0] == 200


def test_bootstrap_tokens(server):
    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    for method, path, status in (("GET", requests, 200), ("GET", requests + "/none", 404), ("GET", "/apis", 200),
                                 ("DELETE", requests + "/none", 403), ("PUT", requests + "/none/approval", 403),
                                 ("GET", "/api/v1/nodes", 403), ("GET", "/api/v1/namespaces/kube-system/secrets", 403),
                                 ("GET", "/api/v1/namespaces/kube-public/configmaps/cluster-info", 404),
                                 ("GET", "/api/v1/namespaces/kube-public/configmaps", 403)):
        assert server.call(method, path, "boottoken")[0] == status, (method, path)


def pod(name, node="n1", **more):
    return {"metadata": {"name": name, **more.pop("metadata", {})},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **more}}


def test_kubelets_and_what_their_pods_use(server, space):
    base = f"/api/v1/namespaces/{space}"
    for name in ("used", "unused"):
        server.make(base + "/secrets", {"metadata": {"name": name}})
        server.make(base + "/configmaps", {"metadata": {"name": name}})
    secret = base + "/secrets/used"
    code, refused = server.call("GET", secret, "nodetoken")
    assert code == 403
    assert refused["message"] == (
        f'secrets "used" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the '
        f"namespace \"{space}\": no relationship found between node 'n1' and this object")
    server.make(base + "/pods", pod("web", imagePullSecrets=[{"name": "used"}],
                                    volumes=[{"name": "v", "configMap": {"name": "used"}}]))
    harness.eventually(lambda: server.call("GET", secret, "nodetoken")[0] == 200, 5, "the secret")
    assert server.call("GET", base + "/configmaps/used", "nodetoken")[0] == 200
    watch = f"{base}/secrets?fieldSelector=metadata.name%3Dused&watch=1&timeoutSeconds=1"
    assert server.call("GET", watch, "nodetoken")[0] == 200
    for path in (base + "/secrets/unused", base + "/configmaps/unused", base + "/secrets", "/api/v1/secrets",
                 "/api/v1/pods", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", base + "/serviceaccounts"):
        assert server.call("GET", path, "nodetoken")[0] == 403, path
    assert server.call("GET", secret, "othernodetoken")[0] == 403
    assert server.call("GET", base + "/pods/web", "nodetoken")[0] == 200
    assert server.call("GET", base + "/pods/web", "othernodetoken")[0] == 403
    assert server.call("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "nodetoken")[0] == 200
    server.call("DELETE", base + "/pods/web?gracePeriodSeconds=0")
    harness.eventually(lambda: server.call("GET", secret, "nodetoken")[0] == 403, 5, "the secret closed")


def test_node_restriction(server, space):
    def own(body, token="nodetoken"):
        return server.call("POST", "/api/v1/nodes", token, body)
    code, refused = own({"metadata": {"name": "n2"}})
    assert (code, refused["message"]) == (
        403, 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"')
    code, refused = own({"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/a": "b"}}})
    assert code == 403 and "node-restriction.kubernetes.io/a" in refused["message"]
    assert own({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1", "mine": "x"}},
                "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})[0] == 201
    merge = "application/merge-patch+json"
    assert server.call("PATCH", "/api/v1/nodes/n1", "nodetoken", {"metadata": {"labels": {"mine": "y"}}},
                       kind=merge)[0] == 200
    assert server.call("PATCH", "/api/v1/nodes/n1", "nodetoken", {"spec": {"taints": None}}, kind=merge)[0] == 403
    assert server.call("PATCH", "/api/v1/nodes/n1", "nodetoken",
                       {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, kind=merge)[0] == 403
    assert server.call("PATCH", "/api/v1/nodes/n1/status", "othernodetoken",
                       {"status": {"phase": "Running"}}, kind=merge)[0] == 403
    # Its own status, by a patch that changes nothing, but not that of another Node.
    assert server.call("PATCH", "/api/v1/nodes/n1/status", "nodetoken", {}, kind=merge)[0] == 200
    assert server.call("PATCH", "/api/v1/nodes/n1/status", "othernodetoken", {}, kind=merge)[0] == 403
    assert server.call("DELETE", "/api/v1/nodes/n1", "nodetoken")[0] == 403

    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    assert server.call("POST", lease, "nodetoken", {"metadata": {"name": "n2"}})[0] == 403
    assert server.call("POST", lease, "nodetoken", {"metadata": {"name": "n1"}})[0] == 201
    assert server.call("GET", lease + "/n1", "othernodetoken")[0] == 403

    base = f"/api/v1/namespaces/{space}/pods"
    server.make(base, pod("here"))
    server.make(base, pod("there", "n2"))
    for name, status in (("here", 200), ("there", 403)):
        assert server.call("PATCH", f"{base}/{name}/status", "nodetoken", {"status": {"phase": "Running"}},
                           kind=merge)[0] == status
    assert server.call("PATCH", f"{base}/here/status", "nodetoken", {"metadata": {"labels": {"a": "b"}}},
                       kind=merge)[0] in (200, 403)
    assert server.call("PATCH", f"{base}/here", "nodetoken", {"metadata": {"labels": {"a": "b"}}}, kind=merge)[0] == 403
    assert server.call("DELETE", f"{base}/there", "nodetoken")[0] == 403
    assert server.call("DELETE", f"{base}/here?gracePeriodSeconds=0", "nodetoken")[0] == 200
    mirror = pod("mirror", metadata={"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [
        {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": True}]})
    code, refused = server.call("POST", base, "nodetoken", pod("mine"))
    assert code == 403 and "can only create mirror pods" in refused["message"]
    code, refused = server.call("POST", base, "nodetoken", {**mirror, "spec": {
        **mirror["spec"], "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}})
    assert code == 403 and "a mirror pod may not reference secrets" in refused["message"]


def test_modes():
    for wrong in ("ABAC", "RBAC,RBAC", ""):
        done = subprocess.run([os.path.join(BIN, "sluice-control"), "--data-dir", "/nonexistent/x",
                               f"--authorization-mode={wrong}"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and "--authorization-mode" in done.stderr, done.stderr
