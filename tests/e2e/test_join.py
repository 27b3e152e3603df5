"""`sluice join`: what it refuses and how it says so, that it may be repeated, and that it renews."""

import base64
import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from harness.cluster import BIN, eventually
from harness.realnode import CONTROL, RealCluster, RealNode

CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"


@pytest.fixture(scope="module")
def real():
    cluster = RealCluster(nodes=1)
    try:
        cluster.nodes.append(RealNode(cluster, 2))
        yield cluster
    finally:
        cluster.close()


@pytest.fixture()
def folder(real, tmp_path):
    return str(tmp_path / "node")


def create_token(cluster, *more):
    """(server, token, pin) out of the command that is printed for people."""
    words = cluster.node.ns.run(
        [os.path.join(BIN, "sluice-control"), "--data-dir", cluster.control_data, "--listen", CONTROL, "token",
         "create", *more], env=cluster.node.environment()).stdout.split()
    at = words.index("join")
    return words[at + 1], words[words.index("--token") + 1], words[words.index("--discovery-token-ca-cert-hash") + 1]


def join(cluster, folder, server=None, token=None, pin=None, more=("--node-name", "node2"), check=False):
    credentials = [*([server] if server else []), *(["--token", token] if token else []),
                   *(["--discovery-token-ca-cert-hash", pin] if pin else [])]
    return cluster.nodes[1].ns.run([os.path.join(BIN, "sluice"), "join", *credentials, *more, "--data-dir", folder,
                                    "--no-start"], check=check, env=cluster.nodes[1].environment(), timeout=60)


def refused(result, folder, *words, code=1):
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    assert not os.path.exists(os.path.join(folder, "kubelet.kubeconfig"))


def test_wrong_credentials(real, folder):
    server, token, pin = create_token(real)
    name, secret = token.split(".")
    other = "".join("b" if c != "b" else "c" for c in secret)
    refused(join(real, folder, server, f"{name}.{other}", pin), folder, f"token {name}", "wrong token")
    refused(join(real, folder, server, f"zzzzzz.{secret}", pin), folder, "no signature for token zzzzzz")
    refused(join(real, folder, server, token, "sha256:" + "0" * 64), folder, "does not have the pin", "0" * 64)
    for wrong in ("abc", f"{name}.{secret}x", f"{name.upper()}.{secret}", secret):
        result = join(real, folder, server, wrong, pin)
        refused(result, folder, "--token", "6 and 16 characters", code=2)
        assert secret not in result.stderr  # a secret with a typing error is one
    refused(join(real, folder, server, token, "sha256:abc"), folder, "--discovery-token-ca-cert-hash", code=2)
    refused(join(real, folder, server, token, pin, more=("--node-name", "Node_2")), folder, "--node-name", code=2)
    refused(join(real, folder, server, token, pin, more=("--node-name", "node2", "--node-ip", "one")), folder,
            "--node-ip", code=2)
    refused(join(real, folder, server, token), folder, "needs SERVER", code=2)
    refused(join(real, folder, more=("--renew",)), folder, "nothing to renew", "kubelet.kubeconfig")


def test_an_expired_token(real, folder):
    server, token, pin = create_token(real, "--ttl", "2s")
    join_id = token.split(".")[0]

    def signed():
        return f"jws-kubeconfig-{join_id}" in real.api.get(CLUSTER_INFO)["data"]
    eventually(lambda: not signed(), 15, "the signature is taken back", 0.2)
    refused(join(real, folder, server, token, pin), folder, f"no signature for token {join_id}", "expired")
    # By itself the token opens nothing any more.
    answer = real.node.ns.run(["curl", "-ks", "-H", f"Authorization: Bearer {token}",
                               f"https://{CONTROL}/apis/certificates.k8s.io/v1/certificatesigningrequests/x"])
    assert json.loads(answer.stdout)["code"] == 401


