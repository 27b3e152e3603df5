"""sluice-pktgen on ports that any machine has: rings, and veth pairs through a router of the kernel's.

The kernel's own counters are the witness of what was sent; what a router drops on purpose is what has to be found lost.
"""

import json
import os
import signal
import subprocess
import sys
import uuid
import xml.etree.ElementTree

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from harness import cluster as harness  # noqa: E402

PKTGEN = os.path.join(harness.BUILD, "bin", "sluice-pktgen")
FLOW = ["--source", "10.0.0.2", "--destination", "10.0.1.2", "--drain-s", "1"]


def eal(*ports):
    # One lcore, ordinary pages, nothing of the machine's own devices, and no clash with other DPDK programs.
    return ["--", "-l", "0", "--no-pci", "--no-huge", "-m", "256", "--no-telemetry", "--log-level=3",
            f"--file-prefix=t{uuid.uuid4().hex[:8]}", *ports]


def pktgen(*args, ports=(), namespace=None, status=0):
    enter = ["nsenter", f"--net=/var/run/netns/{namespace}"] if namespace else []
    done = subprocess.run([*enter, PKTGEN, *args, *eal(*ports)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def measured(tmp_path, *args, **kwargs):
    path = tmp_path / "out.json"
    pktgen(*args, "--json", str(path), **kwargs)
    return json.loads(path.read_text())


class Router:
    """A namespace that routes between two others' networks, whose ends of the cables are both in `ends`."""

    def __init__(self):
        name = uuid.uuid4().hex[:6]
        self.ends, self.router = f"pg{name}e", f"pg{name}r"
        for namespace in (self.ends, self.router):
            subprocess.run(["ip", "netns", "add", namespace], check=True)
        for i, side in enumerate(("a", "b")):
            subprocess.run(["ip", "link", "add", "name", f"g{side}", "netns", self.ends, "type", "veth", "peer",
                            "name", f"r{side}", "netns", self.router], check=True)
            self.inside(self.ends, "sysctl", "-qw", f"net.ipv6.conf.g{side}.disable_ipv6=1")
            # No duplicate address detection: an address serves at once.
            self.inside(self.router, "sysctl", "-qw", f"net.ipv6.conf.r{side}.accept_dad=0")
            self.inside(self.ends, "ip", "link", "set", f"g{side}", "up", "promisc", "on")
            self.inside(self.router, "ip", "link", "set", f"r{side}", "up")
            self.inside(self.router, "ip", "addr", "add", f"10.0.{i}.1/24", "dev", f"r{side}")
            self.inside(self.router, "ip", "addr", "add", f"fd00:{i}::1/64", "dev", f"r{side}", "nodad")
        self.inside(self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    @staticmethod
    def inside(namespace, *command):
        return subprocess.run(["nsenter", f"--net=/var/run/netns/{namespace}", *command], check=True,
                              capture_output=True, text=True).stdout

    def counters(self, device):
        link = json.loads(self.inside(self.router, "ip", "-j", "-s", "link", "show", "dev", device))[0]
        return link["stats64"]

    def close(self):
        for namespace in (self.ends, self.router):
            subprocess.run(["ip", "netns", "del", namespace], check=False)


@pytest.fixture()
def router():
    made = Router()
    try:
        yield made
    finally:
        made.close()


VETH = ("--vdev=net_af_packet0,iface=ga", "--vdev=net_af_packet1,iface=gb")
RING = ("--vdev=net_ring0",)


def test_all_that_goes_into_a_ring_comes_back(tmp_path):
    out = measured(tmp_path, "run", *FLOW, "--destination-mac", "02:00:00:00:00:02", "--count", "20000",
                   "--packets-per-second", "100k", "--max-loss", "0", ports=RING)
    run = out["run"]
    assert out["kind"] == "run" and out["profile"]["source"] == "10.0.0.2"
    assert run["sent_packets"] == run["received_packets"] == 20000
    assert run["lost_packets"] == run["duplicated_packets"] == run["reordered_packets"] == run["corrupted_packets"] == 0
    assert run["sent_bytes"] == 64 * 20000
    assert run["latency"]["count"] == 20000
    port = run["ports"][0]
    assert port["sent_packets"] == port["port_sent_packets"]
    assert port["received_packets"] == port["port_received_packets"]


def test_what_never_comes_back_is_lost(tmp_path):
    """net_null takes all that it is given. (Without no-rx it also hands out empty buffers.)"""
    lost = ("run", *FLOW, "--destination-mac", "02:00:00:00:00:02", "--count", "5000", "--packets-per-second", "50k")
    out = measured(tmp_path, *lost, "--max-loss", "99%", ports=("--vdev=net_null0,no-rx=1",), status=3)
    assert out["run"]["lost_packets"] == 5000 and out["run"]["received_packets"] == 0
    assert out["run"]["loss_share"] == 1


@pytest.mark.parametrize("family", ("ipv4", "ipv6"))
def test_a_router_of_the_kernels_is_the_witness(router, tmp_path, family):
    flow = ["--source", "10.0.0.2", "--destination", "10.0.1.2", "--next-hop", "10.0.0.1"]
    if family == "ipv6":
        flow = ["--source", "fd00:0::2", "--destination", "fd00:1::2", "--next-hop", "fd00:0::1", "--sizes", "128"]
    run = measured(tmp_path, "run", *flow, "--drain-s", "1", "--source-port", "1024-1123", "--flows", "100", "--count",
                   "3000", "--packets-per-second", "5k", "--max-loss", "0", ports=VETH, namespace=router.ends)["run"]
    assert run["sent_packets"] == run["received_packets"] == 3000
    first, second = run["ports"]
    into, out_of = router.counters("ra"), router.counters("rb")
    assert into["rx"]["packets"] == first["sent_packets"] == first["port_sent_packets"]
    assert out_of["tx"]["packets"] >= 3000
    assert second["received_packets"] >= 3000
    assert into["rx"]["dropped"] == 0


def test_what_a_router_drops_is_found(router, tmp_path):
    """Every fourth packet is dropped, so a quarter of them is lost, and scripts can tell by the exit status."""
    router.inside(router.router, "nft", "add table ip t; add chain ip t c { type filter hook forward priority 0; }; "
                  "add rule ip t c udp dport 80 numgen inc mod 4 0 counter drop")
    flow = ("run", *FLOW, "--next-hop", "10.0.0.1", "--count", "4000", "--packets-per-second", "5k")
    run = measured(tmp_path, *flow, "--max-loss", "25%", ports=VETH, namespace=router.ends)["run"]
    assert run["lost_packets"] == 1000
    done = pktgen(*flow, "--max-loss", "0.24", ports=VETH, namespace=router.ends, status=3)
    assert "lost 25 % of the packets, more than 24 %" in done.stderr


def test_connections_across_a_router(router, tmp_path):
    out = measured(tmp_path, "connections", *FLOW, "--next-hop", "10.0.0.1", "--source-port", "1024-65535", "--flows",
                   "0", "--max-connections-per-second", "200", "--trial-s", "1", "--repeat", "1", "--settle-s", "0",
                   "--resolution", "0.5", "--loss-tolerance", "1%", ports=VETH, namespace=router.ends)
    assert out["kind"] == "connections"
    found = out["connections"]
    assert found["settled"] and found["connections_per_second"] > 0
    best = found["trials"][found["best_trial"]]["run"]["connections"]
    assert best["closed"] >= best["opened"] * 0.99 > 0


def test_a_search_ends_with_a_rate_that_passed(tmp_path):
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "markdown", "svg")}
    files = [arg for kind, path in paths.items() for arg in (f"--{kind}", str(path))]
    out = measured(tmp_path, "throughput", *FLOW, "--destination-mac", "02:00:00:00:00:02", "--frame-bytes", "64,512",
                   "--trial-s", "0.3", "--settle-s", "0", "--repeat", "1", "--resolution", "0.1",
                   "--max-packets-per-second", "20k", *files, ports=RING)
    assert [size["frame_bytes"] for size in out["throughput"]] == [64, 512]
    for size in out["throughput"]:
        assert 0 < size["packets_per_second"] <= 20000
        best = size["trials"][size["best_trial"]]
        assert best["passed"] and best["run"]["lost_packets"] == 0
    assert paths["csv"].read_text().count("\nthroughput,") == 2
    assert "| frame bytes |" in paths["markdown"].read_text()
    assert xml.etree.ElementTree.parse(paths["svg"]).getroot().tag.endswith("svg")


def test_an_interrupt_ends_the_run_and_results_are_there(tmp_path):
    path = tmp_path / "out.json"
    running = subprocess.Popen([PKTGEN, "run", *FLOW, "--destination-mac", "02:00:00:00:00:02", "--duration-s", "60",
                                "--packets-per-second", "1k", "--interval-s", "0.2", "--json", str(path), *eal(*RING)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in running.stderr:
        if "sent" in line:
            break
    running.send_signal(signal.SIGINT)
    stdout, _ = running.communicate(timeout=20)
    assert running.returncode == 0
    assert "lost" in stdout
    run = json.loads(path.read_text())["run"]
    assert 0 < run["seconds"] < 30
    assert run["sent_packets"] == run["received_packets"] > 0


def test_ports_are_listed():
    out = pktgen("ports", ports=("--vdev=net_null0", *RING)).stdout
    assert out.splitlines()[1].split()[:3] == ["0", "net_null0", "net_null"]
    assert out.splitlines()[2].split()[:3] == ["1", "net_ring0", "net_ring"]


@pytest.mark.parametrize("args, message", (
    (["run", "--ttl", "300"], "--ttl: 300 is more than 255"),
    (["fly"], "fly"),
    (["run"], "source"),
    (["throughput", "--trial-s", "0"], "source"),
    (["run", *FLOW, "--max-loss", "0", "--probe", "no"], "--max-loss: without probes"),
    (["run", *FLOW, "--roles", "send,send,send"], "role"),
))
def test_wrong_usage_is_two(args, message):
    done = pktgen(*args, ports=RING, status=2)
    assert message in done.stderr and done.stderr.startswith("sluice-pktgen: ")


def test_a_dumped_profile_is_a_profile(tmp_path):
    path = tmp_path / "profile.yaml"
    dumped = subprocess.run([PKTGEN, "run", *FLOW, "--sizes", "imix", "--ttl", "9", "--dump-profile"],
                            capture_output=True, text=True, check=True)
    path.write_text(dumped.stdout)
    again = subprocess.run([PKTGEN, "run", "--profile", str(path), "--dump-profile"], capture_output=True, text=True,
                           check=True)
    assert again.stdout == dumped.stdout and "ttl: 9" in again.stdout
    path.write_text("ttl: 9\nsource-port: many\n")
    wrong = pktgen("run", "--profile", str(path), ports=RING, status=2)
    assert f"{path}:2: source-port: " in wrong.stderr
