"""A load of reads, compare-and-swaps and creations that records what it was told, watchers that record what they saw,
and the checks that hold both against each other.

Every version of an object has a revision of its own, so that linearizability of a key can be checked completely: the
versions are ordered by revision, each operation names one of them, and an operation that began after another had ended
must not name an older one (a newer one, if it is a write).
"""

import collections
import http.client
import itertools
import json
import os
import random
import socket
import threading
import time

from harness.api import ApiClient

NAMESPACE = "faults"
PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
SHARED = 6  # keys that clients fight for
TIMEOUT_S = 20

_loads = itertools.count(1)

Op = collections.namedtuple("Op", "began ended verb key value expected outcome revision seen")
Seen = collections.namedtuple("Seen", "kind key revision value")


class Client(ApiClient):
    def once(self, method, path, body=None):
        """(status, object); never sent twice. OSError and HTTPException: nobody knows."""
        try:
            if self._connection is None:
                self.connect()
                self._connection.sock.settimeout(TIMEOUT_S)
            self._connection.request(method, path, body=json.dumps(body) if body else None,
                                     headers={"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            raise


def config_map(name, value, revision=None):
    meta = {"name": name, "namespace": NAMESPACE}
    if revision:
        meta["resourceVersion"] = str(revision)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}}


def revision_of(thing):
    return int(thing["metadata"]["resourceVersion"])


