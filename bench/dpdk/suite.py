"""The dpdk suite: what a packet costs in the DPDK engine, beside our XDP program and beside a mere swap of MACs.

Three programs measure the engine, each with its control in turn in one process, by their threads' processor time:
dpdk_bench whole lcores on net_null, stamps and ports included in both; pipeline_bench the pipeline alone, frames in
memory, for every kind of forwarding; lcores_bench what a second lcore adds and what publishing takes away. packet_bench
measures the XDP program in the same run of the suite.

Frames lie in hugepages, as they should wherever packets count: what is missing of them is reserved for the run.
"""

import contextlib
import json
import os
import subprocess
import tempfile

from rows import Row, median_spread

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
GOAL = "NAT established, 1 flows, 1 service, IPv4"
LEAST_MPPS = 20
PROGRAM_S = 300  # that a program may take
HUGEPAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB"
HUGEPAGES_WANTED = 144  # 256 MiB for EAL, and some that it asks for to look at them
# Of the pipeline's figures, those that packet_bench has of XDP: the same translation of the same kind of packet.
XDP = {f"{age} {mode} {version} flows {flows} services 1": f"{name}{of}, {family}"
       for mode, name in (("snat", "NAT"), ("tunnel", "tunnel"))
       for version, family in (("v4", "IPv4"), ("v6", "IPv6"))
       for age, flows, of in (("established", 1, " established, 1 flow"),
                              ("established", 65536, " established, 64k flows"),
                              ("established", 1048576, " established, 1M flows"),
                              ("new", 0, " new flow"))}
# Services in the image, of which packets are for few; the XDP program's figures stand beside the pipeline's.
MANY_SERVICES = (10_000, 50_000)
XDP |= {f"{age} snat {version} flows {flows} services {services}": f"NAT{of}, {family}, {services} services"
        for services in MANY_SERVICES
        for version, family in (("v4", "IPv4"), ("v6", "IPv6"))
        for age, flows, of in (("established", 65536, " established, 64k flows"), ("new", 0, " new flow"))}
# A rate with a thousand publishes a second must be at least this much of the rate without.
LEAST_OF_RATE = 0.97


def program(name):
    path = os.path.join(BUILD, "test-bin", name)
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"{path} is not built: ninja -C {BUILD} {name}")
    return path


def output(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROGRAM_S)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{os.path.basename(command[0])} took longer than {PROGRAM_S} s") from None
    if done.returncode != 0:
        raise RuntimeError(f"{os.path.basename(command[0])} failed: {done.stderr.strip()}")
    return done.stdout


def measured(name, *arguments):
    return json.loads(output([program(name), *arguments]))


def pipeline(*arguments):
    with tempfile.NamedTemporaryFile(mode="r", suffix=".json") as out:
        output([program("pipeline_bench"), "--json", out.name, *arguments])
        return json.load(out)


@contextlib.contextmanager
def hugepages():
    """Reserves what is missing meanwhile. Best effort: without them the programs take ordinary pages, and say so."""
    def figure(name):
        with open(os.path.join(HUGEPAGES, name)) as source:
            return int(source.read())

    def reserve(count):
        with open(os.path.join(HUGEPAGES, "nr_hugepages"), "w") as out:
            out.write(str(count))

    try:
        before, free = figure("nr_hugepages"), figure("free_hugepages")
        if free < HUGEPAGES_WANTED:
            reserve(before + HUGEPAGES_WANTED - free)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        if free < HUGEPAGES_WANTED:
            reserve(before)


def engine_rows(engine):
    rows = []
    for name, samples in engine.items():
        median, spread = median_spread(samples["engine"])
        control = median_spread(samples["control"])[0]
        rows.append(Row(f"lcore: {name}", "ns", median, control, "MACs swapped, same ports and stamps", spread=spread))
        mpps = 1000 / median
        goal = f"ours >= {LEAST_MPPS}" if name == GOAL else ""
        rows.append(Row(f"lcore: {name}, rate", "Mpps", mpps, 1000 / control, "MACs swapped, same ports and stamps",
                        goal=goal, met=mpps >= LEAST_MPPS if goal else None))
    return rows


