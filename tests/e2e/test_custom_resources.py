"""Kinds that a CustomResourceDefinition makes, as kubectl sees them from the definition to its end."""

import json
import os
import re
import stat
import subprocess
import zlib

import pytest

from harness import cluster as harness
from harness import netns
from test_kubectl import control  # noqa: F401  (fixture)

CONDITION = "{type: object, properties: {type: {type: string}, status: {type: string}}, required: [type, status]}"

# Of the size and the habits of what certificate controllers install: nested objects, enumerations, patterns,
# defaults, lists by key, columns of conditions, status and scale apart, two versions.
CERTIFICATES = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.GROUP, labels: {app: issuer}}
spec:
  group: GROUP
  scope: Namespaced
  names:
    {plural: certificates, singular: certificate, kind: Certificate, listKind: CertificateList,
     shortNames: [certSHORT], categories: [issuingSHORT]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.copies, statusReplicasPath: .status.copies}
    additionalPrinterColumns: &columns
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Secret, type: string, jsonPath: .spec.secretName}
    - {name: Issuer, type: string, jsonPath: .spec.issuerRef.name, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema: &schema
      openAPIV3Schema:
        type: object
        description: A certificate that is kept up to date and stored in a Secret.
        required: [spec]
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            description: What is wanted of the certificate.
            required: [secretName, issuerRef]
            properties:
              secretName: {type: string, description: The Secret that the key is put into., minLength: 1}
              commonName: {type: string, maxLength: 64}
              duration: {type: string}
              renewBefore: {type: string}
              isCA: {type: boolean}
              copies: {type: integer, format: int32, minimum: 0, maximum: 9, default: 1}
              dnsNames: {type: array, items: {type: string, pattern: '^[a-z*][-a-z0-9.]*$'}}
              usages: {type: array, x-kubernetes-list-type: set,
                       items: {type: string, enum: [signing, server auth, client auth]}}
              issuerRef:
                type: object
                required: [name]
                properties:
                  name: {type: string}
                  kind: {type: string, default: Issuer}
                  group: {type: string}
              privateKey:
                type: object
                properties:
                  algorithm: {type: string, enum: [RSA, ECDSA, Ed25519]}
                  size: {type: integer}
                  rotationPolicy: {type: string, enum: [Never, Always]}
              additionalOutputFormats:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items: {type: object, required: [type], properties: {type: {type: string}, note: {type: string}}}
              secretTemplate:
                type: object
                properties:
                  annotations: {type: object, additionalProperties: {type: string}}
                  labels: {type: object, additionalProperties: {type: string}}
              extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties:
              copies: {type: integer}
              revision: {type: integer}
              conditions: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [type],
                           items: CONDITION}
  - {name: v1beta1, served: true, storage: false, subresources: {status: {}}, schema: *schema,
     additionalPrinterColumns: *columns}
""".replace("CONDITION", CONDITION)

CERTIFICATE = """
apiVersion: GROUP/v1
kind: Certificate
metadata: {name: web, labels: {app: web}}
spec:
  secretName: web-tls
  issuerRef: {name: ca}
  dnsNames: [example.com, www.example.com]
  usages: [server auth]
  additionalOutputFormats: [{type: DER}]
  extra: {any: [1, two, {three: 3}]}