class Load:
    """`servers`: of each, its kubeconfig and the namespace its clients are in (None: here)."""

    def __init__(self, servers, clients=6, pause_s=0.0, seed=None):
        self.ops, self.watchers, self.refusals = [], [], collections.Counter()
        # Names and values of no other load on the same servers.
        self._mark = f"{os.getpid()}-{next(_loads)}"
        self._servers, self._pause, self._stop = servers, pause_s, threading.Event()
        self._random = random.Random(seed)
        made = Client(*servers[0])
        try:
            made.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        except Exception as error:  # it may be there from a run before
            if getattr(error, "code", 0) != 409:
                raise
        for i in range(SHARED):
            code, thing = made.once("POST", PATH, config_map(f"shared-{i}", "begin"))
            assert code in (201, 409), thing
        self.start_revision = revision_of(made.get(PATH))
        self.first = {item["metadata"]["name"]: (revision_of(item), item["data"]["v"])
                      for item in made.get(PATH)["items"]}
        self._threads = [threading.Thread(target=self._client, args=(i, Client(*servers[i % len(servers)])))
                         for i in range(clients)]
        for server in servers:
            watcher = Watcher(Client(*server), self.start_revision, self._stop)
            self.watchers.append(watcher)
            self._threads.append(watcher.thread)
        for thread in self._threads:
            thread.start()

    def acknowledged(self):
        return sum(1 for op in list(self.ops) if op.outcome == "ok" and op.verb != "read")

    def wait_for_writes(self, count=20, seconds=60):
        """Until `count` more writes are acknowledged that began after this call; how long it took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            done = sum(1 for op in self.ops[-2000:] if op.outcome == "ok" and op.verb != "read" and op.began > began)
            if done >= count:
                return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"fewer than {count} writes were acknowledged within {seconds} s: {dict(self.refusals)}")

    def abort(self):
        self._stop.set()
        for watcher in self.watchers:
            watcher.until = 0
        for thread in self._threads:
            thread.join(60)

    def finish(self):
        self._stop.set()
        for thread in self._threads[:-len(self.watchers)]:
            thread.join()
        final = Client(*self._servers[0]).get(PATH)
        end = revision_of(final)
        for watcher in self.watchers:
            watcher.until = end
            watcher.thread.join(60)
            if watcher.thread.is_alive():
                watcher.faults.append(f"the watch did not reach revision {end}, it is at {watcher.at}")
        return Verdict(self, {item["metadata"]["name"]: (revision_of(item), item["data"]["v"])
                              for item in final["items"]}, end)

    def _client(self, number, client):
        chance = random.Random(self._random.random() + number)
        known, count = {}, 0
        while not self._stop.is_set():
            count += 1
            key = f"shared-{chance.randrange(SHARED)}"
            dice = chance.random()
            value = f"{self._mark}-{number}-{count}"
            if dice < 0.4 or key not in known:
                self._do(client, "read", key, None, None, known)
            elif dice < 0.8:
                self._do(client, "swap", key, value, known[key], known)
            else:
                self._do(client, "create", f"own-{self._mark}-{number}-{count}", value, 0, known)
            if self._pause:
                time.sleep(self._pause)
        client.close()

    def _do(self, client, verb, key, value, expected, known):
        began = time.monotonic()
        revision, seen, outcome = None, None, "unknown"
        try:
            if verb == "read":
                code, thing = client.once("GET", f"{PATH}/{key}")
            elif verb == "swap":
                code, thing = client.once("PUT", f"{PATH}/{key}", config_map(key, value, expected))
            else:
                code, thing = client.once("POST", PATH, config_map(key, value))
            if code in (200, 201):
                outcome, revision, seen = "ok", revision_of(thing), thing["data"]["v"]
                if not key.startswith("own-"):
                    known[key] = revision
            elif code == 409:
                outcome = "conflict"
                known.pop(key, None)
            else:
                # A clear answer of a server: it may be that the write happened, as etcd could not tell.
                outcome = "refused" if code < 500 else "unknown"
                self.refusals[f"{code} {thing.get('message', '')[:100]}"] += 1
                if thing.get("kind") != "Status" or not thing.get("message"):
                    self.refusals["WRONG: no Status with a message"] += 1
                time.sleep(0.02)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.refusals[type(error).__name__] += 1
            time.sleep(0.02)
        self.ops.append(Op(began, time.monotonic(), verb, key, value, expected, outcome, revision, seen))


class Watcher:
    """Follows all ConfigMaps from a revision, and resumes after the last it has seen."""

    def __init__(self, client, revision, stop):
        self.at, self.events, self.faults, self.resumes, self.until = revision, [], [], 0, None
        self._client, self._stop = client, stop
        self.thread = threading.Thread(target=self._run)

    def done(self):
        return self._stop.is_set() and self.until is not None and self.at >= self.until

    def _run(self):
        while not self.done() and len(self.faults) < 10:
            try:
                self._follow()
            except (OSError, http.client.HTTPException, ValueError, socket.timeout):
                time.sleep(0.05)
            self._client.close()
            self.resumes += 1

    def _follow(self):
        self._client.connect()
        # Bookmarks come every some seconds at most; without any the connection is taken for dead.
        self._client._connection.sock.settimeout(5)
        self._client._connection.request(
            "GET", f"{PATH}?watch=1&allowWatchBookmarks=true&timeoutSeconds=15&resourceVersion={self.at}")
        answer = self._client._connection.getresponse()
        if answer.status != 200:
            if answer.status == 410:
                self.faults.append("410: the history was gone")
            answer.read()
            time.sleep(0.1)
            return
        while not self.done():
            line = answer.readline()
            if not line.endswith(b"\n"):
                return
            event = json.loads(line)
            thing = event["object"]
            if event["type"] == "ERROR":
                if thing.get("code") == 410:
                    self.faults.append(f"410: {thing.get('message')}")
                return
            revision = revision_of(thing)
            if event["type"] == "BOOKMARK":
                self.at = max(self.at, revision)
                continue
            if thing["metadata"]["name"] == "kube-root-ca.crt":
                self.at = revision
                continue
            if revision <= self.at:
                self.faults.append(f"revision {revision} after {self.at}")
            self.at = revision
            self.events.append(Seen(event["type"], thing["metadata"]["name"], revision, thing["data"]["v"]))


class Verdict:
    def __init__(self, load, final, end):
        self.ops, self.watchers, self.final, self.end, self.first = (load.ops, load.watchers, final, end, load.first)
        self.refusals, self.faults = load.refusals, []
        self._check()

    def _wrong(self, text):
        if len(self.faults) < 50:
            self.faults.append(text)

    def _check(self):
        self.versions = {}  # revision: key, value; of everybody who was told
        for key, (revision, value) in self.first.items():
            self._version(revision, key, value, "the first list")
        for op in self.ops:
            if op.outcome == "ok":
                self._version(op.revision, op.key, op.seen, f"the answer to {op.verb}")
                if op.verb != "read" and op.seen != op.value:
                    self._wrong(f"{op.verb} of {op.key} wrote {op.value} and was answered {op.seen}")
        for number, watcher in enumerate(self.watchers):
            for fault in watcher.faults:
                self._wrong(f"watch {number}: {fault}")
            for event in watcher.events:
                self._version(event.revision, event.key, event.value, f"watch {number}")
        for key, (revision, value) in self.final.items():
            if key != "kube-root-ca.crt":
                self._version(revision, key, value, "the last list")
        if "WRONG: no Status with a message" in self.refusals:
            self._wrong("a refusal was no Status with a message")
        self._check_watches()
        self._check_keys()

    def _version(self, revision, key, value, whence):
        known = self.versions.setdefault(revision, (key, value))
        if known != (key, value):
            self._wrong(f"revision {revision} is {known} and, by {whence}, {(key, value)}")

    def _check_watches(self):
        written = {op.revision: op for op in self.ops if op.outcome == "ok" and op.verb != "read"}
        for number, watcher in enumerate(self.watchers):
            seen = {event.revision: event for event in watcher.events}
            if len(seen) != len(watcher.events):
                self._wrong(f"watch {number} repeated {len(watcher.events) - len(seen)} events")
            for revision, op in written.items():
                event = seen.get(revision)
                if event is None:
                    self._wrong(f"watch {number} has not seen revision {revision}: {op.verb} of {op.key}")
                elif event.kind != ("ADDED" if op.verb == "create" else "MODIFIED"):
                    self._wrong(f"watch {number} saw {event.kind} of {op.key} at {revision}")
        sequences = [[event.revision for event in watcher.events if event.revision <= self.end]
                     for watcher in self.watchers]
        if any(sequence != sequences[0] for sequence in sequences):
            self._wrong("watches of different servers have not seen the same")
        refused = {(op.key, op.value) for op in self.ops if op.outcome in ("conflict", "refused") and op.value}
        for revision, version in self.versions.items():
            if version in refused:
                self._wrong(f"{version} was refused and is there at revision {revision}")

    def _check_keys(self):
        by_key = collections.defaultdict(list)
        for op in self.ops:
            by_key[op.key].append(op)
        history = collections.defaultdict(list)
        for revision, (key, _) in sorted(self.versions.items()):
            history[key].append(revision)
        for key, ops in by_key.items():
            self._check_order(key, ops)
            for op in ops:
                if op.verb == "swap" and op.outcome == "ok":
                    at = history[key].index(op.revision)
                    if at == 0 or history[key][at - 1] != op.expected:
                        self._wrong(f"swap of {key} from {op.expected} made {op.revision}, between them: "
                                    f"{history[key][max(0, at - 3):at]}")
                if op.verb == "swap" and op.outcome == "conflict" and history[key][-1] <= op.expected:
                    self._wrong(f"swap of {key} from {op.expected} was refused, and nothing came after it")
            newest = max((op.revision for op in ops if op.outcome == "ok"), default=0)
            if newest and (key not in self.final or self.final[key][0] < newest):
                self._wrong(f"{key} was at {newest} and ends as {self.final.get(key)}")

    def _check_order(self, key, ops):
        """By real time: sweeps over begins and ends, with the newest revision of what has ended."""
        moments = []
        for op in ops:
            if op.outcome == "ok":
                moments.append((op.ended, 0, op))
                moments.append((op.began, 1, op))
        moments.sort(key=lambda moment: (moment[0], moment[1]))
        ended, floor = 0, {}
        for _, begins, op in moments:
            if begins:
                floor[id(op)] = ended
            else:
                least = floor[id(op)] + (0 if op.verb == "read" else 1)
                if op.revision < least:
                    self._wrong(f"{op.verb} of {key} gave revision {op.revision} after {least} was known")
                ended = max(ended, op.revision)

    def figures(self):
        writes = [op for op in self.ops if op.verb != "read"]
        good = sorted(op.ended for op in writes if op.outcome == "ok")
        pause = max((b - a for a, b in zip(good, good[1:])), default=0.0)
        return {"writes": len(good), "conflicts": sum(op.outcome == "conflict" for op in self.ops),
                "unknown": sum(op.outcome in ("unknown", "refused") for op in writes),
                "reads": sum(op.verb == "read" and op.outcome == "ok" for op in self.ops),
                "events": sum(len(watcher.events) for watcher in self.watchers),
                "resumes": sum(max(0, watcher.resumes - 1) for watcher in self.watchers), "pause": pause,
                "longest": max((op.ended - op.began for op in self.ops if op.outcome == "ok"), default=0.0)}