def test_nobody_there(real, folder):
    _, token, pin = create_token(real)
    refused(join(real, folder, "172.30.0.1:9", token, pin), folder, "172.30.0.1:9", "Connection refused")
    refused(join(real, folder, "no-such-host.invalid:6443", token, pin,
                 more=("--node-name", "node2", "--node-ip", "172.30.0.2")), folder, "no-such-host.invalid")


IMPOSTOR = """
import http.server, ssl, sys
with open(sys.argv[1]) as source:
    body = source.read().encode()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("172.30.0.1", 7443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""


def test_a_server_in_between(real, folder, tmp_path):
    """It can repeat what the real one says, or change it: neither gets it a client."""
    _, token, pin = create_token(real)
    token_id = token.split(".")[0]
    eventually(lambda: f"jws-kubeconfig-{token_id}" in real.api.get(CLUSTER_INFO)["data"], 10, "the signature", 0.1)
    key, certificate, info = (str(tmp_path / name) for name in ("k.pem", "c.pem", "info.json"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "1", "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:172.30.0.1", "-keyout", key,
                    "-out", certificate], check=True, capture_output=True)
    document = real.api.get(CLUSTER_INFO)
    kubeconfig = yaml.safe_load(document["data"]["kubeconfig"])
    with open(certificate, "rb") as source:
        own_authority = base64.b64encode(source.read()).decode()
    authority = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
    tampered = json.loads(json.dumps(document))
    tampered["data"]["kubeconfig"] = document["data"]["kubeconfig"].replace(authority, own_authority)
    for served, words in ((tampered, ("signature of cluster-info", token_id)), (document, ("certificate",))):
        with open(info, "w") as out:
            json.dump(served, out)
        impostor = real.node.ns.popen([sys.executable, "-c", IMPOSTOR, info, certificate, key],
                                      stdout=subprocess.PIPE, text=True)
        try:
            assert impostor.stdout.readline().strip() == "ready"
            refused(join(real, folder, "172.30.0.1:7443", token, pin), folder, *words)
        finally:
            impostor.kill()
            impostor.wait()


def test_the_name_of_a_node_that_lives(real, folder):
    server, token, pin = create_token(real)
    refused(join(real, folder, server, token, pin, more=("--node-name", "node1")), folder, "denied", "node1",
            "delete it first")


def dates(path):
    text = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-enddate", "-serial"], check=True,
                          capture_output=True, text=True).stdout
    return text


def credentials_in(folder):
    with open(os.path.join(folder, "kubelet.kubeconfig")) as source:
        return yaml.safe_load(source)


def client_certificate(folder, tmp_path):
    path = str(tmp_path / "client.crt")
    with open(path, "wb") as out:
        out.write(base64.b64decode(credentials_in(folder)["users"][0]["user"]["client-certificate-data"]))
    return path


def aged(cluster, folder, tmp_path):
    """The node's client certificate once more, by the same authority, with a tenth of its year left."""
    place = tmp_path / "ca"
    place.mkdir()
    pki = os.path.join(cluster.control_data, "pki")
    (place / "index.txt").write_text("")
    (place / "serial").write_text("1234\n")
    (place / "cnf").write_text(f"""
[ca]
default_ca = d
[d]
database = {place}/index.txt
serial = {place}/serial
new_certs_dir = {place}
default_md = sha256
policy = p
x509_extensions = e
[p]
organizationName = supplied
commonName = supplied
[e]
extendedKeyUsage = clientAuth
keyUsage = digitalSignature
""")
    key = str(place / "key.pem")
    with open(key, "wb") as out:
        out.write(base64.b64decode(credentials_in(folder)["users"][0]["user"]["client-key-data"]))

    def stamp(days):
        return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))
    for argv in (["openssl", "req", "-new", "-key", key, "-subj", "/O=system:nodes/CN=system:node:node2", "-out",
                  f"{place}/csr"],
                 ["openssl", "ca", "-batch", "-config", f"{place}/cnf", "-cert", f"{pki}/ca.crt", "-keyfile",
                  f"{pki}/ca.key", "-in", f"{place}/csr", "-out", f"{place}/crt", "-notext", "-startdate", stamp(-9),
                  "-enddate", stamp(1)]):
        subprocess.run(argv, check=True, capture_output=True)
    config = credentials_in(folder)
    config["users"][0]["user"]["client-certificate-data"] = base64.b64encode((place / "crt").read_bytes()).decode()
    with open(os.path.join(folder, "kubelet.kubeconfig"), "w") as out:
        yaml.safe_dump(config, out)


