"""What goes wrong, under load: each scenario returns what was seen, and fails if anything that was promised was not
kept (history.py). `seconds` scales how long each fault lasts."""

import contextlib
import os
import subprocess
import tempfile
import time

from faults.ground import Ground
from faults.history import PATH, Client, Load, config_map


class Row:
    def __init__(self, name, verdict, faults, note, began):
        self.name, self.wrong, self.faults, self.note = name, verdict.faults, faults, note
        self.figures, self.refusals = verdict.figures(), dict(verdict.refusals)
        self.seconds = time.monotonic() - began

    def check(self):
        assert not self.wrong, f"{self.name}: " + "\n".join(self.wrong)
        assert self.figures["writes"] > 0 and self.figures["events"] > 0
        return self


@contextlib.contextmanager
def ground():
    with tempfile.TemporaryDirectory(prefix="sluice-faults-") as folder:
        made = Ground(folder)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def load_on(servers, **options):
    load = Load([(server.kubeconfig, server.space) for server in servers], **options)
    try:
        yield load
    except BaseException:
        load.abort()
        raise


def etcd_cluster(made, servers=2):
    """Three members; each server begins with another one."""
    made.start_etcd()
    first = made.add_server("--etcd-servers", made.endpoints(0))
    for i in range(1, servers):
        made.add_server("--etcd-servers", made.endpoints(i), like=first)
    return made.servers


def run_on_cluster(name, made, fault, repeat=1, pause_s=0.005):
    """fault(made, load): one fault from its begin to its end. Writes go on within a minute after it."""
    began = time.monotonic()
    with load_on(made.servers, pause_s=pause_s) as load:
        load.wait_for_writes()
        slowest = 0.0
        for _ in range(repeat):
            fault(made, load)
            slowest = max(slowest, load.wait_for_writes())
        verdict = load.finish()
    return Row(name, verdict, repeat, f"20 writes after the end of it: within {slowest:.1f} s", began)


def leader_killed(seconds):
    def fault(made, load):
        leader = made.leader()
        leader.kill()
        # The others go on without it.
        time.sleep(seconds)
        load.wait_for_writes()
        leader.start(made.cluster())
    return fault


def leader_stopped(seconds):
    def fault(made, load):
        leader = made.leader()
        leader.freeze()
        time.sleep(seconds)
        load.wait_for_writes()
        leader.thaw()
    return fault


def _partitioned(member_of, seconds):
    """A member that hears nothing of the others; clients still reach it."""
    def fault(made, load):
        member = member_of(made)
        member.cut(*[other for other in made.members if other is not member])
        time.sleep(seconds)
        load.wait_for_writes()
        member.mend()
    return fault


def member_partitioned(seconds):
    """The one that the first server talks to."""
    return _partitioned(lambda made: made.members[0], seconds)


def leader_partitioned(seconds):
    return _partitioned(lambda made: made.leader(), seconds)


def server_partitioned(seconds):
    """The first server reaches one member only, and not the one it talked to."""
    def fault(made, load):
        made.servers[0].cut(*made.members[:2])
        time.sleep(seconds)
        load.wait_for_writes()
        made.servers[0].mend()
    return fault


def all_stopped(seconds):
    def fault(made, load):
        for member in made.members:
            member.kill()
        time.sleep(seconds)
        for server in made.servers:
            for path in ("/readyz/etcd", "/readyz/etcd-readiness", "/livez/etcd"):
                done = server.raw(path, check=False)
                assert done.returncode != 0, f"{path} says {done.stdout} without etcd"
        for member in made.members:
            member.start(made.cluster())
        made.leader()
    return fault


CLUSTER = {
    "leader killed": leader_killed,
    "leader stopped (SIGSTOP)": leader_stopped,
    "the servers' member cut off from the others": member_partitioned,
    "leader cut off from the others": leader_partitioned,
    "server cut off from two members": server_partitioned,
    "all members killed": all_stopped,
}


def kill_loop(name, made, seconds, pause_s=0.0, between_s=1.5, least=1):
    """SIGKILL, again and again, of all servers in turn: for so long, and so often at least."""
    began = time.monotonic()
    kills = 0
    with load_on(made.servers, pause_s=pause_s) as load:
        load.wait_for_writes()
        while kills < least or time.monotonic() - began < seconds:
            server = made.servers[kills % len(made.servers)]
            server.kill()
            server.start()
            kills += 1
            time.sleep(between_s)
        load.wait_for_writes()
        verdict = load.finish()
    return Row(name, verdict, kills, "", began)


def embedded_kills(seconds):
    with ground() as made:
        made.add_server()
        return kill_loop("SIGKILL in a loop, embedded store", made, seconds)


def etcd_kills(seconds):
    with ground() as made:
        etcd_cluster(made)
        return kill_loop("SIGKILL in a loop, two servers on etcd", made, seconds, pause_s=0.005)


def refused_and_readable(server, value):
    """A write is refused with a Status that says why, and reads go on; the Status' message."""
    client = Client(server.kubeconfig, server.space)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        code, status = client.once("POST", PATH, config_map(f"refused-{time.monotonic_ns()}", value))
        if code != 201:
            break
    assert code in (429, 500, 503), (code, status)
    assert status["kind"] == "Status" and status["status"] == "Failure" and "store" in status["message"], status
    for path in (f"{PATH}/shared-0", PATH):
        read, _ = client.once("GET", path)
        assert read == 200, (path, read)
    client.close()
    return f"{code}: {status['message']}"


def disk_full(seconds):
    with ground() as made:
        disk = made.tmpfs("disk", 48)
        server = made.add_server(folder=os.path.join(disk, "data"))
        began = time.monotonic()
        with load_on([server], pause_s=0.002) as load:
            load.wait_for_writes()
            filler = os.path.join(disk, "filler")
            with open(filler, "wb") as out, contextlib.suppress(OSError):
                while True:
                    out.write(b"x" * 65536)
                    out.flush()
            # Large values use up what is left in the store's log.
            said = refused_and_readable(server, "y" * 200_000)
            time.sleep(seconds)
            os.remove(filler)
            back = load.wait_for_writes()
            # What was refused is not there after a restart either.
            server.kill()
            server.start()
            load.wait_for_writes()
            verdict = load.finish()
        return Row("disk full", verdict, 1, f"said \"{said}\"; writes {back:.1f} s after there was room", began)


def io_errors(seconds):
    with ground() as made:
        shim = os.path.join(made.folder, "io_errors.so")
        source = os.path.join(os.path.dirname(__file__), "io_errors.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", shim, source, "-ldl"], check=True)
        flag = os.path.join(made.folder, "fail")
        server = made.add_server(environment={"LD_PRELOAD": shim, "SLUICE_IO_ERRORS": flag})
        began = time.monotonic()
        with load_on([server], pause_s=0.002) as load:
            load.wait_for_writes()
            with open(flag, "wb"):
                pass
            said = refused_and_readable(server, "y")
            time.sleep(seconds)
            os.remove(flag)
            back = load.wait_for_writes()
            server.kill()
            server.start()
            load.wait_for_writes()
            verdict = load.finish()
        return Row("I/O errors", verdict, 1, f"said \"{said}\"; writes {back:.1f} s after they ended", began)
