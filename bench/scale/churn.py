"""Ten minutes of changes under traffic: whether anything fails, and whether memory stays flat."""

import itertools
import json
import time

from harness.cluster import ended_with_backend
from scale.node import TCP_UDP, ScaleNode, filler_endpoints

ADDRESS = "10.96.255.1"


def run(log, services, seconds, rate):
    """A report in Markdown, and whether all went well."""
    scale = ScaleNode(log)
    try:
        return _run(scale, log, services, seconds, rate)
    finally:
        scale.close()


def _run(scale, log, services, seconds, rate):
    scale.service("load", ADDRESS, [scale.a, scale.b])
    scale.fill(services, 2, TCP_UDP)
    scale.node.start_agent()
    # Not the hooked client: its connections go straight to the pods, and no flow table knows of them, so a translated
    # connection of the same address might take one's source port (docs/semantics.md).
    clients = {True: scale.client, False: scale.node.pod("unhooked")}
    loads = {f"{'hook' if hooked else 'tc'}, {'UDP' if mode else 'TCP'}": scale.node.load_process(
                 ADDRESS, 80, *mode, where=clients[hooked], hooked=hooked, seconds=seconds, timeout_ms=3000,
                 pause_us=1000)
             for hooked in (True, False) for mode in ((), ("--udp",))}
    samples, changes = [], 0
    choices = itertools.cycle(([scale.a], [scale.a, scale.b], [scale.b]))
    began = time.monotonic()
    next_sample = 0
    while time.monotonic() - began < seconds - 2:
        # One in four is of the Service under load, the others go round the fillers: endpoints come and go.
        if changes % 4 == 0:
            scale.endpoints("load", next(choices))
        else:
            i = changes * 7919 % services
            count = (0, 1, 2, 3)[changes // 4 % 4]
            scale.put_addresses(f"filler{i}", filler_endpoints(i, 2)[:count] or [])
        changes += 1
        now = time.monotonic() - began
        if now >= next_sample:
            samples.append((now, scale.resident_megabytes(), scale.kernel_megabytes()))
            log(f"{changes} changes; agent {samples[-1][1]:.1f} MB, tables {samples[-1][2]:.1f} MB")
            next_sample += max(10, seconds / 20)
        time.sleep(max(0, began + changes / rate - time.monotonic()))
    results = {name: json.loads(load.communicate(timeout=120)[0]) for name, load in loads.items()}
    # Not a failure, but of the hook alone (docs/semantics.md).
    ended = {name: ended_with_backend(r) if name == "hook, UDP" else 0 for name, r in results.items()}
    failed = sum(r["failed"] + r["wrong_peer"] - ended[name] for name, r in results.items())
    # The first sample is of a start just over; memory is to be flat from then on, but for what allocators keep.
    growth = samples[-1][1] - samples[len(samples) // 4][1]
    lines = [f"{changes} endpoint changes in {seconds} s at {services} Services, {rate} a second.", "",
             "| traffic | connections or datagrams | failed | ended with their backend | wrong peer "
             "| p50 us | p99 us |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {name} | {r['ok']} | {r['failed'] - ended[name]} | {ended[name]} | {r['wrong_peer']} | "
              f"{r['p50_us']:.0f} | {r['p99_us']:.0f} |"
              for name, r in results.items()]
    errors = {name: r["errors"] for name, r in results.items() if r["errors"]}
    lines += ["", f"Errors: {errors}."] if errors else []
    lines += ["", "| at s | agent resident MB | tables MB |", "|---|---|---|"]
    lines += [f"| {at:.0f} | {resident:.1f} | {kernel:.1f} |" for at, resident, kernel in samples]
    lines += ["", f"Failures: {failed}. The agent's memory changed by {growth:+.1f} MB from a quarter of the run "
              "to its end."]
    return "\n".join(lines), failed == 0 and sum(ended.values()) <= changes / 4 + 1 and growth < 5