def test_joining_repeating_renewing(real, folder, tmp_path):
    server, token, pin = create_token(real)
    first = join(real, folder, server, token, pin, check=True)
    assert first.stdout.endswith(f"node node2 has joined https://{server}\n")
    for name in ("kubelet.kubeconfig", "kubelet-serving.crt", "kubelet-serving.key", "ca.crt"):
        assert os.stat(os.path.join(folder, name)).st_mode & 0o777 == 0o600, name
    assert os.stat(folder).st_mode & 0o777 == 0o700
    client = client_certificate(folder, tmp_path)
    before = dates(client), dates(f"{folder}/kubelet-serving.crt")
    subject = subprocess.run(["openssl", "x509", "-in", client, "-noout", "-subject"], capture_output=True, text=True)
    assert "system:node:node2" in subject.stdout and "system:nodes" in subject.stdout

    again = join(real, folder, server, token, pin, check=True)
    assert "client certificate is good" in again.stdout and "serving certificate is good" in again.stdout
    renewed = join(real, folder, more=("--renew", "--node-ip", "172.30.0.2"), check=True)
    assert renewed.stdout == "the client certificate is good\nthe serving certificate is good\n"
    assert before == (dates(client_certificate(folder, tmp_path)), dates(f"{folder}/kubelet-serving.crt"))

    # Near its end the certificate is renewed by itself, without any token; the other one is left alone.
    aged(real, folder, tmp_path)
    renewed = join(real, folder, more=("--renew", "--node-ip", "172.30.0.2"), check=True)
    assert "wrote" in renewed.stdout and "serving certificate is good" in renewed.stdout
    after = dates(client_certificate(folder, tmp_path)), dates(f"{folder}/kubelet-serving.crt")
    assert after[0] != before[0] and after[1] == before[1]
    with open(f"{folder}/kubelet-serving.crt", "w") as out:
        out.write("damaged")
    assert "wrote" in join(real, folder, more=("--renew", "--node-ip", "172.30.0.2"), check=True).stdout
    assert dates(f"{folder}/kubelet-serving.crt") != before[1]
    # Another node's name is not to be had that way.
    taken = join(real, folder, more=("--renew", "--node-name", "node1"))
    assert taken.returncode == 1 and "node2, not node1" in taken.stderr


def test_what_the_certificate_of_a_node_asks_for_itself_only(real, folder, tmp_path):
    """Requests by a node for another node's certificate are denied."""
    server, token, pin = create_token(real)
    join(real, folder, server, token, pin, check=True)
    place = str(tmp_path)
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/O=system:nodes/CN=system:node:node1", "-keyout", f"{place}/k", "-out", f"{place}/r"],
                   check=True, capture_output=True)
    with open(f"{place}/r", "rb") as source:
        request = base64.b64encode(source.read()).decode()
    text = json.dumps({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
                       "metadata": {"name": "greedy"},
                       "spec": {"request": request, "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                                "usages": ["digital signature", "client auth"]}})
    real.kubectl("create", "-f", "-", input=text, env={"KUBECONFIG": f"{folder}/kubelet.kubeconfig"})
    found = eventually(lambda: real.api.get("/apis/certificates.k8s.io/v1/certificatesigningrequests/greedy")
                       .get("status", {}).get("conditions"), 10, "a decision", 0.1)
    assert [c["type"] for c in found] == ["Denied"]
    assert "node2 may not have a certificate of" in found[0]["message"]
