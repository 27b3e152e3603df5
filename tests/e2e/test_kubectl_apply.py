"""kubectl apply --server-side and managedFields, with every kubectl there is."""

import json

import pytest

from test_kubectl import control, kube  # noqa: F401  (fixtures)

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "%s", b: "1"}
"""


def owners(kube, *what):
    """The managers of an object, and what each of them owns of data."""
    # Old kubectls always show managedFields; newer ones when asked.
    shown = kube("get", *what, "-o", "json", "--show-managed-fields", check=False)
    text = shown.stdout if shown.returncode == 0 else kube("get", *what, "-o", "json").stdout
    entries = json.loads(text)["metadata"].get("managedFields", [])
    return {(entry["manager"], entry["operation"]):
            sorted(field for field in entry["fieldsV1"].get("f:data", {}) if field != ".")
            for entry in entries}


def test_server_side_apply_owns_conflicts_and_forces(kube):
    done = kube("apply", "--server-side", "-f", "-", input=CONFIG % "1")
    assert "configmap/settings serverside-applied" in done.stdout
    assert owners(kube, "cm", "settings") == {("kubectl", "Apply"): ["f:a", "f:b"]}
    kube("apply", "--server-side", "-f", "-", input=CONFIG % "1")
    refused = kube("apply", "--server-side", "--field-manager=other", "-f", "-", input=CONFIG % "2",
                   check=False)
    assert refused.returncode != 0
    assert 'conflict with "kubectl": .data.a' in refused.stderr
    kube("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-",
         input=CONFIG % "2")
    assert kube("get", "cm", "settings", "-o", "jsonpath={.data.a}").stdout == "2"
    assert owners(kube, "cm", "settings") == {("kubectl", "Apply"): ["f:b"],
                                              ("other", "Apply"): ["f:a", "f:b"]}


def test_fields_that_are_not_named_any_more_go(kube):
    kube("apply", "--server-side", "-f", "-", input=CONFIG % "1")
    kube("apply", "--server-side", "-f", "-", input=CONFIG.replace(', b: "1"', "") % "1")
    assert json.loads(kube("get", "cm", "settings", "-o", "json").stdout)["data"] == {"a": "1"}


def test_from_client_side_apply_to_server_side(kube):
    kube("apply", "-f", "-", input=CONFIG % "1")
    moved = kube("apply", "--server-side", "-f", "-", input=CONFIG % "2")
    assert "serverside-applied" in moved.stdout
    got = json.loads(kube("get", "cm", "settings", "-o", "json").stdout)
    assert got["data"] == {"a": "2", "b": "1"}
    kept = got["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(kept)["data"] == {"a": "2", "b": "1"}
    # What is not named any more goes, although it was applied from the client's side at first.
    kube("apply", "--server-side", "-f", "-", input=CONFIG.replace(', b: "1"', "") % "2")
    left = json.loads(kube("get", "cm", "settings", "-o", "json").stdout)["data"]
    assert left["a"] == "2"


def test_dry_run_and_diff(kube):
    kube("apply", "--server-side", "-f", "-", input=CONFIG % "1")
    tried = kube("apply", "--server-side", "--dry-run=server", "-f", "-", input=CONFIG % "9")
    assert "serverside-applied (server dry run)" in tried.stdout
    assert kube("get", "cm", "settings", "-o", "jsonpath={.data.a}").stdout == "1"
    difference = kube("diff", "--server-side", "-f", "-", input=CONFIG % "9", check=False)
    assert difference.returncode == 1
    assert '+  a: "9"' in difference.stdout


def test_each_writer_is_recorded(kube):
    kube("create", "configmap", "made", "--from-literal=k=v")
    kube("label", "cm", "made", "x=y")
    kube("patch", "cm", "made", "--type=json", "-p", '[{"op":"add","path":"/data/n","value":"1"}]')
    managers = {name for name, _ in owners(kube, "cm", "made")}
    assert any(name.startswith("kubectl") for name in managers), managers
