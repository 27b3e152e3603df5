"""The checks see what they are for: histories that are wrong in one thing each."""

import collections
import os
import sys
import types

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from faults.history import Op, Seen, Verdict  # noqa: E402


def judged(ops, events=None, final=None, second=None):
    if events is None:
        events = [Seen("ADDED" if op.verb == "create" else "MODIFIED", op.key, op.revision, op.value)
                  for op in sorted(ops, key=lambda op: op.revision or 0) if op.outcome == "ok" and op.verb != "read"]
    watchers = [types.SimpleNamespace(faults=[], events=list(seen), resumes=1)
                for seen in (events, events if second is None else second)]
    if final is None:
        final = {}
        for event in events:
            final[event.key] = (event.revision, event.value)
        final.setdefault("k", (2, "begin"))
    load = types.SimpleNamespace(ops=ops, watchers=watchers, refusals=collections.Counter(),
                                 first={"k": (2, "begin")})
    return Verdict(load, final, 100).faults


def op(began, ended, verb, value, expected, outcome, revision, seen, key="k"):
    return Op(began, ended, verb, key, value, expected, outcome, revision, seen)


A = op(0, 1, "swap", "a", 2, "ok", 3, "a")
B = op(2, 3, "swap", "b", 3, "ok", 4, "b")


def test_a_right_history_is_right():
    assert judged([A, B, op(4, 5, "read", None, None, "ok", 4, "b"), op(4, 5, "swap", "c", 3, "conflict", None, None),
                   op(0.5, 4.5, "read", None, None, "ok", 3, "a")]) == []


@pytest.mark.parametrize("ops, arguments, words", [
    ([A, B, op(4, 5, "read", None, None, "ok", 3, "a")], {}, "gave revision 3 after 4"),
    ([A, op(2, 3, "swap", "b", 2, "ok", 4, "b")], {}, "between them"),
    ([A, B], {"final": {"k": (3, "a")}}, "ends as"),
    ([A, op(2, 3, "swap", "b", 3, "ok", 3, "b")], {}, "revision 3 is"),
    ([A, B], {"events": [Seen("MODIFIED", "k", 4, "b")], "final": {"k": (4, "b")}}, "has not seen revision 3"),
    ([A], {"events": [Seen("MODIFIED", "k", 3, "a")] * 2}, "repeated"),
    ([A], {"second": [Seen("MODIFIED", "k", 3, "a"), Seen("MODIFIED", "k", 5, "x")]}, "not seen the same"),
    ([A, op(2, 3, "swap", "x", 3, "conflict", None, None)], {}, "nothing came after"),
    ([op(0, 1, "swap", "a", 2, "conflict", None, None), op(0, 1, "swap", "z", 2, "ok", 4, "z")],
     {"events": [Seen("MODIFIED", "k", 3, "a"), Seen("MODIFIED", "k", 4, "z")], "final": {"k": (4, "z")}},
     "was refused and is there"),
])
def test_what_is_wrong_is_seen(ops, arguments, words):
    assert any(words in fault for fault in judged(ops, **arguments)), judged(ops, **arguments)
