"""Rows of a benchmark: one figure each, beside the peer's of the same run."""

import json
import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    name: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    ratio: float | None = field(default=None)  # ours / peer
    goal: str = ""        # "ratio <= 1.05"
    met: bool | None = None
    spread: str = ""      # of ours, over the repetitions: "min..max"

    def __post_init__(self):
        if self.ratio is None and self.peer:
            self.ratio = self.ours / self.peer
        if self.met is None and self.goal:
            subject, operator, limit = self.goal.split()[:3]
            value = self.ratio if subject == "ratio" else self.ours
            self.met = value >= float(limit) if operator == ">=" else value <= float(limit)


def median_spread(samples):
    """(median, "min..max")"""
    return statistics.median(samples), f"{_number(min(samples))}..{_number(max(samples))}"


def _number(value):
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


HEAD = ("name", "unit", "ours", "spread", "peer", "what the peer is", "ratio", "goal", "met")


def _cells(row):
    met = {None: "", True: "yes", False: "NO"}[row.met]
    return (row.name, row.unit, _number(row.ours), row.spread, _number(row.peer), row.peer_name,
            _number(row.ratio), row.goal, met)


def text_table(rows):
    table = [HEAD] + [_cells(row) for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in table)


def markdown_table(rows):
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join(lines + ["| " + " | ".join(_cells(row)) + " |" for row in rows])


def write_json(rows, path):
    with open(path, "w") as out:
        json.dump([asdict(row) for row in rows], out, indent=1)
        out.write("\n")


def read_json(path):
    with open(path) as source:
        return [Row(**row) for row in json.load(source)]
