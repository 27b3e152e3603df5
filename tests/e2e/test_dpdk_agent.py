"""sluice-agent --engine dpdk with sluice-dpdk: a gateway between a client and backends in namespaces.

    client 10.7.1.1 ---- ga  sluice-dpdk  gb ---- a bridge with backends 10.7.2.x
                             (namespace gw, af_packet ports, no kernel forwarding)

Either of the two programs is killed under traffic, the engine is replaced by its successor and drained; what is asked
each time is what clients saw.
"""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from harness import cluster as harness
from harness import netns
from harness.cluster import BIN, TESTPEER, eventually

ENGINE = os.path.join(BIN, "sluice-dpdk")
pytestmark = pytest.mark.skipif(not os.path.exists(ENGINE), reason="sluice-dpdk is not built")


class Gateway:
    def __init__(self, cluster):
        self.cluster = cluster
        self.directory = tempfile.mkdtemp(prefix="sluice-dpdk-e2e-")
        self.state = tempfile.mkdtemp(prefix="sluice-e2e-", dir="/dev/shm")
        os.chmod(self.state, 0o700)
        self.socket = os.path.join(self.directory, "dpdk.sock")
        self.log = os.path.join(self.directory, "engine.log")
        prefix = cluster.prefix
        self.ns = netns.Namespace(f"{prefix}-gw")
        self.client = self.host("client", "ga", "10.7.1.1", "10.7.1.254")
        self.backends = {}
        self.bridge()
        self.starts = 0
        self.engine = None

    def host(self, name, device, address, gateway):
        made = netns.Namespace(f"{self.cluster.prefix}-{name}")
        netns.veth(self.ns, device, made, "eth0")
        self.plain(made, "eth0")
        self.plain(self.ns, device)
        made.ip("addr", "add", f"{address}/24", "dev", "eth0")
        made.ip("route", "add", "default", "via", gateway)
        return made

    @staticmethod
    def plain(ns, device):
        """Whole packets with checksums, as a wire has them: a packet socket sees what the stack left undone."""
        ns.run(["ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off"], check=False)

    def bridge(self):
        self.lan = netns.Namespace(f"{self.cluster.prefix}-lan")
        self.lan.ip("link", "add", "br0", "type", "bridge")
        self.lan.ip("link", "set", "br0", "up")
        netns.veth(self.ns, "gb", self.lan, "gw")
        self.lan.ip("link", "set", "gw", "master", "br0")
        self.plain(self.ns, "gb")
        self.plain(self.lan, "gw")
        for number, name in ((1, "a"), (2, "b")):
            made = netns.Namespace(f"{self.cluster.prefix}-be{name}")
            netns.veth(self.lan, f"be{name}", made, "eth0")
            self.lan.ip("link", "set", f"be{name}", "master", "br0")
            self.plain(made, "eth0")
            made.ip("addr", "add", f"10.7.2.{number}/24", "dev", "eth0")
            made.ip("route", "add", "default", "via", "10.7.2.254")
            child = made.popen([TESTPEER, "serve", "--name", name, "--tcp", 8080, "--udp", 8080],
                               stdout=subprocess.PIPE, text=True)
            assert child.stdout.readline().strip() == "ready"
            self.backends[name] = made

    def engine_command(self, *more):
        self.starts += 1
        return [ENGINE, "--socket", self.socket, "--state-dir", self.state, "--flows", "512",
                "--port", "net_af_packet0,interface=ga,role=uplink,address=10.7.1.254/24,exception=none",
                "--port", "net_af_packet1,interface=gb,role=uplink,address=10.7.2.254/24,exception=none",
                *more, "--", "--no-pci", "--no-telemetry", "--no-huge", "-m", "256", "-l", "0",
                f"--file-prefix={self.cluster.prefix}e{self.starts}",
                "--vdev=net_af_packet0,iface=ga", "--vdev=net_af_packet1,iface=gb"]

    def start_engine(self, *more, wait=True):
        with open(self.log, "a") as log:
            child = self.ns.popen(self.engine_command(*more), stdout=log, stderr=log)
        self.engine = child

        def answers():
            assert child.poll() is None, self.tail()
            return self.status()["pid"] == child.pid
        if wait:
            eventually(answers, 20, "the engine answers", 0.05)
        return child

    def status(self):
        out = subprocess.run([os.path.join(BIN, "sluice"), "--engine", "dpdk", "--dpdk-state-dir", self.state,
                              "--dpdk-socket", self.socket, "-o", "json", "status"],
                             capture_output=True, text=True, check=True)
        return json.loads(out.stdout)["engine"]

    def sluice(self, *args, check=True):
        return subprocess.run([os.path.join(BIN, "sluice"), "--engine", "dpdk", "--dpdk-state-dir", self.state,
                               "--dpdk-socket", self.socket, *args], capture_output=True, text=True, check=check)

    def tail(self):
        with open(self.log) as log:
            return "".join(log.readlines()[-20:])

    def agent_flags(self):
        return ["--engine=dpdk", f"--dpdk-socket={self.socket}", f"--dpdk-state-dir={self.state}"]

    def close(self):
        if self.engine:
            netns.stop(self.engine, signal.SIGKILL)
        for ns in (self.client, self.lan, *self.backends.values(), self.ns):
            ns.close()
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def site():
    """A cluster whose one agent drives a DPDK engine, and Service web of both backends."""
    cluster = harness.Cluster(nodes=1)
    gateway = Gateway(cluster)
    try:
        cluster.gateway = gateway
        gateway.address = web(cluster, "web", ("a", "b"))
        cluster.node.start_agent(more=gateway.agent_flags())
        gateway.start_engine()
        eventually(lambda: ask(gateway) in "ab", 20, "the service answers")
        yield cluster
    finally:
        gateway.close()
        cluster.close()


