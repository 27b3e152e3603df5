"""kubectl and the kinds that configure a cluster, from networking and storage to flow control."""

import json
import re
import time

import pytest

from test_kubectl import control, kube  # noqa: F401  (fixtures)

# As `kubectl api-resources` shows them against kube-apiserver 1.32: short names, group version, namespaced, kind.
# ServiceCIDR and IPAddress are served there as v1beta1, where they are switched on.
RESOURCES = {
    "mutatingwebhookconfigurations": ("", "admissionregistration.k8s.io/v1", "false",
                                      "MutatingWebhookConfiguration"),
    "validatingadmissionpolicies": ("", "admissionregistration.k8s.io/v1", "false",
                                    "ValidatingAdmissionPolicy"),
    "validatingadmissionpolicybindings": ("", "admissionregistration.k8s.io/v1", "false",
                                          "ValidatingAdmissionPolicyBinding"),
    "validatingwebhookconfigurations": ("", "admissionregistration.k8s.io/v1", "false",
                                        "ValidatingWebhookConfiguration"),
    "apiservices": ("", "apiregistration.k8s.io/v1", "false", "APIService"),
    "flowschemas": ("", "flowcontrol.apiserver.k8s.io/v1", "false", "FlowSchema"),
    "prioritylevelconfigurations": ("", "flowcontrol.apiserver.k8s.io/v1", "false",
                                    "PriorityLevelConfiguration"),
    "ingressclasses": ("", "networking.k8s.io/v1", "false", "IngressClass"),
    "ingresses": ("ing", "networking.k8s.io/v1", "true", "Ingress"),
    "ipaddresses": ("ip", "networking.k8s.io/v1", "false", "IPAddress"),
    "networkpolicies": ("netpol", "networking.k8s.io/v1", "true", "NetworkPolicy"),
    "servicecidrs": ("", "networking.k8s.io/v1", "false", "ServiceCIDR"),
    "runtimeclasses": ("", "node.k8s.io/v1", "false", "RuntimeClass"),
    "priorityclasses": ("pc", "scheduling.k8s.io/v1", "false", "PriorityClass"),
    "csidrivers": ("", "storage.k8s.io/v1", "false", "CSIDriver"),
    "csinodes": ("", "storage.k8s.io/v1", "false", "CSINode"),
    "csistoragecapacities": ("", "storage.k8s.io/v1", "true", "CSIStorageCapacity"),
    "storageclasses": ("sc", "storage.k8s.io/v1", "false", "StorageClass"),
    "volumeattachments": ("", "storage.k8s.io/v1", "false", "VolumeAttachment"),
}


def headings(text):
    return text.splitlines()[0].split()


def test_api_resources(kube):  # noqa: F811
    seen = {}
    for line in kube("api-resources", "--no-headers").stdout.splitlines():
        words = line.split()
        name, short = words[0], words[1] if len(words) == 5 else ""
        seen.setdefault(name, []).append((short, *words[-3:]))
    for name, expected in RESOURCES.items():
        assert seen.get(name) == [expected], (name, seen.get(name))
    assert sorted(seen["events"]) == [("ev", "events.k8s.io/v1", "true", "Event"),
                                      ("ev", "v1", "true", "Event")]
    extensions = kube("api-resources", "--categories=api-extensions", "-o", "name", check=False)
    if "unknown flag" in extensions.stderr:
        return  # kubectl 1.20 does not ask for categories.
    assert {"apiservices.apiregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io"} <= set(extensions.stdout.split())


def test_ingress(kube):  # noqa: F811
    kube("create", "ingress", "web", "--class=nginx", "--rule=www.example.com/shop*=web:80,tls=cert")
    table = kube("get", "ing").stdout
    assert headings(table) == ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"]
    assert table.splitlines()[1].split()[:5] == ["web", "nginx", "www.example.com", "80,", "443"]
    text = kube("describe", "ingress", "web").stdout
    assert "cert terminates www.example.com" in text
    assert re.search(r"/shop\s+web:80", text), text
    path = json.loads(kube("get", "ing", "web", "-o", "json").stdout)["spec"]["rules"][0]["http"]
    assert path["paths"][0]["pathType"] == "Prefix"


def test_network_policy(kube):  # noqa: F811
    kube("apply", "-f", "-", input="""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
    ports: [{port: 5432}]
""")
    table = kube("get", "netpol").stdout
    assert headings(table) == ["NAME", "POD-SELECTOR", "AGE"]
    assert table.splitlines()[1].split()[:2] == ["db", "app=db"]
    text = kube("describe", "netpol", "db").stdout
    assert "To Port: 5432/TCP" in text and "CIDR: 10.0.0.0/8" in text
    assert "Policy Types: Ingress" in text


