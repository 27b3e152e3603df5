"""Network namespaces as test hosts: made, linked, entered and removed.

Processes enter with nsenter, not `ip netns exec`, which would hide bpffs and cgroup2.
"""

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def ip(*args, ns=None, check=True):
    command = ["ip"] + (["-n", ns] if ns else []) + [str(a) for a in args]
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result


class Namespace:
    """One network namespace with its processes. close() ends both."""

    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"
        self._children = []
        ip("netns", "add", name)
        ip("link", "set", "lo", "up", ns=name)
        # Addresses here are unique by construction; detecting duplicates would cost a second each.
        for scope in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)

    def ip(self, *args, check=True):
        return ip(*args, ns=self.name, check=check)

    def sysctl(self, name, value):
        self.run(["sysctl", "-qw", f"{name}={value}"])

    def command(self, argv):
        return ["nsenter", f"--net={self.path}"] + [str(a) for a in argv]

    def run(self, argv, cgroup=None, check=True, timeout=60, **kwargs):
        """Runs to the end; the result has stdout and stderr as text. A failure raises with both."""
        kwargs.setdefault("stdin", subprocess.DEVNULL) if "input" not in kwargs else None
        result = subprocess.run(
            self.command(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=timeout, preexec_fn=_join(cgroup), **kwargs)
        if check and result.returncode != 0:
            raise RuntimeError(
                f"{' '.join(map(str, argv))} in {self.name}: exit {result.returncode}\n"
                f"{result.stdout}{result.stderr}")
        return result

    def popen(self, argv, cgroup=None, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen(self.command(argv), preexec_fn=_join(cgroup), **kwargs)
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def entered(self):
        """This thread makes its sockets in the namespace meanwhile."""
        with open("/proc/thread-self/ns/net") as here, open(self.path) as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(here.fileno())

    def call(self, function, cgroup=None):
        """function() in a forked process inside the namespace and the cgroup; returns its (picklable) value."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # Whatever another thread had open meanwhile, such as the pipe to a command of its own, would stay
                # open until this child ends.
                os.closerange(3, write_end)
                os.closerange(write_end + 1, os.sysconf("SC_OPEN_MAX"))
                if cgroup:
                    _join(cgroup)()
                with open(self.path) as there:
                    _setns(there.fileno())
                try:
                    outcome = (True, function())
                except Exception as error:  # carried to the parent
                    outcome = (False, repr(error))
                with os.fdopen(write_end, "wb") as out:
                    pickle.dump(outcome, out)
                code = 0
            finally:
                os._exit(code)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as source:
            data = source.read()
        os.waitpid(pid, 0)
        ok, value = pickle.loads(data)
        if not ok:
            raise RuntimeError(value)
        return value

    def close(self):
        for child in self._children:
            stop(child, signal.SIGKILL)
        ip("netns", "del", self.name, check=False)


def stop(child, with_signal=signal.SIGTERM, timeout=10):
    """Ends a process that popen made; returns its exit code."""
    if child.poll() is None:
        child.send_signal(with_signal)
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for stream in (child.stdout, child.stderr):
        if stream:
            stream.close()
    return child.returncode


def veth(ns_a, name_a, ns_b, name_b):
    ip("link", "add", name_a, "netns", ns_a.name, "type", "veth", "peer", "name", name_b,
       "netns", ns_b.name)
    ns_a.ip("link", "set", name_a, "up")
    ns_b.ip("link", "set", name_b, "up")


def _setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _join(cgroup):
    if cgroup is None:
        return None

    def join():
        with open(os.path.join(cgroup, "cgroup.procs"), "w") as procs:
            procs.write("0")

    return join
