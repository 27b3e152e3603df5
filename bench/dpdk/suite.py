"""The dpdk suite: what a packet costs in the DPDK engine, beside our XDP program and beside a mere swap of MACs.

dpdk_bench measures engine and control in turn in one process; packet_bench's XDP figures are of the same run of this
suite. The engine's figure has the control's stamping and ports in it, so the difference to the control is the engine.
"""

import json
import os
import subprocess

from rows import Row, median_spread

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
# Cases of dpdk_bench and those of packet_bench that they stand beside.
XDP = {f"NAT established, {flows} flows, 1 service, {family}": f"NAT established, {name}, {family}"
       for family in ("IPv4", "IPv6") for flows, name in ((1, "1 flow"), (65536, "64k flows"))}
GOAL = "NAT established, 1 flows, 1 service, IPv4"
LEAST_MPPS = 20


def program(name):
    path = os.path.join(BUILD, "test-bin", name)
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"{path} is not built: ninja -C {BUILD} {name}")
    return path


def measured(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{os.path.basename(command[0])} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)["cases"]


def rows_of(engine, xdp):
    rows = []
    for name, samples in engine.items():
        median, spread = median_spread(samples["engine"])
        control = median_spread(samples["control"])[0]
        rows.append(Row(name, "ns", median, control, "MACs swapped, same ports and stamps", spread=spread))
        if name in XDP and XDP[name] in xdp:
            rows.append(Row(f"{name}, beside XDP", "ns", median, median_spread(xdp[XDP[name]])[0],
                            "our XDP program in this run", goal="ratio <= 0.5", spread=spread))
        if name == GOAL:
            mpps = 1000 / median
            rows.append(Row(f"{name}, rate of a core", "Mpps", mpps, 1000 / control, "MACs swapped",
                            goal=f"ours >= {LEAST_MPPS}", met=mpps >= LEAST_MPPS))
    return rows


def run(log, quick=False):
    """The suite's rows; quick: fewer rounds, no million flows, one service."""
    log("packets through lcores, by net_null")
    engine = measured([program("dpdk_bench"), *(["3", "--quick"] if quick else ["9"])])
    log("packets through XDP, by test runs")
    xdp = measured([program("packet_bench"), *(["2", "--quick"] if quick else ["5"])])
    return rows_of(engine, xdp)
