"""Another API server behind the API server: an APIService, its Service, and what clients see through them.

One control plane and a small API server in Python, which believes who asks only from the front proxy's certificate. The
case of Kubernetes' conformance suite (Aggregator, the sample API server), and what it does when its server goes away.
"""

import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from harness import cluster as harness
from harness import netns, outside

ADDRESS = "10.99.7.1"
PORT = 18445
GROUP = "wardle.example.com"
VERSION = "v1alpha1"
NAME = f"{VERSION}.{GROUP}"
PATH = f"/apis/{GROUP}/{VERSION}"
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BOB_TOKEN = "token-of-bob"


class Flunders:
    """The objects of the other server, and who watches them."""

    def __init__(self):
        self.changed = threading.Condition()
        self.version = 0
        self.objects = {}
        self.events = []

    def put(self, key, value, kind):
        with self.changed:
            self.version += 1
            value["metadata"]["resourceVersion"] = str(self.version)
            if kind == "DELETED":
                self.objects.pop(key)
            else:
                self.objects[key] = value
            self.events.append({"type": kind, "object": value})
            self.changed.notify_all()
        return value

    def clear(self):
        self.__init__()


class Extension(outside.Answers):
    flunders = Flunders()
    seen = []

    def who(self):
        """Refuses those who are not the front proxy."""
        certificate = self.connection.getpeercert() or {}
        names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
        Extension.seen.append((self.command, self.path, self.headers))
        if names == ["front-proxy-client"] and self.headers["X-Remote-User"]:
            return self.headers["X-Remote-User"]
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401, "reason": "Unauthorized",
                     "message": f"not the front proxy: {names}"}, 401)
        return None

    def missing(self, name):
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
                     "message": f'flunders.{GROUP} "{name}" not found',
                     "details": {"group": GROUP, "kind": "flunders", "name": name}}, 404)

    def do_GET(self):
        if self.who() is None:
            return
        path, _, query = self.path.partition("?")
        resource = {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder",
                    "verbs": VERBS, "shortNames": ["fl"]}
        if path == PATH:
            self.answer({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}",
                         "resources": [resource]})
        elif path == "/openapi/v3":
            self.answer({"paths": {PATH[1:]: {"serverRelativeURL": f"/openapi/v3{PATH}?hash=AB12"}}})
        elif path == f"/openapi/v3{PATH}":
            self.answer({"openapi": "3.0.0", "info": {"title": "wardle", "version": "1"}, "paths": {}, "components": {
                "schemas": {"Flunder": {"type": "object", "description": "Flunder is of the other server.",
                                        "x-kubernetes-group-version-kind": [
                                            {"group": GROUP, "version": VERSION, "kind": "Flunder"}]}}}})
        elif path.endswith("/echo") and self.headers["Upgrade"] == "echo":
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "echo")
            self.end_headers()
            while line := self.rfile.readline():
                self.wfile.write(line.upper())
            self.close_connection = True
        elif path.startswith(f"{PATH}/namespaces/") and path.endswith("/flunders"):
            self.list(query)
        elif path.startswith(f"{PATH}/namespaces/"):
            name = path.rsplit("/", 1)[1]
            found = self.flunders.objects.get(name)
            self.answer(found) if found else self.missing(name)
        else:
            self.answer({"kind": "Status", "code": 404, "status": "Failure", "message": path}, 404)

    def list(self, query):
        if "watch=true" not in query and "watch=1" not in query:
            with self.flunders.changed:
                self.answer({"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}",
                             "metadata": {"resourceVersion": str(self.flunders.version)},
                             "items": list(self.flunders.objects.values())})
            return
        since = re.search(r"resourceVersion=(\d+)", query)
        sent = 0
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            with self.flunders.changed:
                self.flunders.changed.wait_for(lambda: len(self.flunders.events) > sent, timeout=20)
                events = self.flunders.events[sent:]
            if not events:
                return
            sent += len(events)
            for event in events:
                if since and int(event["object"]["metadata"]["resourceVersion"]) <= int(since.group(1)):
                    continue
                line = json.dumps(event).encode() + b"\n"
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                except OSError:
                    return

    def do_POST(self):
        user = self.who()
        if user is None:
            return
        flunder = self.body()
        flunder["metadata"].update({"namespace": "default", "uid": os.urandom(8).hex(),
                                    "creationTimestamp": "2024-01-01T00:00:00Z", "annotations": {"made-by": user}})
        self.answer(self.flunders.put(flunder["metadata"]["name"], flunder, "ADDED"), 201)

    def do_PATCH(self):
        if self.who() is None:
            return
        name = self.path.partition("?")[0].rsplit("/", 1)[1]
        patch = self.body()
        flunder = json.loads(json.dumps(self.flunders.objects[name]))
        flunder.setdefault("spec", {}).update(patch.get("spec", {}))
        flunder["metadata"].setdefault("labels", {}).update(patch.get("metadata", {}).get("labels", {}))
        self.answer(self.flunders.put(name, flunder, "MODIFIED"))

    def do_DELETE(self):
        if self.who() is None:
            return
        name = self.path.partition("?")[0].rsplit("/", 1)[1]
        if name not in self.flunders.objects:
            return self.missing(name)
        self.body()
        self.flunders.put(name, self.flunders.objects[name], "DELETED")
        self.answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})


