"""What is wrong is refused, by name, and nothing of it is kept."""

import os
import shutil
import subprocess

import pytest

from harness import cluster as harness
from harness.api import ApiError

SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture(scope="module")
def control():
    cluster = harness.Cluster(nodes=1)
    try:
        yield cluster
    finally:
        cluster.close()


def service(name="bad", **spec):
    spec.setdefault("ports", [{"port": 80}])
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


BAD = {
    "port too large": (service(ports=[{"port": 65536}]), "spec.ports[0].port"),
    "port zero": (service(ports=[{"port": 0}]), "spec.ports[0].port"),
    "target port": (service(ports=[{"port": 80, "targetPort": 70000}]), "spec.ports[0].targetPort"),
    "node port out of range": (service(type="NodePort", ports=[{"port": 80, "nodePort": 80}]),
                               "spec.ports[0].nodePort"),
    "protocol": (service(ports=[{"port": 80, "protocol": "ICMP"}]), "spec.ports[0].protocol"),
    "no ports": (service(ports=[]), "spec.ports"),
    "two ports without names": (service(ports=[{"port": 80}, {"port": 81}]), "spec.ports[0].name"),
    "two ports alike": (service(ports=[{"name": "a", "port": 80}, {"name": "b", "port": 80}]),
                        "spec.ports[1]"),
    "cluster address": (service(clusterIP="300.1.2.3"), "spec.clusterIPs[0]"),
    "cluster address outside the range": (service(clusterIP="192.168.9.9"), "spec.clusterIPs"),
    "external address": (service(externalIPs=["not-an-ip"]), "spec.externalIPs[0]"),
    "loopback external address": (service(externalIPs=["127.0.0.1"]), "spec.externalIPs[0]"),
    "name with capitals": (service(name="Bad"), "metadata.name"),
    "name that begins with a digit": (service(name="9lives"), "metadata.name"),
    "no name": (service(name=""), "metadata.name"),
    "type": (service(type="Magic"), "spec.type"),
    "affinity": (service(sessionAffinity="Sticky"), "spec.sessionAffinity"),
    "policy": (service(type="NodePort", externalTrafficPolicy="Near"), "spec.externalTrafficPolicy"),
    "label": ({**service(), "metadata": {"name": "bad", "labels": {"-": "x"}}}, "metadata.labels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_service_is_422_with_the_field(control, case):
    body, field = BAD[case]
    before = control.api.get(SERVICES)["metadata"]["resourceVersion"]
    with pytest.raises(ApiError) as caught:
        control.api.create(SERVICES, body)
    status = caught.value.status
    assert caught.value.code == 422 and status["reason"] == "Invalid", status
    assert any(cause["field"] == field for cause in status["details"]["causes"]), status
    after = control.api.get(SERVICES)
    assert [s["metadata"]["name"] for s in after["items"]] == ["kubernetes"]
    # Nothing was allocated and kept either: the store did not move.
    assert after["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize("body,code", [
    ("{", 400), ('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}', 400),
    ('{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":"80"}]}}', 400), ("[]", 400)])
def test_malformed_bodies_are_400(control, body, code):
    with pytest.raises(ApiError) as caught:
        control.api.request("POST", SERVICES, body)
    assert caught.value.code == code, caught.value.status
    assert caught.value.status["kind"] == "Status"


def test_taken_addresses_and_ports_are_refused(control):
    first = control.api.create(SERVICES, service("first", type="NodePort"))
    try:
        for spec, field in (
                ({"clusterIP": first["spec"]["clusterIP"]}, "spec.clusterIPs"),
                ({"type": "NodePort", "ports": [
                    {"port": 80, "nodePort": first["spec"]["ports"][0]["nodePort"]}]},
                 "spec.ports[0].nodePort")):
            with pytest.raises(ApiError) as caught:
                control.api.create(SERVICES, service("second", **spec))
            assert caught.value.code == 422
            assert field in str(caught.value.status["details"]["causes"]), caught.value.status
    finally:
        control.api.delete(f"{SERVICES}/first")


def test_corrupt_store_is_refused_and_left_untouched(tmp_path):
    cluster = harness.Cluster(nodes=1)
    try:
        cluster.api.create(SERVICES, service("kept"))
        cluster.stop_control()
        data = os.path.join(cluster.directory, "control")
        store = [os.path.join(root, f) for root, _, files in os.walk(data) for f in files
                 if open(os.path.join(root, f), "rb").read(15) == b"SQLite format 3"]
        assert len(store) == 1, store
        good = tmp_path / "good"
        shutil.copy(store[0], good)
        with open(store[0], "r+b") as file:
            file.seek(0)
            file.write(b"\0" * 4096)
        damaged = open(store[0], "rb").read()
        result = cluster.node.ns.run(
            [os.path.join(harness.BIN, "sluice-control"), "--data-dir", data, "--listen",
             harness.CONTROL_ADDRESS], check=False, timeout=20)
        assert result.returncode == 1
        assert store[0] in result.stderr, result.stderr
        assert open(store[0], "rb").read() == damaged
        shutil.copy(good, store[0])
        cluster.start_control(register=False)
        assert cluster.api.get(f"{SERVICES}/kept")["metadata"]["name"] == "kept"
    finally:
        cluster.close()


def run(program, *args, **kwargs):
    return subprocess.run([os.path.join(harness.BIN, program), *args], capture_output=True,
                          text=True, timeout=20, **kwargs)


@pytest.mark.parametrize("program,needed", [
    ("sluice", ["status"]), ("sluice-agent", ["--kubeconfig", "none"]),
    ("sluice-control", ["--data-dir", "none"])])
def test_usage(program, needed):
    assert run(program, "--help").returncode == 0
    version = run(program, "--version")
    assert version.returncode == 0 and "0.1.0" in version.stdout
    wrong = run(program, *needed, "--no-such-flag")
    assert wrong.returncode == 2 and "no-such-flag" in wrong.stderr
    assert run(program, "--log-level", "loud", *needed).returncode == 2


def agent(*args, **kwargs):
    return run("sluice-agent", "--node-name", "n", *args, **kwargs)


@pytest.fixture()
def kubeconfig(control):
    return control.kubeconfig


def test_agent_without_root_says_so(kubeconfig, tmp_path):
    # The kubeconfig is root's own: give the unprivileged agent a copy that it can read.
    copy = tmp_path / "kubeconfig"
    shutil.copy(kubeconfig, copy)
    for path in (tmp_path, copy):
        os.chmod(path, 0o755)
    parents = tmp_path
    while parents != parents.parent:
        if not os.access(parents, os.X_OK) or not os.stat(parents).st_mode & 0o001:
            os.chmod(parents, os.stat(parents).st_mode | 0o055)
        parents = parents.parent
    result = agent("--kubeconfig", str(copy), user=65534, group=65534, extra_groups=[])
    assert result.returncode == 1
    assert "root" in result.stderr and "CAP_BPF" in result.stderr, result.stderr


def test_agent_without_bpffs_or_cgroup2_says_so(kubeconfig, tmp_path):
    cgroup = harness.cgroup2_root()
    result = agent("--kubeconfig", kubeconfig, "--bpffs", str(tmp_path), "--cgroup-root", cgroup)
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr and "mount -t bpf" in result.stderr, result.stderr
    bpffs = tmp_path / "bpf"
    bpffs.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(bpffs)], check=True)
    try:
        result = agent("--kubeconfig", kubeconfig, "--bpffs", str(bpffs), "--cgroup-root",
                       str(tmp_path))
        assert result.returncode == 1
        assert str(tmp_path) in result.stderr and "cgroup2" in result.stderr, result.stderr
        assert harness.pins_in(bpffs) == []
    finally:
        subprocess.run(["umount", str(bpffs)], check=True)


