"""Cluster DNS end to end: sluice-control with its DNS component, Services made with kubectl, packets by drill."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from harness import cluster as harness

DOMAIN = "svc.cluster.local"


class Control:
    """sluice-control --components=apiserver,dns on free ports of loopback."""

    def __init__(self, *more, directory=None, wait_for="are known"):
        self.directory = directory or tempfile.mkdtemp(prefix="sluice-dns-")
        self.kubeconfig = os.path.join(self.directory, "control", "admin.kubeconfig")
        self.log_path = os.path.join(self.directory, "control.log")
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [os.path.join(harness.BIN, "sluice-control"), "--data-dir",
                 os.path.join(self.directory, "control"), "--listen", "127.0.0.1:0",
                 "--components=apiserver,dns", "--dns-listen", "127.0.0.1:0,[::1]:0",
                 "--dns-upstream", "none", *more],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        for text in ("is ready at", wait_for):
            harness.eventually(lambda t=text: t in self.log(), 20, f'"{text}" in its log')
        self.ports = {family: re.search(rf"serving \S+ at {re.escape(host)}:(\d+) ", self.log())[1]
                      for family, host in ((4, "127.0.0.1"), (6, "[::1]"))}

    def log(self):
        with open(self.log_path) as log:
            text = log.read()
        assert self.process.poll() is None, f"sluice-control exited:\n{text[-3000:]}"
        return text

    def stop(self, keep=False):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        return code

    def kubectl(self, *args, input=None):
        result = subprocess.run(
            ["kubectl", *args], input=input, capture_output=True, text=True, timeout=60,
            env={**os.environ, "HOME": self.directory, "KUBECONFIG": self.kubeconfig})
        assert result.returncode == 0, result.stderr
        return result.stdout

    def drill(self, *question, family=4, tcp=False):
        """(rcode, flags, answers as sorted [name, type, data])"""
        host = {4: "127.0.0.1", 6: "::1"}[family]
        text = subprocess.run(
            ["drill", "-t" if tcp else "-u", "-p", self.ports[family], f"@{host}", *question],
            capture_output=True, text=True, timeout=20).stdout
        code = re.search(r"rcode: (\w+)", text)[1]
        flags = re.search(r"flags: ([a-z ]*)", text)[1].split()
        section = text.split(";; ANSWER SECTION:")[1].split(";;")[0]
        rows = [line.split("\t") for line in section.strip().splitlines() if line]
        return code, flags, sorted([row[0], row[3], row[4]] for row in rows)

    def data(self, *question, **how):
        code, _, rows = self.drill(*question, **how)
        return code, [row[2] for row in rows]


@pytest.fixture(scope="module")
def control():
    running = Control()
    try:
        yield running
    finally:
        assert running.stop() == 0


def test_the_api_servers_own_service_over_each_transport(control):
    name = f"kubernetes.default.{DOMAIN}"
    for family in (4, 6):
        for tcp in (False, True):
            code, flags, rows = control.drill(name, "A", family=family, tcp=tcp)
            assert (code, rows) == ("NOERROR", [[name + ".", "A", "10.96.0.1"]])
            assert "aa" in flags
    assert control.data(f"_https._tcp.{name}", "SRV") == ("NOERROR", [f"0 100 443 {name}."])
    assert control.data("-x", "10.96.0.1") == ("NOERROR", [name + "."])


def test_a_service_resolves_changes_and_disappears(control):
    name = f"web.default.{DOMAIN}"
    assert control.data(name, "A") == ("NXDOMAIN", [])
    control.kubectl("create", "service", "clusterip", "web", "--tcp=80:8080")
    address = control.kubectl("get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
    harness.eventually(lambda: control.data(name, "A") == ("NOERROR", [address]), 5, "the Service resolves")
    assert control.data(name, "AAAA") == ("NOERROR", [])
    assert control.data("-x", address) == ("NOERROR", [name + "."])

    control.kubectl("patch", "svc", "web", "--type=merge", "-p",
                    '{"spec":{"ports":[{"name":"www","port":81}]}}')
    harness.eventually(lambda: control.data(f"_www._tcp.{name}", "SRV") ==
                       ("NOERROR", [f"0 100 81 {name}."]), 5, "the port's new name")
    control.kubectl("delete", "svc", "web")
    control.kubectl("create", "service", "externalname", "web", "--external-name=kubernetes.default." + DOMAIN)
    harness.eventually(lambda: control.data(name, "A") ==
                       ("NOERROR", ["10.96.0.1", f"kubernetes.default.{DOMAIN}."]), 5, "the alias")
    control.kubectl("delete", "svc", "web")
    harness.eventually(lambda: control.data(name, "A") == ("NXDOMAIN", []), 5, "the Service is forgotten")
    assert control.data("-x", address) == ("NXDOMAIN", [])


HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 5432}]
endpoints:
- {addresses: [10.244.7.1], hostname: db-0}
- {addresses: [10.244.7.2], conditions: {ready: true}}
- {addresses: [10.244.7.3], conditions: {ready: false}}
"""


