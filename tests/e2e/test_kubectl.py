"""The kubectl commands of the spine, with Debian's old kubectl and with newer ones."""

import json
import os
import re
import stat
import subprocess
import time
import zlib

import pytest

from harness import cluster as harness
from harness import netns

SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {app: web, tier: front}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
"""


@pytest.fixture(scope="module")
def control():
    """A control plane without agents."""
    cluster = harness.Cluster(nodes=1)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture()
def kube(control, kubectl_binary, request):
    """kubectl(*args, input=...) in a namespace of the test's own."""
    namespace = f"t{zlib.crc32(request.node.name.encode())}"

    def run(*args, **kwargs):
        return control.kubectl("-n", namespace, *args, binary=kubectl_binary, **kwargs)
    run("create", "namespace", namespace)
    run.namespace = namespace
    run.cluster = control
    run.binary = kubectl_binary
    return run


def test_create_get_and_output_forms(kube):
    assert "service/web created" in kube("apply", "-f", "-", input=SERVICE).stdout
    table = kube("get", "svc").stdout.splitlines()
    assert table[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    row = table[1].split()
    assert row[:2] == ["web", "ClusterIP"] and row[3:5] == ["<none>", "80/TCP"]
    assert kube("get", "svc", "-o", "wide").stdout.splitlines()[0].split()[-1] == "SELECTOR"
    assert "tier=front" in kube("get", "svc", "--show-labels").stdout
    assert kube("get", "svc", "-l", "app=web", "-o", "name").stdout.strip() == "service/web"
    assert "No resources found" in kube("get", "svc", "-l", "app!=web").stderr
    assert "web" in kube("get", "svc", "-A").stdout
    parsed = json.loads(kube("get", "svc", "web", "-o", "json").stdout)
    assert parsed["spec"]["clusterIP"] == row[2]
    assert parsed["spec"]["ports"] == [
        {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    assert "clusterIP: " + row[2] in kube("get", "svc", "web", "-o", "yaml").stdout
    assert kube("get", "svc", "web", "-o", "jsonpath={.spec.type}").stdout == "ClusterIP"


def test_apply_changes_only_what_changed(kube):
    kube("apply", "-f", "-", input=SERVICE)
    before = json.loads(kube("get", "svc", "web", "-o", "json").stdout)
    assert "service/web unchanged" in kube("apply", "-f", "-", input=SERVICE).stdout
    changed = SERVICE.replace("targetPort: 8080", "targetPort: 9090").replace(", tier: front", "")
    assert "service/web configured" in kube("apply", "-f", "-", input=changed).stdout
    after = json.loads(kube("get", "svc", "web", "-o", "json").stdout)
    assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]
    assert after["spec"]["ports"][0]["targetPort"] == 9090
    assert after["metadata"]["labels"] == {"app": "web"}


def test_patch_label_annotate_edit(kube, tmp_path):
    kube("apply", "-f", "-", input=SERVICE)

    def field(path):
        return kube("get", "svc", "web", "-o", "jsonpath={%s}" % path).stdout
    kube("patch", "svc", "web", "-p", '{"spec":{"ports":[{"port":80,"targetPort":1}]}}')
    assert field(".spec.ports[0].targetPort") == "1" and field(".spec.ports[0].name") == "http"
    kube("patch", "svc", "web", "--type=merge", "-p", '{"spec":{"sessionAffinity":"ClientIP"}}')
    assert field(".spec.sessionAffinityConfig.clientIP.timeoutSeconds") == "10800"
    kube("patch", "svc", "web", "--type=json",
         "-p", '[{"op":"replace","path":"/spec/ports/0/targetPort","value":"http"}]')
    assert field(".spec.ports[0].targetPort") == "http"
    kube("label", "svc", "web", "tier=back", "--overwrite")
    kube("label", "svc", "web", "app-")
    kube("annotate", "svc", "web", "note=a b")
    assert json.loads(field(".metadata.labels")) == {"tier": "back"}
    assert field(".metadata.annotations.note") == "a b"
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/tier: back/tier: edited/' \"$1\"\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    kube("edit", "svc", "web", env={"EDITOR": str(editor), "KUBE_EDITOR": str(editor)})
    assert json.loads(field(".metadata.labels")) == {"tier": "edited"}


def test_create_delete_of_each_kind(kube):
    kube("create", "configmap", "settings", "--from-literal=a=1", "--from-literal=b=two words")
    assert json.loads(kube("get", "cm", "settings", "-o", "json").stdout)["data"] == {
        "a": "1", "b": "two words"}
    kube("create", "secret", "generic", "key", "--from-literal=password=s3cret")
    assert kube("get", "secret", "key", "-o", "jsonpath={.data.password}").stdout == "czNjcmV0"
    kube("create", "serviceaccount", "robot")
    kube("create", "service", "clusterip", "plain", "--tcp=80:8080")
    port = 31000 + zlib.crc32(kube.namespace.encode()) % 1000
    outer = ("create", "service", "nodeport", "outer", "--tcp=81:8080", f"--node-port={port}")
    kube(*outer)
    assert f"81:{port}/TCP" in kube("get", "svc", "outer").stdout
    for kind, name in (("cm", "settings"), ("secret", "key"), ("sa", "robot"), ("svc", "plain"),
                       ("svc", "outer")):
        assert "deleted" in kube("delete", kind, name).stdout
        missing = kube("get", kind, name, check=False)
        assert missing.returncode == 1 and "NotFound" in missing.stderr
    # The port is free again.
    kube(*outer)


def test_describe(kube):
    kube("apply", "-f", "-", input=SERVICE)
    kube("apply", "-f", "-", input="""
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses: [{ip: 10.1.2.3}]
  ports: [{name: http, port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.2.3]}]
""")
    text = kube("describe", "svc", "web").stdout
    assert re.search(r"^Selector:\s+app=web$", text, re.M)
    assert re.search(r"^Endpoints:\s+10\.1\.2\.3:8080$", text, re.M), text
    assert re.search(r"^Type:\s+ClusterIP$", text, re.M)
    assert kube("describe", "namespace", kube.namespace).stdout.startswith("Name:")
    assert "node1" in kube("describe", "node", "node1").stdout


def test_watch_shows_changes(kube):
    kube("apply", "-f", "-", input=SERVICE)
    cluster = kube.cluster
    watch = cluster.node.ns.popen(
        [kube.binary, "-n", kube.namespace, "get", "svc", "-w", "--no-headers"],
        env={**os.environ, "HOME": cluster.directory, "KUBECONFIG": cluster.kubeconfig},
        stdout=subprocess.PIPE, text=True)
    assert watch.stdout.readline().split()[:2] == ["web", "ClusterIP"]
    kube("patch", "svc", "web", "-p", '{"spec":{"type":"NodePort"}}')
    assert watch.stdout.readline().split()[:2] == ["web", "NodePort"]
    kube("delete", "svc", "web")
    assert watch.stdout.readline().split()[:2] == ["web", "NodePort"]
    netns.stop(watch)


def test_discovery_and_explain(kube):
    rows = {line.split()[0]: line for line in
            kube("api-resources", "--no-headers").stdout.splitlines()}
    for name in ("services", "endpoints", "nodes", "namespaces", "pods", "configmaps", "secrets",
                 "events", "serviceaccounts", "endpointslices", "leases"):
        assert name in rows, rows.keys()
    assert " svc " in rows["services"]
    versions = kube("api-versions").stdout.split()
    assert {"v1", "discovery.k8s.io/v1", "coordination.k8s.io/v1"} <= set(versions)
    text = kube("explain", "service.spec.ports").stdout
    assert "targetPort" in text and "nodePort" in text
    assert "<integer>" in text
    assert "clusterIP" in kube("explain", "svc.spec", "--recursive").stdout
    assert re.search(r"Server Version", kube("version", check=False).stdout)


def test_large_lists_come_in_chunks(kube):
    items = "".join(
        f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{i:03d}}}\n" for i in range(30))
    kube("create", "-f", "-", input=items)
    names = kube("get", "cm", "--chunk-size=7", "-o", "name").stdout.split()
    assert names == [f"configmap/c{i:03d}" for i in range(30)]
    assert kube("delete", "cm", "--all").stdout.count("deleted") == 30


def test_namespace_deletion_empties_it(kube):
    kube("apply", "-f", "-", input=SERVICE)
    assert "deleted" in kube("delete", "namespace", kube.namespace, timeout=30).stdout
    assert "NotFound" in kube("get", "namespace", kube.namespace, check=False).stderr
    assert kube("get", "svc", "-A", "-l", "app=web", "-o", "name").stdout == "" or \
        kube.namespace not in kube("get", "svc", "-A").stdout


def test_server_side_dry_run_stores_nothing(kube):
    assert "created (server dry run)" in kube(
        "apply", "--dry-run=server", "-f", "-", input=SERVICE).stdout
    assert "NotFound" in kube("get", "svc", "web", check=False).stderr


def test_wait_for_delete_and_conflicts(kube):
    kube("apply", "-f", "-", input=SERVICE)
    stale = json.loads(kube("get", "svc", "web", "-o", "json").stdout)
    kube("label", "svc", "web", "x=y")
    result = kube("replace", "-f", "-", input=json.dumps(stale), check=False)
    assert result.returncode == 1 and "Conflict" in result.stderr, result.stderr
    kube("delete", "svc", "web", "--wait=true")
    time.sleep(0)
    assert kube("get", "svc", "--ignore-not-found", "web").stdout == ""
