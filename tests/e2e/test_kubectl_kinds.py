"""kubectl's own ways to make and to show kinds beyond the spine: rights, budgets, quotas, schedules, scaling."""

import json
import re
import zlib

import pytest

from test_kubectl import control  # noqa: F401  (fixture)


@pytest.fixture()
def kube(control, real_kubectl, request):  # noqa: F811
    """kubectl(*args) in a namespace of the test's own, oldest and newest."""
    namespace = f"t{zlib.crc32(request.node.name.encode())}"

    def run(*args, **kwargs):
        return control.kubectl("-n", namespace, *args, binary=real_kubectl, **kwargs)
    run("create", "namespace", namespace)
    run.namespace, run.cluster, run.old = namespace, control, "debian" in real_kubectl
    return run


def test_rights(kube):
    assert kube("auth", "can-i", "create", "pods").stdout.strip() == "yes"
    asked = ("auth", "can-i", "list", "configmaps", "--as", "dev")
    assert kube(*asked, check=False).stdout.strip().startswith("no")
    kube("create", "role", "reader", "--verb=get,list", "--resource=configmaps")
    kube("create", "rolebinding", "dev-reads", "--role=reader", "--user=dev")
    assert kube(*asked).stdout.strip() == "yes"
    assert "No resources found" in kube("get", "configmaps", "-l", "x=y", "--as", "dev").stderr
    refused = kube("get", "secrets", "--as", "dev", check=False)
    assert refused.returncode == 1
    assert (f'secrets is forbidden: User "dev" cannot list resource "secrets" in API group "" in the namespace '
            f'"{kube.namespace}"') in refused.stderr
    listed = kube("auth", "can-i", "--list", "--as", "dev").stdout
    assert re.search(r"^configmaps\s+\[\]\s+\[\]\s+\[get list\]$", listed, re.M), listed
    assert re.search(r"configmaps\s+\[\]\s+\[\]\s+\[get list\]", kube("describe", "role", "reader").stdout)
    assert re.search(r"^\s+User\s+dev", kube("describe", "rolebinding", "dev-reads").stdout, re.M)
    if not kube.old:
        assert re.search(r"^Groups\s.*system:masters", kube("auth", "whoami").stdout, re.M)


def test_kinds_by_create(kube):
    kube("create", "quota", "small", "--hard=pods=3,requests.cpu=1")
    hard = json.loads(kube("get", "quota", "small", "-o", "json").stdout)["spec"]["hard"]
    assert hard == {"pods": "3", "requests.cpu": "1"}
    assert re.search(r"^Name:\s+small$", kube("describe", "quota", "small").stdout, re.M)
    # kubectl 1.20 asks for the versions of then, which are not served.
    if kube.old:
        return
    kube("create", "cronjob", "each", "--image=localhost/web", "--schedule=*/5 * * * *", "--", "true")
    row = kube("get", "cronjobs").stdout.splitlines()
    assert row[0].split()[:4] == ["NAME", "SCHEDULE", "TIMEZONE", "SUSPEND"] and "*/5 * * * *" in row[1]
    assert re.search(r"^Schedule:\s+\*/5 \* \* \* \*$", kube("describe", "cronjob", "each").stdout, re.M)
    kube("create", "poddisruptionbudget", "most", "--selector=app=web", "--min-available=1")
    table = kube("get", "pdb").stdout.splitlines()
    assert table[1].split()[:3] == ["most", "1", "N/A"]
    assert re.search(r"^Min available:\s+1$", kube("describe", "pdb", "most").stdout, re.M)
    kube("create", "deployment", "web", "--image=localhost/web", "--replicas=0")
    kube("autoscale", "deployment", "web", "--min=2", "--max=5", "--cpu-percent=70")
    scaler = json.loads(kube("get", "hpa", "web", "-o", "json").stdout)["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert "Deployment/web" in kube("describe", "hpa", "web").stdout
    everything = kube("get", "all", "-o", "name").stdout.split()
    assert {"deployment.apps/web", "cronjob.batch/each", "horizontalpodautoscaler.autoscaling/web"} <= set(everything)
