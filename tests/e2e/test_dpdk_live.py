"""Publishing while forwarding: a service's backends change a thousand times a second under connections.

Figures go to the report of `pytest -rP`; docs/bench/dpdk-live.md has some.
"""

import copy
import json
import os
import subprocess

import pytest

from harness import cluster as harness
from harness import dpdk_ground
from harness.dpdk_ground import NODE, NODE_PORT, POD, PUBLISH

PUBLISHES, PER_SECOND = 6000, 1000
BOTH_PORT = 30082
BOTH_IP = {4: "10.96.0.12", 6: "fd00:10:96::12"}


def services():
    """What the ground has, and a service of both backends, of which the near one comes and goes."""
    what = copy.deepcopy(dpdk_ground.services())
    for far in [s for s in what["services"] if s["name"] == "default/far"]:
        family = 6 if ":" in far["cluster_ip"] else 4
        both = {"name": "default/both", "protocol": far["protocol"], "port": 80, "cluster_ip": BOTH_IP[family],
                "node_port": BOTH_PORT,
                "backends": far["backends"] + [{"address": POD[family], "port": 8080, "local": True}]}
        what["services"].append(both)
    return what


@pytest.fixture(scope="module")
def ground():
    made = dpdk_ground.Ground(flows=262144)
    try:
        made.start()
        made.address_tap()
        yield made
    finally:
        made.close()


def test_a_thousand_publishes_a_second_lose_and_mislead_nothing(ground):
    path = os.path.join(ground.directory, "services.json")
    with open(path, "w") as out:
        json.dump(services(), out)
    publisher = ground.node.popen([PUBLISH, ground.socket, ground.state, path, "default/both", PUBLISHES, PER_SECOND],
                                  stdout=subprocess.PIPE, text=True)
    assert publisher.stdout.readline().strip() == "publishing"
    held = ground.outside.popen([harness.TESTPEER, "flows", NODE[4], BOTH_PORT, "--count", 50, "--seconds", 5,
                                 "--timeout-ms", 8000, "--pause-us", 2000], stdout=subprocess.PIPE, text=True)
    loads = []
    for port, servers in ((NODE_PORT, {"far"}), (BOTH_PORT, {"far", "near"})):
        for family in (4, 6):
            for flags in ([], ["--udp"]):
                argv = [harness.TESTPEER, "load", NODE[family], port, "--seconds", 5, "--pause-us", 2000,
                        "--timeout-ms", 3000, *flags]
                loads.append((servers, ground.outside.popen(argv, stdout=subprocess.PIPE, text=True)))
    asked = 0
    results = [(servers, json.loads(load.communicate(timeout=60)[0])) for servers, load in loads]
    drops = [drop for drop in json.loads(ground.sluice("drops", "-o", "json").stdout) if drop["count"]]
    for servers, result in results:
        assert result["failed"] == 0 and result["wrong_peer"] == 0, (result, drops)
        assert set(result["servers"]) == servers, result
        asked += result["ok"]
    flows = json.loads(held.communicate(timeout=60)[0].split("\n", 1)[1])
    assert flows["lost"] == 0 and flows["flows"] == 50, flows
    published = json.loads(publisher.communicate(timeout=60)[0])
    print({**published, "connections_and_datagrams": asked, "held": flows})
    assert published["publishes"] == PUBLISHES
