"""The ebpf suite: what a packet costs in XDP, beside Katran and Cilium.

With --katran, Katran's own object is measured in the same run, each of its samples right after ours, and the ratio is
that of the medians. Else, and for Cilium, the peers' figures are those measured once with the same method
(BPF_PROG_TEST_RUN with repeat, the wrapper's cost subtracted), which the goals are about. Absolute figures drift with
the machine, so each is also shown scaled by how this run's kernel operations compare with those measured beside the
peers: the geometric mean of array, hash and LRU look-ups, LRU insert and clock. That moves by a factor of two from run
to run.
"""

import json
import math
import os
import subprocess

from rows import Row, median_spread

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))

# ns, as measured beside the peers.
PRIMITIVES = {"array look-up": 0.9, "hash hot": 34, "LRU hot": 40, "LRU insert": 500, "ktime": 31}

# case: (figure of the peer in ns, the peer, the goal's ratio). Where the peer's were a range, its middle.
PEERS = {
    "not a service, IPv4": (59, "Katran", 0.5),
    "not a service, IPv6": (59, "Katran", 0.5),
    "tunnel established, 1 flow, IPv4": (120, "Katran", 0.5),
    "tunnel established, 64k flows, IPv4": (260, "Katran", 0.5),
    "tunnel established, 1M flows, IPv4": (348, "Katran", None),
    "tunnel established, 1 flow, IPv6": (122, "Katran", 0.5),
    "tunnel established, 64k flows, IPv6": (262, "Katran", 0.5),
    "tunnel established, 1M flows, IPv6": (338, "Katran", None),
    "tunnel new flow, IPv4": (646, "Katran", 0.25),
    "tunnel new flow, IPv6": (665, "Katran", 0.25),
    "NAT established, 1 flow, IPv4": (566, "Cilium", 0.4),
    "NAT established, 4k flows, IPv4": (580, "Cilium", 0.4),
    "NAT established, 64k flows, IPv4": (970, "Cilium", 0.4),
    "NAT established, 1 flow, IPv6": (566, "Cilium", 0.4),
    "NAT established, 4k flows, IPv6": (580, "Cilium", 0.4),
    "NAT established, 64k flows, IPv6": (970, "Cilium", 0.4),
    "NAT new flow, IPv4": (3285, "Cilium", 0.2),
    "NAT new flow, IPv6": (3285, "Cilium", 0.2),
}


# ns that Cilium's connect hook costs over an empty one: 5.88 us beside 5.49.
CILIUM_HOOK = 390


def machine_factor(primitives):
    """How this machine, now, compares with the one the peers were measured on: below 1 it is faster."""
    logs = [math.log(max(median_spread(samples)[0], 0.1) / PRIMITIVES[name])
            for name, samples in primitives.items() if name in PRIMITIVES]
    return math.exp(sum(logs) / len(logs))


def beside_figure(name, median, spread, figure, peer, factor, goal):
    """Two rows: beside the peer's figure as it was measured, which the goal is about, and scaled to this machine."""
    return [Row(name, "ns", median, figure, f"{peer}, as measured then", goal=goal, spread=spread),
            Row(f"{name}, scaled", "ns", median, figure * factor, f"{peer} ({figure} ns) scaled by {factor:.2f}",
                spread=spread)]


def rows_of(measured):
    factor = machine_factor(measured["primitives"])
    rows = []
    for name, samples in measured["primitives"].items():
        median, spread = median_spread(samples)
        rows.append(Row(f"kernel: {name}", "ns", median, PRIMITIVES.get(name),
                        "beside the peers" if name in PRIMITIVES else "", spread=spread))
    for name, samples in sorted(measured["cases"].items()):
        median, spread = median_spread(samples)
        figure, peer, goal = PEERS[name]
        goal = f"ratio <= {goal}" if goal else ""
        beside = measured["peer"].get(name)
        if beside:
            theirs, their_spread = median_spread(beside)
            rows.append(Row(name, "ns", median, theirs, f"{peer} in the same run, {their_spread}", goal=goal,
                            spread=spread))
            continue
        rows += beside_figure(name, median, spread, figure, peer, factor, goal)
    return rows


def hook_rows(connects, factor):
    """What the socket hook adds to a connect(): each round beside an empty hook of the same round.

    connects: {number of services: {"none" | "empty" | "service" | "pod": [us of each round]}}.
    """
    rows = []
    for services, kinds in connects.items():
        for kind, what in (("service", "to a Service"), ("pod", "to a pod")):
            over = [1000 * (with_hook - empty) for with_hook, empty in zip(kinds[kind], kinds["empty"])]
            median, spread = median_spread(over)
            name = f"socket hook over an empty one, connect {what}, {services} services"
            rows += beside_figure(name, median, spread, CILIUM_HOOK, "Cilium", factor, "ratio <= 0.5")
    return rows


def measure(name, arguments):
    program = os.path.join(BUILD, "test-bin", name)
    if not os.access(program, os.X_OK):
        raise RuntimeError(f"{program} is not built: ninja -C {BUILD} {name}")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run(log, quick=False, katran=None):
    """The suite's rows; quick: fewer rounds, no million flows; katran: a compiled balancer to measure beside ours."""
    peer = ["--katran", katran] if katran else []
    log("packets through XDP, by test runs")
    measured = measure("packet_bench", ["5" if quick else "21", "--quick", *peer])
    if not quick:
        log("a million flows, in tables four times the default size")
        more = measure("packet_bench", ["9", "--only", "1M flows", *peer])
        measured["cases"].update(more["cases"])
        measured["peer"].update(more["peer"])
    log("connects through the socket hook")
    connects = measure("ebpf_engine_bench", ["--connects", "3" if quick else "11"])
    return rows_of(measured) + hook_rows(connects, machine_factor(measured["primitives"]))