class World(outside.Control):
    def __init__(self):
        tokens = os.path.join("/tmp", f"sluice-aggregation-tokens-{os.getpid()}")
        with open(tokens, "w") as out:
            out.write(f'{BOB_TOKEN},bob,bob-uid,"flunder-makers"\n')
        os.chmod(tokens, 0o600)
        try:
            super().__init__("slag", ADDRESS, 16456, flags=["--token-auth-file", tokens])
        finally:
            os.unlink(tokens)
        self.ca = outside.certificates(self.directory, "DNS:sample-api.default.svc")
        config = self.json("-n", "kube-system", "configmap", "extension-apiserver-authentication")["data"]
        assert json.loads(config["requestheader-allowed-names"]) == ["front-proxy-client"]
        assert json.loads(config["requestheader-username-headers"]) == ["X-Remote-User"]
        assert "BEGIN CERTIFICATE" in config["client-ca-file"]
        self.front_proxy_ca = config["requestheader-client-ca-file"]
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sample-api"},
                    "spec": {"ports": [{"name": "api", "port": 7443, "targetPort": PORT}]}})
        self.apply({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {"name": "sample-api-1", "labels": {"kubernetes.io/service-name": "sample-api"}},
                    "addressType": "IPv4", "ports": [{"name": "api", "port": PORT}],
                    "endpoints": [{"addresses": [ADDRESS]}]})
        self.extension = None

    def start_extension(self):
        context = self.context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.front_proxy_ca)
        self.extension = self.serve(PORT, Extension, context)

    def stop_extension(self):
        self.stop_serving(self.extension)
        self.extension = None

    def api_service(self, **spec):
        return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
                "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 200,
                         "service": {"namespace": "default", "name": "sample-api", "port": 7443},
                         "caBundle": base64.b64encode(self.ca.encode()).decode(), **spec}}

    def available(self):
        conditions = self.json("apiservice", NAME).get("status", {}).get("conditions", [])
        found = [one for one in conditions if one["type"] == "Available"]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")

    def becomes(self, status, reason):
        harness.eventually(lambda: self.available()[:2] == (status, reason), 15, f"{status} {reason}", 0.1)


@pytest.fixture(scope="module")
def world():
    yield from outside.lasting(World)


@pytest.fixture()
def registered(world):
    Extension.flunders.clear()
    world.start_extension()
    world.apply(world.api_service())
    world.becomes("True", "Passed")
    Extension.seen.clear()
    yield world
    world.kubectl("delete", "apiservice", NAME)
    if world.extension:
        world.stop_extension()


def flunder(name):
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": {"name": name},
            "spec": {"reference": "x"}}


