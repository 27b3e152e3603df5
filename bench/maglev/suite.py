"""The maglev suite: what a ring of a consistent hash costs to build, and how good it is.

image_maglev_bench builds rings of several sizes, and in the same run, in turn with them, the paper's loop as it is
written there (NSDI'16, section 3.4): that is the control, which moves with the machine as ours does. Katran's figures
and the paper's are of other runs; Katran's were measured on such a machine, the paper's on its authors'.
"""

import json
import os
import subprocess

from rows import Row, median_spread

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))

# (backends, places): microseconds.
KATRAN = {(1000, 65537): 1720, (1000, 655373): 22600}
PAPER = {(1000, 65537): 1800, (1000, 655373): 22900}
# At 1,000 backends and 65,537 places, in Katran's: percent of the other places that move when one of 1,000 leaves, and
# the fullest backend beside the mean.
KATRAN_MOVED, KATRAN_FULLEST = 0.55, 1.007

KINDS = {"BM_Ring": "", "BM_PlainRing": ", without AVX-512", "BM_WeightedRing": ", weights 1 to 10", "BM_WideRing": ""}


def measure(repetitions):
    program = os.path.join(BUILD, "test-bin", "image_maglev_bench")
    if not os.access(program, os.X_OK):
        raise RuntimeError(f"{program} is not built: ninja -C {BUILD} image_maglev_bench")
    done = subprocess.run([program, "--benchmark_format=json", f"--benchmark_repetitions={repetitions}",
                           "--benchmark_min_time=0.05", "--benchmark_enable_random_interleaving=true"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"image_maglev_bench failed: {done.stderr.strip()}")
    return json.loads(done.stdout)["benchmarks"]


def grouped(measured):
    """{(kind, backends, places): [repetitions]}, in the order of the program."""
    out = {}
    for one in measured:
        if one["run_type"] == "iteration":
            kind, backends, places = one["run_name"].split("/")[:3]
            out.setdefault((kind, int(backends), int(places)), []).append(one)
    return out


def rows_of(measured):
    runs = grouped(measured)
    # Of the processor, not of the clock: others may be using it.
    time = {key: median_spread([one["cpu_time"] for one in ones]) for key, ones in runs.items()}
    rows = []
    for (kind, backends, places), ones in sorted(runs.items(), key=lambda item: (item[0][0], item[0][1:])):
        if kind not in KINDS:
            continue
        size = (backends, places)
        name = f"{backends:,} backends, {places:,} places{KINDS[kind]}"
        median, spread = time[(kind, *size)]
        if kind == "BM_Ring" and size in KATRAN:
            rows.append(Row(f"build, {name}", "us", median, KATRAN[size], "Katran's builder, of another run",
                            goal="ratio <= 0.333", spread=spread))
            rows.append(Row(f"build, {name}", "us", median, PAPER[size], "the paper's own figure", spread=spread))
            theirs, their_spread = time[("BM_PaperRing", *size)]
            rows.append(Row(f"build, {name}", "us", median, theirs,
                            f"the paper's loop in the same run, {their_spread}", spread=spread))
        else:
            rows.append(Row(f"build, {name}", "us", median, spread=spread))
        compared = kind == "BM_Ring" and size == (1000, 65537)
        rows.append(Row(f"moved when one leaves, {name}", "% of the others' places", ones[0]["moved_percent"],
                        KATRAN_MOVED if compared else None, "Katran" if compared else "",
                        goal="ratio <= 1" if compared else ""))
        rows.append(Row(f"fullest, {name}", "x its fair share", ones[0]["max_to_fair"],
                        KATRAN_FULLEST if compared else None, "Katran" if compared else "",
                        goal="ratio <= 1.0005" if compared else ""))
    return rows


def run(log, quick=False):
    """The suite's rows; quick: fewer repetitions."""
    log("rings of a consistent hash")
    return rows_of(measure(3 if quick else 15))
