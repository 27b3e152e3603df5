"""Tokens of service accounts: given out, believed, bound to what they name, and gone with it."""

import base64
import json
import os
import zlib

import pytest

from harness.cluster import CONTROL_ADDRESS
from test_kubectl import control  # noqa: F401  (fixture)


@pytest.fixture()
def namespace(control, request):  # noqa: F811
    name = f"t{zlib.crc32(request.node.name.encode())}"
    control.kubectl("create", "namespace", name)
    control.kubectl("-n", name, "create", "serviceaccount", "robot")
    return name


def ask(cluster, space, body=None, account="robot"):
    """The status of a TokenRequest."""
    made = cluster.api.create(f"/api/v1/namespaces/{space}/serviceaccounts/{account}/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": body or {}})
    return made["status"]


def payload(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def as_bearer(cluster, token, *args):
    """kubectl with nothing but the token."""
    return cluster.kubectl(
        "--kubeconfig", os.devnull, "--server", f"https://{CONTROL_ADDRESS}", "--certificate-authority",
        os.path.join(cluster.directory, "control", "pki", "ca.crt"), "--token", token, *args, check=False)


def review(cluster, token, **spec):
    return cluster.api.create("/apis/authentication.k8s.io/v1/tokenreviews", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, **spec}})["status"]


def test_a_token_says_who_and_roles_say_what(control, namespace):  # noqa: F811
    account = control.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/robot")
    token = ask(control, namespace, {"expirationSeconds": 600})["token"]
    said = payload(token)
    assert said["sub"] == f"system:serviceaccount:{namespace}:robot"
    assert said["exp"] - said["iat"] == 600
    assert said["kubernetes.io"]["namespace"] == namespace
    assert said["kubernetes.io"]["serviceaccount"] == {"name": "robot", "uid": account["metadata"]["uid"]}
    refused = as_bearer(control, token, "-n", namespace, "get", "pods")
    assert (f'pods is forbidden: User "system:serviceaccount:{namespace}:robot" cannot list resource "pods" in API '
            f'group "" in the namespace "{namespace}"') in refused.stderr
    control.kubectl("-n", namespace, "create", "rolebinding", "robots-view", "--clusterrole=view",
                    f"--serviceaccount={namespace}:robot")
    assert as_bearer(control, token, "-n", namespace, "get", "pods").returncode == 0


def test_groups_of_service_accounts(control, namespace):  # noqa: F811
    status = review(control, ask(control, namespace)["token"])
    assert status["authenticated"] is True
    assert status["user"]["username"] == f"system:serviceaccount:{namespace}:robot"
    assert set(status["user"]["groups"]) == {"system:serviceaccounts", f"system:serviceaccounts:{namespace}",
                                             "system:authenticated"}


def test_a_token_goes_with_its_account(control, namespace):  # noqa: F811
    token = ask(control, namespace)["token"]
    control.kubectl("-n", namespace, "delete", "serviceaccount", "robot")
    assert "Unauthorized" in as_bearer(control, token, "get", "--raw", "/api").stderr
    control.kubectl("-n", namespace, "create", "serviceaccount", "robot")
    # Another of the same name is another.
    assert review(control, token).get("authenticated", False) is False


def test_a_token_goes_with_the_secret_that_it_is_bound_to(control, namespace):  # noqa: F811
    control.kubectl("-n", namespace, "create", "secret", "generic", "tie")
    token = ask(control, namespace, {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "tie"}})["token"]
    assert review(control, token)["authenticated"] is True
    control.kubectl("-n", namespace, "delete", "secret", "tie")
    assert review(control, token).get("authenticated", False) is False


def test_a_forged_token_is_nobodys(control, namespace):  # noqa: F811
    head, body, signature = ask(control, namespace)["token"].split(".")
    claims = payload(f"{head}.{body}.")
    claims["sub"] = claims["sub"].replace("robot", "admin")
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    for token in (f"{head}.{forged}.{signature}", f"{unsigned}.{body}.", f"{head}.{body}.{signature[:-8]}AAAAAAAA"):
        assert review(control, token).get("authenticated", False) is False
        assert "Unauthorized" in as_bearer(control, token, "get", "--raw", "/api").stderr


def test_audiences(control, namespace):  # noqa: F811
    token = ask(control, namespace, {"audiences": ["vault"]})["token"]
    assert payload(token)["aud"] == ["vault"]
    assert review(control, token).get("authenticated", False) is False
    status = review(control, token, audiences=["vault", "other"])
    assert status["authenticated"] is True and status["audiences"] == ["vault"]
    assert "Unauthorized" in as_bearer(control, token, "get", "--raw", "/api").stderr


def test_discovery_of_keys(control, namespace):  # noqa: F811
    token = ask(control, namespace)["token"]
    document = json.loads(control.kubectl("get", "--raw", "/.well-known/openid-configuration").stdout)
    assert document["issuer"] == payload(token)["iss"]
    keys = json.loads(control.kubectl("get", "--raw", "/openid/v1/jwks").stdout)["keys"]
    head = token.split(".")[0]
    named = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert named["kid"] in [key["kid"] for key in keys] and named["alg"] in ("RS256", "ES256")


def test_what_cannot_be_asked_for(control, namespace):  # noqa: F811
    def status_of(body, account="robot"):
        return control.api.raw(
            "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", json.dumps({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": body}))[0]
    assert status_of({}, "nobody") == 404
    assert status_of({"expirationSeconds": 599}) == 422
    assert status_of({"expirationSeconds": 1 << 33}) == 422
    assert status_of({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}}) == 404


def test_kubectl_creates_tokens(control, namespace):  # noqa: F811
    token = control.kubectl("-n", namespace, "create", "token", "robot", "--duration=20m").stdout.strip()
    assert payload(token)["exp"] - payload(token)["iat"] == 1200
    assert f"system:serviceaccount:{namespace}:robot" in as_bearer(control, token, "auth", "whoami").stdout