def pipeline_rows(figures, xdp):
    rows = []
    for figure in figures:
        spread = f"{figure['min']:.3g}..{figure['max']:.3g}"
        rows.append(Row(f"pipeline: {figure['name']}", "ns", figure["median"], figure["control"],
                        "MACs swapped, same frames", spread=spread))
        beside = xdp.get(XDP.get(figure["name"]))
        if beside:
            theirs, their_spread = median_spread(beside)
            rows.append(Row(f"pipeline: {figure['name']}", "ns", figure["median"], theirs,
                            f"our XDP program in this run, {their_spread}", goal="ratio <= 0.5", spread=spread))
    return rows


def lcore_rows(lcores):
    rates = {name: median_spread(samples) for name, samples in lcores["rates"].items()}
    rows = []
    for kind in ("1 lcore", "2 lcores, spread by the port", "2 lcores, spread by lcores"):
        median, spread = rates[f"engine, {kind}"]
        rows.append(Row(f"scaling: {kind}", "Mpps", median, rates[f"control, {kind}"][0], "MACs swapped",
                        spread=spread))
        if kind != "1 lcore":
            rows.append(Row(f"scaling: {kind} to 1", "x", median / rates["engine, 1 lcore"][0],
                            rates[f"control, {kind}"][0] / rates["control, 1 lcore"][0], "MACs swapped"))
    every = median_spread(lcores["publishes"])[0]
    median, spread = rates["publishes"]
    rows.append(Row(f"1 lcore, {every:.0f} publishes a second", "Mpps", median, rates["no publishes"][0],
                    "no publishes, in turn", spread=spread))
    # Each window beside the one before it, for the machine's speed changes by more within seconds.
    paired, spread = median_spread([some / none for some, none in zip(lcores["rates"]["publishes"],
                                                                     lcores["rates"]["no publishes"])])
    rows.append(Row(f"1 lcore, {every:.0f} publishes a second, beside the window before", "x", paired,
                    goal=f"ours >= {LEAST_OF_RATE}", met=paired >= LEAST_OF_RATE, spread=spread))
    for name, count in (("mis-steered", lcores["wrong"]), ("lost", lcores["lost"])):
        rows.append(Row(f"1 lcore, {every:.0f} publishes a second, {name}", "packets", count, goal="ours <= 0"))
    return rows


def xdp_cases(rounds, *arguments):
    """Of packet_bench's cases those that stand beside the pipeline's; the others are the ebpf suite's."""
    cases = {}
    for kind in ("NAT", "tunnel"):
        cases |= measured("packet_bench", rounds, "--only", kind, *arguments)["cases"]
    if "--quick" not in arguments:
        for services in MANY_SERVICES:
            some = measured("packet_bench", rounds, "--quick", "--only", "NAT", "--services", str(services))["cases"]
            cases |= {f"{name}, {services} services": samples for name, samples in some.items()}
    return cases


def run(log, quick=False):
    """The suite's rows; quick: fewer rounds, no million flows, one service. A part that fails costs its rows alone."""
    with hugepages():
        return rows_of(log, quick)


def rows_of(log, quick):
    rows = []

    def part(text, measure):
        log(text)
        try:
            return measure()
        except RuntimeError as error:
            log(str(error))
            rows.append(Row(f"{text}: not measured: {error}", "", 0, goal="ours >= 1", met=False))
            return None

    engine = part("packets through lcores, by net_null",
                  lambda: measured("dpdk_bench", *(["3", "--quick"] if quick else ["15"])))
    lcores = part("a second lcore, and publishes", lambda: measured("lcores_bench", "3" if quick else "21"))
    xdp = part("packets through XDP, by test runs", lambda: xdp_cases(*(["2", "--quick"] if quick else ["5"])))
    figures = part("packets through the pipeline, in memory",
                   lambda: pipeline(*(["--runs", "3", "--packets", "262144", "--quick"] if quick
                                      else ["--runs", "5", "--packets", "524288"])))
    if engine:
        log(f"lcores' frames lay in {engine['memory']}")
        rows += engine_rows(engine["cases"])
    if figures:
        rows += pipeline_rows(figures, xdp or {})
    if lcores:
        rows += lcore_rows(lcores)
    log("done")
    return rows