def test_the_sample_api_server(registered):
    assert re.search(rf"{NAME} +default/sample-api +True", registered.kubectl("get", "apiservice", NAME).stdout)
    # Discovery, as clients of all ages ask for it; the priorities are the APIService's.
    groups = registered.raw("/apis")["groups"]
    group = next(one for one in groups if one["name"] == GROUP)
    assert group["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    names = [one["name"] for one in groups]
    assert names.index("apps") < names.index(GROUP)
    assert registered.raw(f"/apis/{GROUP}")["versions"] == [{"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}]
    assert registered.raw(PATH)["resources"][0]["name"] == "flunders"

    def aggregated():
        listed = json.loads(registered.net.run(
            ["curl", "-sS", "--cacert", f"{registered.directory}/data/pki/ca.crt", "-H", f"Accept: {AGGREGATED}",
             "-H", f"Authorization: Bearer {BOB_TOKEN}", "https://127.0.0.1:16456/apis"]).stdout)
        return next((one for one in listed["items"] if one["metadata"]["name"] == GROUP), None)
    harness.eventually(lambda: aggregated() is not None and aggregated()["versions"][0]["resources"], 10, "discovery")
    version = aggregated()["versions"][0]
    assert version["freshness"] == "Current"
    assert version["resources"][0]["responseKind"] == {"group": GROUP, "version": VERSION, "kind": "Flunder"}
    assert re.search(rf"flunders +fl +{GROUP}/{VERSION} +true +Flunder",
                     registered.kubectl("api-resources", f"--api-group={GROUP}").stdout)
    assert f"/openapi/v3{PATH}?hash=AB12" in json.dumps(registered.raw("/openapi/v3"))
    assert "Flunder" in registered.raw(f"/openapi/v3{PATH}")["components"]["schemas"]
    # The life of an object, by kubectl.
    registered.kubectl("create", "--validate=false", "-f", "-", input=json.dumps(flunder("one")))
    one = registered.json("flunders", "one")
    assert one["metadata"]["annotations"] == {"made-by": "kubernetes-admin"}
    registered.kubectl("patch", "flunder", "one", "--type=merge", "-p", '{"spec": {"reference": "y"}}')
    assert registered.json("fl", "one")["spec"]["reference"] == "y"
    assert [item["metadata"]["name"] for item in registered.json("flunders")["items"]] == ["one"]
    registered.kubectl("delete", "flunder", "one", "--wait=false")
    missing = registered.kubectl("get", "flunder", "one", check=False)
    assert f'Error from server (NotFound): flunders.{GROUP} "one" not found' in missing.stderr
    # The APIService's own status, and its end.
    registered.kubectl("patch", "apiservice", NAME, "--type=merge", "-p", '{"metadata": {"labels": {"a": "b"}}}')
    assert [item["metadata"]["name"] for item in registered.json("apiservice", "-l", "a=b")["items"]] == [NAME]
    assert registered.available() == ("True", "Passed", "all checks passed")


def test_who_asks(registered):
    registered.kubectl("create", "clusterrole", "flunder-maker", "--verb=create,get", f"--resource=flunders.{GROUP}")
    registered.kubectl("create", "clusterrolebinding", "flunder-makers", "--clusterrole=flunder-maker",
                       "--group=flunder-makers")

    def curl(method, path, *more):
        return json.loads(registered.net.run(
            ["curl", "-sS", "--cacert", f"{registered.directory}/data/pki/ca.crt", "-X", method,
             "-H", f"Authorization: Bearer {BOB_TOKEN}", *more, f"https://127.0.0.1:16456{path}"]).stdout)
    Extension.seen.clear()
    made = curl("POST", f"{PATH}/namespaces/default/flunders", "-H", "Content-Type: application/json",
                "-H", "X-Remote-User: root", "-H", "X-Remote-Group: system:masters", "-H", "X-Remote-Extra-A: b",
                "-d", json.dumps(flunder("bobs")))
    assert made["metadata"]["annotations"] == {"made-by": "bob"}
    headers = next(headers for method, _, headers in Extension.seen if method == "POST")
    assert headers.get_all("X-Remote-User") == ["bob"]
    assert sorted(headers.get_all("X-Remote-Group")) == ["flunder-makers", "system:authenticated"]
    assert headers.get_all("X-Remote-Uid") == ["bob-uid"]
    assert "X-Remote-Extra-A" not in headers and "Authorization" not in headers
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    # What roles do not permit never gets there.
    Extension.seen.clear()
    refused = curl("DELETE", f"{PATH}/namespaces/default/flunders/bobs")
    assert (refused["code"], refused["reason"]) == (403, "Forbidden")
    assert not [one for one in Extension.seen if one[0] == "DELETE"]
    # Nobody but the front proxy is believed.
    with pytest.raises(RuntimeError):
        registered.net.run(["curl", "-sS", "-k", f"https://{ADDRESS}:{PORT}{PATH}"])


def test_watches_are_streamed(registered):
    watch = registered.net.popen(["kubectl", "get", "--raw", f"{PATH}/namespaces/default/flunders?watch=true"],
                                 env=registered.environment(), stdout=subprocess.PIPE, text=True)
    try:
        for name in ("one", "two"):
            registered.kubectl("create", "--validate=false", "-f", "-", input=json.dumps(flunder(name)))
            # Each comes while the other server's answer goes on.
            event = json.loads(watch.stdout.readline())
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
    finally:
        netns.stop(watch, signal.SIGTERM)


def test_upgraded_connections(registered):
    registered.kubectl("create", "clusterrole", "echoer", "--verb=get", f"--resource=flunders.{GROUP}/echo")
    registered.kubectl("create", "clusterrolebinding", "echoers", "--clusterrole=echoer", "--group=flunder-makers")
    context = ssl.create_default_context(cafile=f"{registered.directory}/data/pki/ca.crt")
    with registered.net.entered():
        plain = socket.create_connection(("127.0.0.1", 16456), timeout=10)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall((f"GET {PATH}/namespaces/default/flunders/one/echo HTTP/1.1\r\nHost: x\r\n"
                            f"Authorization: Bearer {BOB_TOKEN}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
                            ).encode())
        answers = connection.makefile("rb")
        assert answers.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while answers.readline() != b"\r\n":
            pass
        for word in (b"one\n", b"two\n"):
            connection.sendall(word)
            assert answers.readline() == word.upper()


def test_a_server_that_goes_away(registered):
    registered.stop_extension()
    # The next look is due in half a minute; a change of the endpoints makes it now.
    registered.kubectl("patch", "endpointslice", "sample-api-1", "--type=merge", "-p", json.dumps(
        {"endpoints": [{"addresses": [ADDRESS]}, {"addresses": ["10.99.7.2"], "conditions": {"ready": False}},
                       {"addresses": ["10.99.7.3"], "conditions": {"ready": True}}]}))
    registered.kubectl("patch", "endpointslice", "sample-api-1", "--type=merge", "-p", json.dumps(
        {"endpoints": [{"addresses": [ADDRESS]}]}))
    registered.becomes("False", "FailedDiscoveryCheck")
    assert (f"failing or missing response from https://{ADDRESS}:{PORT}{PATH}: Get \"https://{ADDRESS}:{PORT}{PATH}\": "
            f"dial tcp {ADDRESS}:{PORT}: connect: connection refused") == registered.available()[2]
    gone = registered.raw(f"{PATH}/namespaces/default/flunders", check=False)
    assert "Error from server (ServiceUnavailable)" in gone.stderr
    metrics = registered.kubectl("get", "--raw", "/metrics").stdout
    assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 1\n' in metrics
    assert f'aggregator_unavailable_apiservice_total{{name="{NAME}",reason="FailedDiscoveryCheck"}} 1\n' in metrics
    # Everything else is served as before.
    registered.kubectl("get", "pods")
    registered.start_extension()
    registered.becomes("True", "Passed")
    harness.eventually(lambda: registered.raw(f"{PATH}/namespaces/default/flunders", check=False).returncode == 0, 5,
                       "served again")


def test_why_it_is_not_available(registered):
    def with_service(**service):
        registered.apply(registered.api_service(service={"namespace": "default", "name": "sample-api", "port": 7443,
                                                         **service}))
    with_service(name="nobody")
    registered.becomes("False", "ServiceNotFound")
    assert registered.available()[2] == 'service/nobody in "default" is not present'
    with_service(port=7444)
    registered.becomes("False", "ServicePortError")
    assert registered.available()[2] == 'service/sample-api in "default" is not listening on port 7444'
    with_service()
    registered.becomes("True", "Passed")
    registered.kubectl("patch", "endpointslice", "sample-api-1", "--type=merge", "-p", '{"endpoints": []}')
    registered.becomes("False", "MissingEndpoints")
    assert registered.available()[2] == (
        'endpointslices for service/sample-api in "default" have no addresses with port name "api"')
    registered.kubectl("patch", "endpointslice", "sample-api-1", "--type=merge", "-p", json.dumps(
        {"endpoints": [{"addresses": [ADDRESS]}]}))
    registered.becomes("True", "Passed")
    # Its certificate is for another name than what is asked for; unless nobody looks.
    registered.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}, "spec": {
        "type": "ExternalName", "externalName": "localhost"}})
    wrong = registered.api_service(caBundle=base64.b64encode(registered.front_proxy_ca.encode()).decode())
    registered.apply(wrong)
    registered.becomes("False", "FailedDiscoveryCheck")
    assert "x509: certificate signed by unknown authority" in registered.available()[2]
    del wrong["spec"]["caBundle"]
    registered.kubectl("replace", "-f", "-", input=json.dumps({**wrong, "spec": {
        **wrong["spec"], "insecureSkipTLSVerify": True}}))
    registered.becomes("True", "Passed")