@pytest.mark.parametrize("text", ["", "{", "clusters: []\nusers: []\n"])
def test_bad_kubeconfig(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    result = agent("--kubeconfig", str(path))
    assert result.returncode == 1 and str(path) in result.stderr, result.stderr


def test_control_refuses_wrong_flags(tmp_path):
    for flags in (["--listen", "nowhere"], ["--service-cluster-ip-range", "10.0.0.0/33"],
                  ["--service-node-port-range", "9-1"], ["--components", "apiserver,magic"]):
        result = run("sluice-control", "--data-dir", str(tmp_path / "d"), *flags)
        assert result.returncode == 2, (flags, result.stderr)
        assert flags[1].split(",")[-1] in result.stderr, result.stderr
    assert not (tmp_path / "d").exists()


def test_sluice_without_a_dataplane(tmp_path):
    result = run("sluice", "status", "--bpffs", str(tmp_path))
    assert result.returncode == 1 and str(tmp_path) in result.stderr
    assert "sluice-agent" in result.stderr, result.stderr


@pytest.mark.parametrize("command", ["up", "down"])
def test_sluice_hands_arguments_to_the_scripts(command):
    done = subprocess.run([os.path.join(harness.BIN, "sluice"), command, "--no-such-flag"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert f"{command}: unknown argument --no-such-flag" in done.stderr
