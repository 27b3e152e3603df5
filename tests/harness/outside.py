"""A control plane alone in a namespace, and HTTPS servers beside it that it calls: webhooks, other API servers."""

import http.server
import json
import os
import signal
import ssl
import subprocess
import tempfile
import threading
import zlib

from . import cluster, netns


def certificates(directory, names):
    """The PEM of a new authority; DIRECTORY/server.crt and server.key are signed by it, for names like "DNS:a,IP:b"."""
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=directory)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=outside-ca", "-days", "1")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=outside")
    with open(os.path.join(directory, "names"), "w") as out:
        out.write(f"subjectAltName={names}\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.crt", "-days", "1", "-extfile", "names")
    with open(os.path.join(directory, "ca.pem")) as ca:
        return ca.read()


class Control:
    """sluice-control in a namespace of its own; `address` is one more address there, for servers of serve().

    audit: an audit policy, whose log is at self.audit_log.
    """

    def __init__(self, prefix, address, port, cluster_ips="10.96.0.0/16", flags=(), audit=None):
        self.directory = tempfile.mkdtemp(prefix=f"sluice-{prefix}-")
        self.audit_log = os.path.join(self.directory, "audit.log")
        if audit:
            policy = os.path.join(self.directory, "audit.yaml")
            with open(policy, "w") as out:
                out.write(audit)
            flags = [*flags, "--audit-policy-file", policy, "--audit-log-path", self.audit_log]
        self.address = address
        self.net = netns.Namespace(f"{prefix}{os.getpid()}")
        self.net.ip("address", "add", f"{address}/32", "dev", "lo")
        self.servers = []
        self.log_path = os.path.join(self.directory, "log")
        data = os.path.join(self.directory, "data")
        self.kubeconfig = os.path.join(data, "admin.kubeconfig")
        with open(self.log_path, "w") as log:
            self.process = self.net.popen(
                [os.path.join(cluster.BIN, "sluice-control"), "--data-dir", data, "--listen", f"127.0.0.1:{port}",
                 "--service-cluster-ip-range", cluster_ips, *flags], stdout=log, stderr=log)
        try:
            cluster.eventually(self._ready, 20, "ready", 0.05)
        except AssertionError:
            self.close()
            raise

    def _ready(self):
        if self.process.poll() is not None:
            with open(self.log_path) as log:
                raise AssertionError("sluice-control exited:\n" + log.read()[-3000:])
        return os.path.exists(self.kubeconfig) and self.kubectl("get", "--raw", "/readyz", check=False).returncode == 0

    def environment(self):
        return {**os.environ, "HOME": self.directory, "KUBECONFIG": self.kubeconfig}

    def kubectl(self, *args, check=True, input=None):
        extra = {"input": input} if input is not None else {}
        return self.net.run(["kubectl", *args], check=check, env=self.environment(), **extra)

    def json(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def raw(self, path, check=True):
        out = self.kubectl("get", "--raw", path, check=check)
        return json.loads(out.stdout) if check else out

    def apply(self, document, *args, check=True):
        return self.kubectl("apply", *args, "-f", "-", check=check, input=json.dumps(document))

    def serve(self, port, handler, context, address=None):
        """An HTTPS server at `address`, self.address unless told; end it with stop_serving(), or it ends with this."""
        with self.net.entered():
            server = http.server.ThreadingHTTPServer((address or self.address, port), handler)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.servers.append(server)
        return server

    def stop_serving(self, server):
        self.servers.remove(server)
        server.shutdown()
        server.server_close()

    def context(self):
        """For serve(), with the certificate that certificates() made in the directory."""
        out = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        out.load_cert_chain(os.path.join(self.directory, "server.crt"), os.path.join(self.directory, "server.key"))
        return out

    def close(self):
        try:
            code = netns.stop(self.process, signal.SIGTERM)
        finally:
            for server in list(self.servers):
                self.stop_serving(server)
            self.net.close()
        assert code == 0


def lasting(make):
    """For a fixture to yield from: what make() made, closed at the end."""
    made = make()
    try:
        yield made
    finally:
        made.close()


class Case:
    """A namespace of a test's own with the label case=NAME, so that what the test configures is about it alone."""

    def __init__(self, world, test_name):
        self.world = world
        self.namespace = f"t{zlib.crc32(test_name.encode())}"
        world.apply({"apiVersion": "v1", "kind": "Namespace",
                     "metadata": {"name": self.namespace, "labels": {"case": self.namespace}}})

    def kubectl(self, *args, **more):
        return self.world.kubectl("-n", self.namespace, *args, **more)


class Answers(http.server.BaseHTTPRequestHandler):
    """What handlers of JSON have in common."""

    protocol_version = "HTTP/1.1"

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")

    def answer(self, document, code=200, content_type="application/json"):
        text = json.dumps(document).encode()
        try:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            pass  # Who asked did not wait.

    def log_message(self, *args):
        pass
