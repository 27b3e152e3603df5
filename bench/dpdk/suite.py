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
        mpps, mpps_spread = median_spread([1000 / ns for ns in samples["engine"]])
        goal = f"ours >= {LEAST_MPPS}" if name == GOAL else ""
        rows.append(Row(f"lcore: {name}, rate", "Mpps", mpps, 1000 / control, "MACs swapped, same ports and stamps",
                        goal=goal, met=mpps >= LEAST_MPPS if goal else None, spread=mpps_spread))
    return rows


def pipeline_rows(figures, xdp):
    rows = []
    for name, samples in figures.items():
        median, spread = median_spread([one["median"] for one in samples])
        control = median_spread([one["control"] for one in samples])[0]
        rows.append(Row(f"pipeline: {name}", "ns", median, control, "MACs swapped, same frames", spread=spread))
        beside = xdp.get(XDP.get(name))
        if beside:
            theirs, their_spread = median_spread(beside)
            rows.append(Row(f"pipeline: {name}", "ns", median, theirs, f"our XDP program, in turn, {their_spread}",
                            goal="ratio <= 0.5", spread=spread))
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


def both_in_turn(quick):
    """The pipeline's figures, and of packet_bench's cases those that stand beside them, kind by kind in each round."""
    figures, xdp = {}, {}
    few = ["--quick"] if quick else []
    packets = "262144" if quick else "524288"
    for _ in range(2 if quick else 7):
        for kind, theirs in (("snat", "NAT"), ("tunnel", "tunnel"), (" nat", None)):
            if theirs:
                cases = measured("packet_bench", "1", "--only", theirs, *few)["cases"]
                for services in () if quick or kind != "snat" else MANY_SERVICES:
                    some = measured("packet_bench", "1", "--quick", "--only", theirs, "--services", str(services))
                    cases |= {f"{name}, {services} services": samples for name, samples in some["cases"].items()}
                for name, samples in cases.items():
                    xdp.setdefault(name, []).extend(samples)
            for figure in pipeline("--runs", "1", "--packets", packets, "--only", kind, *few):
                figures.setdefault(figure["name"], []).append(figure)
    return figures, xdp


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
                  lambda: measured("dpdk_bench", *(["3", "--quick"] if quick else ["25"])))
    lcores = part("a second lcore, and publishes", lambda: measured("lcores_bench", "3" if quick else "61"))
    both = part("packets through the pipeline, in memory, and through XDP, by test runs", lambda: both_in_turn(quick))
    if engine:
        log(f"lcores' frames lay in {engine['memory']}")
        rows += engine_rows(engine["cases"])
    if both:
        rows += pipeline_rows(*both)
    if lcores:
        rows += lcore_rows(lcores)
    log("done")
    return rows
