"""sluice-dpdk between namespaces: its ports are af_packet on veths, its way to the kernel is a tap."""

import json
import os
import signal
import subprocess

import pytest

from harness import cluster as harness
from harness import netns
from harness.dpdk_ground import (CLUSTER_IP, ENGINE, EXTERNAL, LOCAL_NODE_PORT, NODE, NODE_PORT, POD, Ground)

@pytest.fixture(scope="module")
def ground():
    made = Ground()
    try:
        made.start()
        made.address_tap()
        made.publish()
        yield made
    finally:
        if os.environ.get("SLUICE_SHOW_LOG"):
            with open(made.log) as log:
                print(log.read())
        made.close()


PROTOCOLS = [pytest.param([], id="tcp"), pytest.param(["--udp"], id="udp")]


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_the_nodes_own_sockets_answer_by_the_exception_path(ground, family, flags):
    result = ground.load(ground.outside, NODE[family], 9000, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"node"}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_node_port_leads_to_a_backend_elsewhere_as_the_node(ground, family, flags):
    result = ground.load(ground.outside, NODE[family], NODE_PORT, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"far"}, result
    assert set(result["clients"]) == {NODE[family]}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_node_port_leads_to_a_pod_here(ground, family, flags):
    result = ground.load(ground.outside, NODE[family], LOCAL_NODE_PORT, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"near"}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_pods_own_address_is_kept_to_a_cluster_ip(ground, family, flags):
    result = ground.load(ground.pod, CLUSTER_IP[family], 80, *flags)
    assert result["failed"] == 0 and set(result["servers"]) == {"far"}, result
    assert set(result["clients"]) == {POD[family]}, result


@pytest.mark.parametrize("family", (4, 6))
def test_an_external_address_on_the_link_is_announced(ground, family):
    result = ground.load(ground.outside, EXTERNAL[family], 80)
    assert result["failed"] == 0 and set(result["servers"]) == {"far"}, result


@pytest.mark.parametrize("family", (4, 6))
def test_a_port_that_is_not_served_is_refused(ground, family):
    result = ground.load(ground.outside, CLUSTER_IP[family], 81, count=3)
    assert result["ok"] == 0 and any("refused" in error for error in result["errors"]), result


def test_a_successor_takes_the_flows_over(ground):
    flows = ground.outside.popen([harness.TESTPEER, "flows", NODE[4], NODE_PORT, "--count", 50, "--seconds", 12,
                                  "--timeout-ms", 8000, "--pause-us", 2000], stdout=subprocess.PIPE, text=True)
    assert flows.stdout.readline().strip() == "ready"
    first = ground.engine
    ground.start("--take-over", name="second")
    ground.wait("forwarding on", 2)
    assert first.wait(20) == 0
    ground.address_tap()
    counted = json.loads(flows.communicate(timeout=60)[0])
    assert counted["flows"] == 50 and counted["lost"] == 0, counted
    with open(ground.log) as log:
        assert "frames waited at most" in log.read()


def test_sigterm_ends_it_and_the_state_stays(ground):
    assert netns.stop(ground.engine, signal.SIGTERM, 20) == 0
    assert os.path.exists(os.path.join(ground.state, "current"))
    assert not os.path.exists(ground.socket)
    ground.engine = None


@pytest.mark.parametrize("arguments,named", (
    ([], "--port"),
    (["--port", "x,mtu=1"], "mtu"),
    (["--port", "net_null0,role=spine", "--", "--no-pci"], "role"),
))
def test_wrong_usage_is_told_with_its_field(arguments, named):
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2 and named in done.stderr
