"""The stores behind the API server: two servers on one etcd, an etcd that goes away, encryption at rest, snapshots
and migration. The programs are the real ones; etcdctl and kubectl look from outside."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from harness.api import ApiClient
from harness.etcd import Etcd

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
CONTROL = os.path.join(BUILD, "bin", "sluice-control")
WAIT_S = 90

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="the package etcd-server is not installed")


def until(what, wanted, seconds=WAIT_S):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {wanted}")


class Server:
    def __init__(self, folder, *flags):
        self.folder, self.flags = folder, flags
        self.start()

    def start(self):
        self.process = subprocess.Popen([CONTROL, "--data-dir", self.folder, "--listen", "127.0.0.1:0", *self.flags],
                                        stderr=subprocess.PIPE, text=True)
        said = ""
        for line in self.process.stderr:
            said += line
            if "is ready at" in line:
                break
        else:
            pytest.fail("sluice-control ended: " + said)
        # What it says later must not fill the pipe.
        subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(WAIT_S) == 0

    def kubectl(self, *words, check=True, stdin=None):
        done = subprocess.run(["kubectl", "--kubeconfig", os.path.join(self.folder, "admin.kubeconfig"), *words],
                              capture_output=True, text=True, input=stdin, timeout=WAIT_S)
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout if check else done

    def names(self, kind):
        return self.kubectl("get", kind, "-o", "name").split()


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="sluice-storage-") as path:
        yield path


@pytest.fixture(scope="module")
def etcd(folder):
    running = Etcd(folder)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def two(folder, etcd):
    servers = [Server(os.path.join(folder, name), "--etcd-servers", etcd.url) for name in ("a", "b")]
    yield servers
    for server in servers:
        server.stop()


def control(*words):
    return subprocess.run([CONTROL, *words], capture_output=True, text=True, timeout=WAIT_S)


def test_what_one_server_acknowledged_the_other_shows(two):
    a, b = two
    for turn in range(5):
        a.kubectl("create", "configmap", f"m{turn}", "--from-literal=k=v")
        assert b.kubectl("get", "configmap", f"m{turn}", "-o", "jsonpath={.data.k}") == "v"
        done = b.kubectl("create", "configmap", f"m{turn}", check=False)
        assert done.returncode == 1 and "already exists" in done.stderr
        b.kubectl("delete", "configmap", f"m{turn}")
        done = a.kubectl("get", "configmap", f"m{turn}", check=False)
        assert "NotFound" in done.stderr
        a.kubectl("create", "namespace", f"n{turn}")
        b.kubectl("create", "configmap", "inside", "-n", f"n{turn}")


def test_etcd_holds_kubernetes_own_layout(two, etcd):
    two[0].kubectl("create", "configmap", "layout", "--from-literal=k=v")
    stored = etcd.ctl("get", "--print-value-only", "/registry/configmaps/default/layout")
    assert stored.startswith(b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap")
    keys = etcd.ctl("get", "--prefix", "--keys-only", "/").decode().split()
    assert "/registry/namespaces/kube-system" in keys and "/registry/services/specs/default/kubernetes" in keys


def test_while_etcd_is_away_memory_serves_and_the_rest_fails_clearly(two, etcd):
    a = two[0]
    a.kubectl("create", "configmap", "kept")
    etcd.kill()
    cached = a.kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps/kept?resourceVersion=0")
    assert json.loads(cached)["metadata"]["name"] == "kept"
    # Asked without kubectl, which repeats what it is told to try again.
    client = ApiClient(os.path.join(a.folder, "admin.kubeconfig"))
    for method, path, body in (
            ("GET", "/api/v1/namespaces/default/configmaps/kept", None),
            ("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "refused"}})):
        code, _, said = client.raw(method, path, body)
        assert code >= 500 and b"etcdserver: request timed out" in said, (code, said)
    client.close()
    etcd.start()
    until(lambda: a.kubectl("get", "configmap", "kept", check=False).returncode == 0, "reads go on")
    a.kubectl("create", "configmap", "after")
    assert "configmap/refused" not in a.names("configmaps")


def test_secrets_are_encrypted_at_rest_and_keys_are_rotated(folder):
    data = os.path.join(folder, "encrypted")
    config = os.path.join(folder, "encryption.yaml")

    def configure(*keys):
        providers = "".join(f"  - aesgcm:\n      keys: [{{name: {name}, secret: {secret}}}]\n" for name, secret in keys)
        with open(config, "w", encoding="ascii") as out:
            out.write("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
                      f"- resources: [secrets]\n  providers:\n{providers}  - identity: {{}}\n")

    old, new = (name and (name, base64.b64encode(name.encode() * 16).decode()) for name in ("k1", "k2"))
    configure(old)
    server = Server(data, "--encryption-provider-config", config)
    try:
        server.kubectl("create", "secret", "generic", "s", "--from-literal=k=hidden-from-the-disk")
        configure(new, old)
        time.sleep(4)
        got = server.kubectl("get", "secret", "s", "-o", "json")
        server.kubectl("replace", "-f", "-", stdin=got)
        shot = os.path.join(folder, "encrypted.snapshot")
        assert control("snapshot", "save", shot, "--data-dir", data).returncode == 0
        with open(shot, "rb") as file:
            stored = file.read()
        assert b"hidden-from-the-disk" not in stored
        assert b"k8s:enc:aesgcm:v1:k2:" in stored and b"k8s:enc:aesgcm:v1:k1:" not in stored
        value = server.kubectl("get", "secret", "s", "-o", "jsonpath={.data.k}")
        assert base64.b64decode(value) == b"hidden-from-the-disk"
    finally:
        server.stop()


def test_snapshot_of_a_running_server_comes_back_elsewhere(folder):
    first = Server(os.path.join(folder, "first"))
    shot = os.path.join(folder, "first.snapshot")
    try:
        first.kubectl("create", "configmap", "before")
        saved = control("snapshot", "save", shot, "--data-dir", first.folder)
        assert saved.returncode == 0 and "objects at revision" in saved.stdout
        first.kubectl("create", "configmap", "after")
        taken = int(re.search(r"revision (\d+)", saved.stdout).group(1))
        refused = control("snapshot", "restore", shot, "--data-dir", first.folder)
        assert refused.returncode == 1 and "exists already" in refused.stderr
    finally:
        first.stop()
    second_folder = os.path.join(folder, "second")
    with open(shot, "rb") as file:
        damaged = bytearray(file.read())
    damaged[len(damaged) // 2] ^= 1
    with open(shot + ".bad", "wb") as file:
        file.write(damaged)
    bad = control("snapshot", "restore", shot + ".bad", "--data-dir", second_folder)
    assert bad.returncode == 1 and "damaged" in bad.stderr
    assert not os.path.exists(os.path.join(second_folder, "store.db"))
    assert control("snapshot", "restore", shot, "--data-dir", second_folder).returncode == 0
    second = Server(second_folder)
    try:
        assert "configmap/before" in second.names("configmaps") and "configmap/after" not in second.names("configmaps")
        created = second.kubectl("create", "configmap", "new", "-o", "jsonpath={.metadata.resourceVersion}")
        assert int(created) > taken + 1_000_000
    finally:
        second.stop()


def test_migration_to_etcd_and_back(folder):
    own = os.path.join(folder, "moving")
    os.mkdir(own)
    etcd = Etcd(own)
    try:
        data = os.path.join(own, "data")
        server = Server(data)
        version = int(server.kubectl("create", "configmap", "moved", "-o", "jsonpath={.metadata.resourceVersion}"))
        server.stop()
        there = control("store", "migrate", "--from", "embedded", "--to", "etcd", "--data-dir", data,
                        "--etcd-servers", etcd.url)
        assert there.returncode == 0, there.stderr
        server = Server(data, "--etcd-servers", etcd.url)
        now = server.kubectl("get", "configmap", "moved", "-o", "jsonpath={.metadata.resourceVersion}")
        assert int(now) >= version
        server.kubectl("create", "configmap", "in-etcd")
        server.stop()
        back = os.path.join(own, "back")
        again = control("store", "migrate", "--from", "etcd", "--to", "embedded", "--data-dir", back,
                        "--etcd-servers", etcd.url)
        assert again.returncode == 0, again.stderr
        server = Server(back)
        assert {"configmap/moved", "configmap/in-etcd"} <= set(server.names("configmaps"))
        server.stop()
    finally:
        etcd.kill()


def test_history_is_as_long_as_it_is_asked_for(folder):
    """Pages of one list, between which 6 MB are written over one another."""
    turns = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
              "data": {"k": str(turn) + "x" * 100_000}} for turn in range(60)]
    large = json.dumps({"apiVersion": "v1", "kind": "List", "items": turns})
    for mib, gone in (("1", True), ("16", False)):
        server = Server(os.path.join(folder, "history" + mib), "--history-mib", mib)
        try:
            for name in ("a", "b"):
                server.kubectl("create", "configmap", name)
            path = "/api/v1/namespaces/default/configmaps?limit=1"
            first = json.loads(server.kubectl("get", "--raw", path))
            server.kubectl("replace", "-f", "-", stdin=large)
            after = server.kubectl("get", "--raw", path + "&continue=" + first["metadata"]["continue"], check=False)
            assert (after.returncode != 0) == gone, after.stderr
            if gone:
                assert "continue" in after.stderr, after.stderr
        finally:
            server.stop()


def test_wrong_flags_are_named(folder):
    data = os.path.join(folder, "unused")
    for words, said in ((["--etcd-prefix", "/x"], "--etcd-prefix needs --etcd-servers"),
                        (["--etcd-servers", "nowhere"], "nowhere"),
                        (["--etcd-servers", "http://127.0.0.1:1", "--etcd-compaction-interval", "x"],
                         "--etcd-compaction-interval"),
                        (["--encryption-provider-config", "/nowhere"], "/nowhere")):
        done = control("--data-dir", data, "--listen", "127.0.0.1:0", *words)
        assert done.returncode in (1, 2) and said in done.stderr, done.stderr


def test_controllers_of_two_servers_run_in_one_of_them(folder, etcd):
    servers = [Server(os.path.join(folder, name), "--etcd-servers", etcd.url, "--etcd-prefix", "/elected",
                      "--components", "apiserver,controllers,scheduler") for name in ("c", "d")]
    c, d = servers
    lease = ["get", "lease", "-n", "kube-system", "kube-controller-manager", "-o"]

    def holder():
        return d.kubectl(*lease, "jsonpath={.spec.holderIdentity}", check=False).stdout

    def pods():
        return len([name for name in d.names("pods") if "/web-" in name])
    try:
        until(holder, "a leader")
        first = holder()
        c.kubectl("create", "deployment", "web", "--image=none", "--replicas=3")
        until(lambda: pods() == 3, "three Pods")
        time.sleep(2)
        assert pods() == 3 and holder() == first
        scheduler = d.kubectl("get", "lease", "-n", "kube-system", "kube-scheduler", "-o", "name")
        assert scheduler == "lease.coordination.k8s.io/kube-scheduler\n"
        # Who is stopped in order gives the Lease up; c was first, and has it.
        c.stop()
        until(lambda: holder() not in ("", first), "another leader", 14)
        d.kubectl("scale", "deployment", "web", "--replicas=5")
        until(lambda: pods() == 5, "five Pods by the other server's controllers")
        # Who is killed is replaced once the Lease has run out.
        second = holder()
        c.start()
        d.process.kill()
        d.process.wait()
        until(lambda: c.kubectl(*lease, "jsonpath={.spec.holderIdentity}") != second, "a third leader")
        transitions = c.kubectl(*lease, "jsonpath={.spec.leaseTransitions}")
        assert int(transitions) >= 2
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()