def test_storage(kube):  # noqa: F811
    name = "fast-" + kube.namespace
    kube("apply", "-f", "-", input=f"""
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {name}}}
provisioner: csi.example.com
parameters: {{type: ssd}}
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {{name: csi.{name}}}
spec: {{}}
""")
    table = kube("get", "sc", name).stdout
    assert headings(table) == ["NAME", "PROVISIONER", "RECLAIMPOLICY", "VOLUMEBINDINGMODE",
                               "ALLOWVOLUMEEXPANSION", "AGE"]
    assert table.splitlines()[1].split()[:5] == [
        name, "csi.example.com", "Delete", "WaitForFirstConsumer", "false"]
    text = kube("describe", "sc", name).stdout
    assert re.search(r"^Parameters:\s+type=ssd$", text, re.M), text
    refused = kube("patch", "sc", name, "-p", '{"provisioner":"x"}', check=False)
    assert refused.returncode == 1 and "updates to provisioner are forbidden" in refused.stderr
    drivers = kube("get", "csidrivers", f"csi.{name}").stdout
    assert headings(drivers) == ["NAME", "ATTACHREQUIRED", "PODINFOONMOUNT", "STORAGECAPACITY",
                                 "TOKENREQUESTS", "REQUIRESREPUBLISH", "MODES", "AGE"]
    assert drivers.splitlines()[1].split()[1:7] == [
        "true", "false", "false", "<unset>", "false", "Persistent"]
    assert "deleted" in kube("delete", "sc", name).stdout


def test_priority_and_runtime_classes(kube):  # noqa: F811
    name = "p-" + kube.namespace
    kube("create", "priorityclass", name, "--value=1000", "--description=more than others")
    table = kube("get", "pc").stdout
    assert headings(table) == ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"]
    rows = {line.split()[0]: line.split() for line in table.splitlines()[1:]}
    assert rows["system-node-critical"][1:3] == ["2000001000", "false"]
    assert rows["system-cluster-critical"][1:3] == ["2000000000", "false"]
    assert rows[name][1] == "1000"
    assert "more than others" in kube("describe", "pc", name).stdout
    refused = kube("delete", "pc", "system-node-critical", check=False)
    assert "this is a system priority class and cannot be deleted" in refused.stderr
    kube("apply", "-f", "-", input=f"""
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {{name: {name}}}
handler: runsc
""")
    assert headings(kube("get", "runtimeclasses").stdout) == ["NAME", "HANDLER", "AGE"]


def test_aggregation_and_flow_control(kube):  # noqa: F811
    services = kube("get", "apiservices").stdout
    assert headings(services) == ["NAME", "SERVICE", "AVAILABLE", "AGE"]
    rows = {line.split()[0]: line.split()[1:3] for line in services.splitlines()[1:]}
    for name in ("v1.", "v1.apps", "v1.batch", "v1.networking.k8s.io", "v1.storage.k8s.io"):
        assert rows[name] == ["Local", "True"], name
    schemas = kube("get", "flowschemas").stdout
    assert headings(schemas) == ["NAME", "PRIORITYLEVEL", "MATCHINGPRECEDENCE",
                                 "DISTINGUISHERMETHOD", "AGE", "MISSINGPL"]
    rows = {line.split()[0]: line.split()[1:] for line in schemas.splitlines()[1:]}
    assert len(rows) == 13
    assert rows["exempt"][:3] == ["exempt", "1", "<none>"] and rows["exempt"][-1] == "False"
    levels = kube("get", "prioritylevelconfigurations").stdout
    assert headings(levels) == ["NAME", "TYPE", "NOMINALCONCURRENCYSHARES", "QUEUES", "HANDSIZE",
                                "QUEUELENGTHLIMIT", "AGE"]
    assert len(levels.splitlines()) == 9


def test_addresses_of_services(kube):  # noqa: F811
    kube("create", "service", "clusterip", "plain", "--tcp=80:8080")
    address = kube("get", "svc", "plain", "-o", "jsonpath={.spec.clusterIP}").stdout
    deadline = time.monotonic() + 10
    while True:
        result = kube("get", "ipaddresses", address, check=False)
        if result.returncode == 0 or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert headings(result.stdout) == ["NAME", "PARENTREF"], result.stderr
    assert result.stdout.splitlines()[1].split() == [address, f"services/{kube.namespace}/plain"]
    ranges = kube("get", "servicecidrs").stdout
    assert headings(ranges) == ["NAME", "CIDRS", "AGE"]
    assert ranges.splitlines()[1].split()[0] == "kubernetes"


@pytest.mark.parametrize("resource", ["validatingwebhookconfigurations",
                                      "mutatingwebhookconfigurations"])
def test_webhook_configurations(kube, resource):  # noqa: F811
    kind = {"v": "ValidatingWebhookConfiguration", "m": "MutatingWebhookConfiguration"}[resource[0]]
    name = resource[0] + "-" + kube.namespace
    kube("apply", "-f", "-", input=f"""
apiVersion: admissionregistration.k8s.io/v1
kind: {kind}
metadata: {{name: {name}}}
webhooks:
- name: check.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  failurePolicy: Ignore
  clientConfig: {{service: {{namespace: nowhere, name: nobody}}}}
  rules: [{{operations: [CREATE], apiGroups: [example.com], apiVersions: [v1], resources: [things]}}]
""")
    table = kube("get", resource, name).stdout
    assert headings(table) == ["NAME", "WEBHOOKS", "AGE"]
    assert table.splitlines()[1].split()[:2] == [name, "1"]
    assert "deleted" in kube("delete", resource, name).stdout