def web(cluster, name, backends):
    ports = [{"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    made = cluster.api.create("/api/v1/namespaces/default/services", {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "ports": ports}})
    put(cluster, name, backends)
    return made["spec"]["clusterIP"]


def put(cluster, name, backends):
    number = {"a": 1, "b": 2}
    cluster.put_slice(name, 4, [{"addresses": [f"10.7.2.{number[b]}"]} for b in backends],
                      ports=[{"name": "tcp", "port": 8080, "protocol": "TCP"}])


def ask(gateway, timeout=2):
    """A connection from the client: which backend says its name."""
    def once():
        with socket.create_connection((gateway.address, 80), timeout=timeout) as talk:
            talk.settimeout(timeout)
            talk.sendall(b"hello\n")
            return talk.recv(64).decode()[:1]
    return gateway.client.call(once)


def talk_on(address, seconds):
    """One connection that says something every 20 ms: (answers, longest silence in seconds, its error)."""
    answers, longest, error = 0, 0.0, ""
    end = time.monotonic() + seconds
    with socket.create_connection((address, 80), timeout=5) as talk:
        talk.settimeout(10)
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                talk.sendall(b"hello\n")
                if not talk.recv(64):
                    error = "closed"
                    break
            except OSError as failed:
                error = repr(failed)
                break
            answers += 1
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.02)
    return answers, longest, error


def under_traffic(gateway, seconds, act):
    """Connections that last throughout; act() after a second. What they saw."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        talks = [pool.submit(gateway.client.call, lambda: talk_on(gateway.address, seconds)) for _ in range(4)]
        time.sleep(1)
        act()
        seen = [talk.result() for talk in talks]
    print("answers, longest silence in seconds, error:", seen)
    return seen


def test_clients_reach_both_backends(site):
    names = {ask(site.gateway) for _ in range(30)}
    assert names == {"a", "b"}
    listed = site.gateway.sluice("service", "list").stdout
    assert "default/web:tcp" in listed


def test_flows_and_status_are_shown(site):
    assert ask(site.gateway) in "ab"
    flows = json.loads(site.gateway.sluice("-o", "json", "flows").stdout)
    assert any(flow["service"] == "default/web:tcp" for flow in flows["flows"])
    status = site.gateway.status()
    assert sum(lcore["packets"] for lcore in status["lcores"]) > 0
    metrics = site.node.ns.run(["curl", "-fsS", "http://127.0.0.1:10249/metrics"]).stdout
    for name in ("sluice_engine_up 1", "sluice_lcore_busy_cycles_total{", "sluice_port_received_packets_total{",
                 "sluice_service_connections_total{service=\"default/web:tcp\""):
        assert name in metrics


def test_a_backend_that_left_gets_no_new_connection(site):
    put(site, "web", ("b",))
    eventually(lambda: {ask(site.gateway) for _ in range(5)} == {"b"}, 10, "only b answers")
    put(site, "web", ("a", "b"))
    eventually(lambda: {ask(site.gateway) for _ in range(10)} == {"a", "b"}, 10, "both answer")


def test_connections_outlive_the_agent(site):
    def kill():
        site.node.stop_agent(signal.SIGKILL)
    for answers, _, error in under_traffic(site.gateway, 4, kill):
        assert error == "" and answers > 20
    assert ask(site.gateway) in "ab"
    # A new one finds what is there: flows keep their backends.
    seen = under_traffic(site.gateway, 5, lambda: site.node.start_agent(more=site.gateway.agent_flags()))
    for answers, _, error in seen:
        assert error == "" and answers > 20


def test_connections_outlive_the_engine(site):
    def kill():
        netns.stop(site.gateway.engine, signal.SIGKILL)
        # What changes meanwhile is what the next engine begins with.
        put(site, "web", ("b",))
        site.gateway.start_engine()
    for answers, _, error in under_traffic(site.gateway, 12, kill):
        assert error == "" and answers > 20
    eventually(lambda: {ask(site.gateway) for _ in range(5)} == {"b"}, 10, "only b answers")
    put(site, "web", ("a", "b"))
    eventually(lambda: {ask(site.gateway) for _ in range(10)} == {"a", "b"}, 10, "both answer")


def test_a_successor_takes_over_without_losing_a_flow(site):
    def upgrade():
        former = site.gateway.engine
        site.gateway.start_engine("--take-over")
        assert former.wait(10) == 0
    for answers, longest, error in under_traffic(site.gateway, 8, upgrade):
        assert error == "" and answers > 20, longest
    assert ask(site.gateway) in "ab"


def test_drains_without_loss(site):
    def drain():
        busy = site.gateway.sluice("drain", "--idle", "2", "--timeout", "1", check=False)
        assert busy.returncode != 0 and "in use" in busy.stderr
        with pytest.raises(RuntimeError):
            ask(site.gateway)
    for answers, _, error in under_traffic(site.gateway, 6, drain):
        assert error == "" and answers > 20
    done = site.gateway.sluice("drain", "--idle", "2", "--timeout", "20")
    assert "drained" in done.stdout
    site.gateway.sluice("drain", "--undo")
    assert eventually(lambda: ask(site.gateway) in "ab", 5, "new connections are taken again")


def test_captures_a_flow(site):
    path = os.path.join(site.gateway.directory, "flow.pcapng")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        captured = pool.submit(site.gateway.sluice, "-o", "json", "capture", path, "--destination",
                               f"{site.gateway.address}:80", "--protocol", "tcp", "--seconds", "3")
        time.sleep(1)
        ask(site.gateway)
        out = json.loads(captured.result().stdout)
    assert out["packets"] >= 3
    with open(path, "rb") as written:
        assert written.read(4) == b"\x0a\x0d\x0d\x0a"
    again = site.gateway.sluice("capture", path, check=False)
    assert again.returncode != 0


def room_for_flows(gateway):
    tables = json.loads(gateway.sluice("-o", "json", "status").stdout)["flowTables"]
    return next(table["capacity"] for table in tables if table["family"] == "IPv4")


def connect_by_some_port(address):
    """Even in a table with much room a bucket is full now and then; another port has another bucket."""
    for _ in range(5):
        with contextlib.suppress(TimeoutError):
            return socket.create_connection((address, 80), timeout=0.9)
    raise AssertionError("five ports in a row were refused")


def test_flow_tables_double_under_connections_that_last(site):
    """As many as fill the table to three quarters, one after the other; each is asked again in the larger table."""
    before = room_for_flows(site.gateway)

    def crowd():
        with contextlib.ExitStack() as stack:
            talks = [stack.enter_context(connect_by_some_port(site.gateway.address)) for _ in range(before * 3 // 4)]
            for talk in talks:
                talk.settimeout(10)
                assert talk.recv(64)[:1] in (b"a", b"b")
            for _ in range(2):
                time.sleep(0.5)
                for talk in talks:
                    talk.sendall(b"hello\n")
                    assert talk.recv(64) == b"hello\n"
            return len(talks)
    assert site.gateway.client.call(crowd) == before * 3 // 4
    assert room_for_flows(site.gateway) >= 2 * before
    metrics = site.node.ns.run(["curl", "-fsS", "http://127.0.0.1:10249/metrics"]).stdout
    assert "sluice_engine_flows_lost_total 0\n" in metrics
    assert "larger-flows-0" not in os.listdir(site.gateway.state)


@pytest.mark.parametrize("command", ("flows", "drops"))
def test_the_flow_log_can_be_followed(site, command):
    flags = ["--engine", "dpdk", "--dpdk-state-dir", site.gateway.state]
    follower = subprocess.Popen([os.path.join(BIN, "sluice"), *flags, "-o", "json", command, "--follow"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wanted():
        """struct SegmentHeader says where the log's settings lie: until_ns, then the kinds that are wanted."""
        with open(os.path.join(site.gateway.state, "events"), "rb") as log:
            header = log.read(32)
            log.seek(int.from_bytes(header[24:32], "little") + 8)
            return int.from_bytes(log.read(4), "little") != 0
    eventually(wanted, 10, "the log is on", 0.05)
    second = subprocess.run([os.path.join(BIN, "sluice"), *flags, command, "--follow"], capture_output=True, text=True)
    assert second.returncode == 1 and "somebody else follows" in second.stderr
    names = [ask(site.gateway) for _ in range(5)]
    with pytest.raises(RuntimeError, match="refused"):
        site.gateway.client.call(lambda: socket.create_connection((site.gateway.address, 81), timeout=2))
    time.sleep(0.5)
    follower.send_signal(signal.SIGINT)
    out, err = follower.communicate(timeout=10)
    assert follower.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    opened = [event for event in events if event["event"] == "opened"]
    refused = [event for event in events if event["event"] == "refused"]
    assert len(opened) == (len(names) if command == "flows" else 0)
    for event in opened:
        assert event["service"] == "default/web:tcp" and event["destination"] == f"{site.gateway.address}:80"
        assert event["backend"] in ("10.7.2.1:8080", "10.7.2.2:8080") and event["place"] == "node"
    assert {event["reason"] for event in refused} == {"port_not_served"}


def test_many_publishes_disturb_no_connection(site):
    """Endpoints of another Service come and go as fast as the API server takes them."""
    web(site, "other", ("a",))
    generation = []

    def churn():
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            put(site, "other", ("b",) if len(generation) % 2 else ("a", "b"))
            generation.append(1)
    for answers, _, error in under_traffic(site.gateway, 6, churn):
        assert error == "" and answers > 20
    assert len(generation) > 20


def test_cleanup_only_without_an_engine(site):
    site.node.stop_agent()
    command = site.node.agent_command(*site.gateway.agent_flags(), "--cleanup")
    refused = site.node.ns.run(command, check=False)
    assert refused.returncode == 1 and "state directory" in refused.stderr
    assert ask(site.gateway) in "ab"
    netns.stop(site.gateway.engine)
    site.node.ns.run(command)
    assert not os.path.exists(site.gateway.state)
