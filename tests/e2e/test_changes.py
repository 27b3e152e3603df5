"""Endpoints and Services that change under traffic; agents that die."""

import signal
import time

import pytest

from harness.cluster import ended_with_backend, eventually

FAMILIES = (4, 6)


@pytest.fixture()
def service(one_node, request):
    """A Service of its own for each test, with pod a as its only endpoint."""
    name = "s" + request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[-40:].lower()
    created = one_node.service(name)
    one_node.slices(name, one_node.node.pods[:1])
    addresses = {(6 if ":" in ip else 4): ip for ip in created["spec"]["clusterIPs"]}
    for family in FAMILIES:
        wait_for_servers(one_node, addresses[family], {"a"})
    return name, addresses


def wait_for_servers(cluster, address, servers, hooked=True, timeout=5):
    client = cluster.node.pods[2]

    def seen():
        result = cluster.node.load(address, 80, where=client, hooked=hooked, count=30,
                                   timeout_ms=200)
        return result["failed"] == 0 and set(result["servers"]) == servers
    eventually(seen, timeout, f"{address} answered by {servers}", 0.02)


PLACES = {"pod-hook": (2, True), "pod-tc": (2, False), "node": (None, True)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", PLACES)
def test_refused_without_endpoints_then_silent_without_service(one_node, service, family, place):
    name, addresses = service
    index, hooked = PLACES[place]
    where = None if index is None else one_node.node.pods[index]

    def attempt(*mode):
        return one_node.node.load(addresses[family], 80, *mode, where=where, hooked=hooked, count=1,
                                  timeout_ms=300)
    one_node.delete_slices(name)
    eventually(lambda: attempt()["errors"] == {"connect: Connection refused": 1}, 5, "TCP refused")
    udp = attempt("--udp")
    assert udp["errors"] in ({"send: Connection refused": 1}, {"recv: Connection refused": 1}), udp
    one_node.api.delete(f"/api/v1/namespaces/default/services/{name}")
    eventually(lambda: attempt()["errors"] == {"connect: Connection timed out": 1}
               or attempt()["errors"] == {"connect: Resource temporarily unavailable": 1},
               5, "TCP silent")
    assert attempt("--udp")["errors"] == {"recv: Resource temporarily unavailable": 1}


@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_endpoint_changes_under_load_lose_nothing(one_node, service, hooked):
    """10 s of connections while the endpoints change every 100 ms and the agent is killed and restarted twice.

    A connected UDP socket whose backend leaves before its answer is ended, and told so: by the hook alone.
    """
    name, addresses = service
    node, client = one_node.node, one_node.node.pods[2]
    loads = [node.load_process(addresses[family], 80, *mode, where=client, hooked=hooked,
                               seconds=10, timeout_ms=2000, pause_us=200)
             for family in FAMILIES for mode in ((), ("--udp",))]
    a, b = node.pods[0], node.pods[1]
    choices = ([a], [a, b], [b], [a, b])
    begin = time.monotonic()
    restarts = [3.0, 6.0]
    step = 0
    while time.monotonic() - begin < 9.5:
        step += 1
        one_node.slices(name, choices[step % len(choices)])
        if restarts and time.monotonic() - begin > restarts[0]:
            restarts.pop(0)
            assert node.stop_agent(signal.SIGKILL) == -signal.SIGKILL
            one_node.slices(name, choices[(step + 1) % len(choices)])
            node.start_agent(wait=False)
        time.sleep(max(0, begin + step * 0.1 - time.monotonic()))
    assert not restarts and step > 50
    import json
    for load in loads:
        result = json.loads(load.communicate(timeout=60)[0])
        ended = ended_with_backend(result)
        assert result["failed"] == (ended if hooked and "--udp" in load.args else 0), result
        # One socket at a time: at most one for each change.
        assert ended <= step, result
        assert result["ok"] > 1000, result
        assert set(result["servers"]) == {"a", "b"}, result
    node.wait_agent()
    one_node.slices(name, [b])
    for family in FAMILIES:
        wait_for_servers(one_node, addresses[family], {"b"})


@pytest.mark.parametrize("hooked", (True, False), ids=("socket-hook", "tc"))
def test_live_connections_outlive_their_endpoint_and_the_agent(one_node, service, hooked):
    """TCP flows are never cut: not by an endpoint's removal from the Service, not by an agent's death."""
    name, addresses = service
    node = one_node.node
    held = [node.load_process(addresses[family], 80, "--hold", where=node.pods[2], hooked=hooked,
                              seconds=4) for family in FAMILIES]
    time.sleep(0.5)
    one_node.slices(name, node.pods[1:2])
    node.stop_agent(signal.SIGKILL)
    time.sleep(0.5)
    node.start_agent()
    import json
    for load in held:
        result = json.loads(load.communicate(timeout=30)[0])
        assert result["failed"] == 0 and set(result["servers"]) == {"a"}, result
    for family in FAMILIES:
        wait_for_servers(one_node, addresses[family], {"b"}, hooked)


def test_traffic_goes_on_after_sigterm_and_without_an_api_server(one_node, service):
    _, addresses = service
    node = one_node.node
    one_node.stop_control(signal.SIGKILL)
    try:
        wait_for_servers(one_node, addresses[4], {"a"})
        assert node.stop_agent(signal.SIGTERM) == 0
        for hooked in (True, False):
            wait_for_servers(one_node, addresses[6], {"a"}, hooked)
    finally:
        one_node.start_control(register=False)
        node.start_agent()
    wait_for_servers(one_node, addresses[4], {"a"})


def test_unready_endpoints_get_nothing_and_terminating_ones_serve_when_alone(one_node, service):
    name, addresses = service
    a, b = one_node.node.pods[:2]

    def put(conditions_a, conditions_b):
        for family in FAMILIES:
            one_node.put_slice(name, family, [
                {"addresses": [pod.address(family)], "conditions": conditions}
                for pod, conditions in ((a, conditions_a), (b, conditions_b))])

    put({"ready": False, "serving": False}, {"ready": True})
    wait_for_servers(one_node, addresses[4], {"b"})
    put({"ready": False, "serving": True, "terminating": True}, {"ready": True})
    wait_for_servers(one_node, addresses[4], {"b"})
    put({"ready": False, "serving": True, "terminating": True}, {"ready": False, "serving": False})
    wait_for_servers(one_node, addresses[6], {"a"})


def test_unconnected_udp_socket_leaves_a_removed_endpoint(one_node, service):
    """kubernetes 126468: a long-lived UDP socket must not stick to a backend that no longer serves."""
    import json
    name, addresses = service
    node = one_node.node
    for hooked in (True, False):
        one_node.slices(name, node.pods[:1])
        wait_for_servers(one_node, addresses[4], {"a"}, hooked)
        load = node.load_process(addresses[4], 80, "--udp", "--unconnected", where=node.pods[2],
                                 hooked=hooked, seconds=3, pause_us=1000)
        time.sleep(1)
        one_node.slices(name, node.pods[1:2])
        result = json.loads(load.communicate(timeout=30)[0])
        assert result["failed"] == 0 and result["wrong_peer"] == 0, result
        assert set(result["servers"]) == {"a", "b"}, result
        assert result["servers"]["b"] > 200, result