"""


class Defined:
    """kubectl in a namespace of its own, and a group of its own that the definition is for."""

    def __init__(self, cluster, binary, tag):
        self.cluster, self.binary = cluster, binary
        self.namespace, self.group = f"t{tag}", f"g{tag}.example.com"
        self.tag = tag
        self("create", "namespace", self.namespace)
        self("apply", "-f", "-", input=self.text(CERTIFICATES))
        self("wait", "--for=condition=established", "--timeout=20s", f"crd/certificates.{self.group}")

    def text(self, template):
        return template.replace("GROUP", self.group).replace("SHORT", str(self.tag))

    @property
    def kind(self):
        return f"certificates.{self.group}"

    def __call__(self, *args, **kwargs):
        return self.cluster.kubectl("-n", self.namespace, *args, binary=self.binary, **kwargs)

    def apply(self, *flags, text=CERTIFICATE, **kwargs):
        return self("apply", *flags, "-f", "-", input=self.text(text), **kwargs)

    def field(self, path):
        return self("get", self.kind, "web", "-o", "jsonpath={%s}" % path).stdout


@pytest.fixture()
def kube(control, real_kubectl, request):  # noqa: F811
    defined = Defined(control, real_kubectl, zlib.crc32(request.node.name.encode()))
    yield defined
    defined("delete", "crd", defined.kind, "--ignore-not-found")


def test_columns_describe_and_explain(kube):
    kube.apply()
    table = kube("get", f"cert{kube.tag}").stdout.splitlines()
    assert table[0].split() == ["NAME", "READY", "SECRET", "AGE"]
    assert table[1].split()[:2] == ["web", "web-tls"]
    assert kube("get", kube.kind, "-o", "wide").stdout.split()[:5] == ["NAME", "READY", "SECRET", "ISSUER", "AGE"]
    assert "web" in kube("get", f"issuing{kube.tag}").stdout
    assert kube("get", kube.kind, "-l", "app=web", "-o", "name").stdout.strip() == f"certificate.{kube.group}/web"
    text = kube("describe", kube.kind, "web").stdout
    assert re.search(r"^Kind:\s+Certificate$", text, re.M) and re.search(r"Secret Name:\s+web-tls$", text, re.M)
    assert "www.example.com" in text
    # kubectl 1.20 takes the group for a field where it stands before one.
    told = kube("explain", "--api-version", f"{kube.group}/v1", f"cert{kube.tag}.spec.secretName").stdout
    assert "The Secret that the key is put into." in told and "<string>" in told
    told = kube("explain", "--api-version", f"{kube.group}/v1", f"cert{kube.tag}.spec", "--recursive").stdout
    assert "rotationPolicy" in told and "<[]string>" in told
    assert "Certificate" in kube("api-resources", "--api-group", kube.group).stdout


def test_defaults_and_what_a_schema_refuses(kube):
    kube.apply()
    assert kube.field(".spec.issuerRef.kind") == "Issuer" and kube.field(".spec.copies") == "1"
    assert json.loads(kube.field(".spec.extra")) == {"any": [1, "two", {"three": 3}]}
    for change, said in (
            ('{"spec":{"usages":["flying"]}}',
             'Unsupported value: "flying": supported values: "signing", "server auth", "client auth"'),
            ('{"spec":{"copies":10}}', "spec.copies in body should be less than or equal to 9"),
            ('{"spec":{"dnsNames":["_"]}}', "spec.dnsNames[0] in body should match '^[a-z*][-a-z0-9.]*$'"),
            ('{"spec":{"isCA":"yes"}}', 'spec.isCA in body must be of type boolean: "string"'),
            ('{"spec":{"issuerRef":null}}', "spec.issuerRef: Required value")):
        done = kube("patch", kube.kind, "web", "--type=merge", "-p", change, check=False)
        assert done.returncode == 1 and said in done.stderr, (change, done.stderr)
    # Unknown fields do not reach the store, as kubectl's own check is switched off here.
    kube("patch", kube.kind, "web", "--type=merge", "-p", '{"spec":{"nonsense":1}}')
    assert kube.field(".spec.nonsense") == ""


def test_changes_in_all_ways(kube, tmp_path):
    assert "created" in kube.apply().stdout
    assert "unchanged" in kube.apply().stdout
    changed = CERTIFICATE.replace("[example.com, www.example.com]", "[example.org]")
    assert "configured" in kube.apply(text=changed).stdout
    assert json.loads(kube.field(".spec.dnsNames")) == ["example.org"]
    assert kube.field(".metadata.generation") == "2"
    kube("patch", kube.kind, "web", "--type=json", "-p",
         '[{"op":"add","path":"/spec/privateKey","value":{"algorithm":"ECDSA","size":256}}]')
    kube("patch", kube.kind, "web", "--type=merge", "-p", '{"spec":{"privateKey":{"size":384}}}')
    assert json.loads(kube.field(".spec.privateKey")) == {"algorithm": "ECDSA", "size": 384}
    strategic = kube("patch", kube.kind, "web", "-p", '{"spec":{"isCA":true}}', check=False)
    assert strategic.returncode == 1
    assert "application/merge-patch+json" in strategic.stderr or "strategic merge patch" in strategic.stderr
    kube("label", kube.kind, "web", "tier=back")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/secretName: web-tls/secretName: edited/' \"$1\"\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    kube("edit", kube.kind, "web", env={"EDITOR": str(editor), "KUBE_EDITOR": str(editor)})
    assert kube.field(".spec.secretName") == "edited"
    before = kube.field(".metadata.generation")
    kube("scale", kube.kind, "web", "--replicas=3")
    assert kube.field(".spec.copies") == "3" and int(kube.field(".metadata.generation")) == int(before) + 1


def test_from_client_side_apply_to_server_side(kube):
    kube.apply()
    moved = kube.apply("--server-side", text=CERTIFICATE.replace("web-tls", "moved"))
    assert "serverside-applied" in moved.stdout and "failed" not in moved.stderr
    assert kube.field(".spec.secretName") == "moved"
    refused = kube.apply("--server-side", "--field-manager=other", check=False,
                         text=CERTIFICATE.replace("web-tls", "theirs"))
    assert refused.returncode == 1 and 'conflict with "kubectl": .spec.secretName' in refused.stderr
    kube.apply("--server-side", "--field-manager=other", "--force-conflicts",
               text=CERTIFICATE.replace("web-tls", "theirs"))
    assert kube.field(".spec.secretName") == "theirs"


def test_watch_versions_and_the_end_of_the_definition(kube):
    kube.apply()
    beta = f"certificates.v1beta1.{kube.group}"
    assert kube("get", beta, "web", "-o", "jsonpath={.apiVersion}").stdout == f"{kube.group}/v1beta1"
    cluster = kube.cluster
    watch = cluster.node.ns.popen(
        [kube.binary, "-n", kube.namespace, "get", kube.kind, "-w", "--no-headers"],
        env={**os.environ, "HOME": cluster.directory, "KUBECONFIG": cluster.kubeconfig},
        stdout=subprocess.PIPE, text=True)
    assert watch.stdout.readline().split()[:2] == ["web", "web-tls"]
    kube("patch", kube.kind, "web", "--type=merge", "-p", '{"spec":{"secretName":"seen"}}')
    assert watch.stdout.readline().split()[:2] == ["web", "seen"]
    netns.stop(watch)
    kube("delete", kube.kind, "web")
    assert "NotFound" in kube("get", kube.kind, "web", check=False).stderr
    kube.apply()
    kube("delete", "crd", kube.kind)

    def gone():
        done = kube("get", kube.kind, check=False)
        return done.returncode == 1 and "the server doesn't have a resource type" in done.stderr
    harness.eventually(gone, 20, "the kind is not served any more")
    # A definition of the same name starts empty.
    kube("apply", "-f", "-", input=kube.text(CERTIFICATES))
    kube("wait", "--for=condition=established", "--timeout=20s", f"crd/{kube.kind}")
    assert "No resources found" in kube("get", kube.kind).stderr


def test_unknown_fields_are_refused_or_warned_of(kube):
    if "debian" in kube.binary:
        pytest.skip("kubectl 1.20 checks fields itself; newer ones ask the server")
    wrong = CERTIFICATE.replace("secretName:", "secretname: x\n  secretName:")
    refused = kube.apply("--validate=strict", text=wrong, check=False)
    assert refused.returncode == 1 and 'unknown field "spec.secretname"' in refused.stderr, refused.stderr
    warned = kube.apply("--validate=warn", text=wrong)
    assert 'unknown field "spec.secretname"' in warned.stderr and "created" in warned.stdout
    assert kube.field(".spec.secretname") == ""
    quiet = kube.apply("--validate=ignore", text=wrong.replace("x\n", "y2\n"))
    assert "unknown field" not in quiet.stderr
    # Nobody could own such a field, whatever is validated.
    for how in ("strict", "ignore"):
        applied = kube.apply("--server-side", f"--validate={how}", text=wrong, check=False)
        assert applied.returncode == 1, applied.stdout
        assert ".spec.secretname: field not declared in schema" in applied.stderr, applied.stderr