def test_a_headless_service_follows_its_endpoints(control):
    name = f"db.default.{DOMAIN}"
    control.kubectl("apply", "-f", "-", input=HEADLESS)
    harness.eventually(lambda: control.data(name, "A") == ("NOERROR", ["10.244.7.1", "10.244.7.2"]), 5,
                       "the endpoints resolve")
    assert control.data(f"db-0.{name}", "A") == ("NOERROR", ["10.244.7.1"])
    assert control.data(f"_sql._tcp.{name}", "SRV") == (
        "NOERROR", [f"0 100 5432 10-244-7-2.{name}.", f"0 100 5432 db-0.{name}."])
    assert control.data("-x", "10.244.7.1") == ("NOERROR", [f"db-0.{name}."])
    control.kubectl("apply", "-f", "-", input=HEADLESS.replace("ready: false", "ready: true"))
    harness.eventually(lambda: len(control.data(name, "A")[1]) == 3, 5, "the third endpoint")
    control.kubectl("delete", "endpointslice", "db-1")
    harness.eventually(lambda: control.data(name, "A") == ("NXDOMAIN", []), 5, "no endpoints, no name")


def test_namespaces_pods_and_other_names(control):
    control.kubectl("create", "namespace", "shop")
    pod = "10-244-1-9.shop.pod.cluster.local"
    harness.eventually(lambda: control.data(pod, "A") == ("NOERROR", ["10.244.1.9"]), 5, "the pod's name")
    assert control.data(f"shop.{DOMAIN}", "A") == ("NOERROR", [])
    control.kubectl("delete", "namespace", "shop")
    harness.eventually(lambda: control.data(pod, "A") == ("NXDOMAIN", []), 10, "the namespace is forgotten")
    assert control.drill("example.com", "A")[0] == "REFUSED"
    assert control.drill("cluster.local", "SOA")[0] == "NOERROR"


def test_a_restart_serves_what_is_stored():
    first = Control()
    first.kubectl("create", "service", "clusterip", "kept", "--tcp=80:80")
    assert first.stop(keep=True) == 0
    again = Control(directory=first.directory, wait_for="is ready at")
    try:
        # Never NXDOMAIN, at whatever moment: until all is listed the server says that it does not know.
        code = harness.eventually(lambda: [c for c in [again.drill(f"kept.default.{DOMAIN}", "A")[0]]
                                           if c != "SERVFAIL"], 10, "the name is served")[0]
        assert code == "NOERROR"
    finally:
        assert again.stop() == 0


def test_other_domain_and_a_port_that_is_taken():
    other = Control("--cluster-domain", "example.internal")
    try:
        harness.eventually(lambda: other.data("kubernetes.default.svc.example.internal", "A") ==
                           ("NOERROR", ["10.96.0.1"]), 5, "the other domain")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            result = subprocess.run(
                [os.path.join(harness.BIN, "sluice-control"), "--data-dir",
                 os.path.join(other.directory, "second"), "--listen", "127.0.0.1:0",
                 "--components=apiserver,dns", "--dns-listen", f"127.0.0.1:{port}",
                 "--dns-upstream", "none"],
                capture_output=True, text=True, timeout=30)
        assert result.returncode == 1 and f"127.0.0.1:{port}: the port is taken" in result.stderr
    finally:
        assert other.stop() == 0
