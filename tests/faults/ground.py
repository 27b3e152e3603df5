"""Etcd members and API servers, each in a network namespace of its own on one bridge, and what can go wrong with
them."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time

from harness.netns import Namespace, ip

BUILD = os.environ.get("SLUICE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
CONTROL = os.path.join(BUILD, "bin", "sluice-control")
START_S = 60
_grounds = itertools.count()


class Host:
    """A namespace with an address on the bridge. cut() lets no packet of another host through, in either direction."""

    def __init__(self, ground, name, number):
        self.name, self.address = name, f"10.77.0.{number}"
        self.space = Namespace(f"{ground.tag}-{name}")
        self._cuts = set()
        port = f"{ground.tag}{number}"
        ip("link", "add", port, "netns", ground.hub.name, "type", "veth", "peer", "name", "eth0", "netns",
           self.space.name)
        ground.hub.ip("link", "set", port, "master", "br0", "up")
        self.space.ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        self.space.ip("link", "set", "eth0", "up")

    def cut(self, *others):
        self._cuts |= {other.address for other in others}
        self._rules()

    def mend(self):
        self._cuts.clear()
        self._rules()

    def _rules(self):
        text = "table inet cut\ndelete table inet cut\n"
        if self._cuts:
            who = "{ " + ", ".join(sorted(self._cuts)) + " }"
            text += ("table inet cut {\n"
                     f" chain in {{ type filter hook input priority 0; ip saddr {who} drop; }}\n"
                     f" chain out {{ type filter hook output priority 0; ip daddr {who} drop; }}\n}}\n")
        self.space.run(["nft", "-f", "-"], input=text)


class Member(Host):
    def __init__(self, ground, number):
        super().__init__(ground, f"m{number}", number)
        self.url, self.peer = f"http://{self.address}:2379", f"http://{self.address}:2380"
        self.folder = os.path.join(ground.folder, self.name)
        os.makedirs(self.folder, mode=0o700)
        self.process = None

    def start(self, cluster):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = self.space.popen(
                ["etcd", f"--name={self.name}", f"--data-dir={self.folder}/data", f"--listen-client-urls={self.url}",
                 f"--advertise-client-urls={self.url}", f"--listen-peer-urls={self.peer}",
                 f"--initial-advertise-peer-urls={self.peer}", f"--initial-cluster={cluster}", "--logger=zap",
                 "--log-level=error"], stdout=log, stderr=log)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Server(Host):
    """sluice-control with nothing but the API server, whose kubeconfig stays the same when it is started again."""

    def __init__(self, ground, number, flags=(), environment=None, folder=None):
        super().__init__(ground, f"s{number}", 10 + number)
        self.folder = folder or os.path.join(ground.folder, self.name)
        self._flags, self._environment = list(flags), {**os.environ, **(environment or {})}
        self.log = os.path.join(ground.folder, self.name + ".log")
        self.process, self.starts = None, 0

    def start(self, wait=True):
        offset = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = self.space.popen(
                [CONTROL, "--data-dir", self.folder, "--listen", f"{self.address}:6443", "--components", "apiserver",
                 *self._flags], stdout=log, stderr=log, env=self._environment)
        self.starts += 1
        if wait:
            self.wait_until_ready(offset)

    def wait_until_ready(self, offset=0):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with open(self.log) as log:
                log.seek(offset)
                text = log.read()
            if "is ready at" in text:
                return
            if self.process.poll() is not None:
                raise AssertionError(f"sluice-control ended with {self.process.returncode}: {text[-2000:]}")
            time.sleep(0.02)
        raise AssertionError(f"sluice-control was not ready within {START_S} s: {text[-2000:]}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def kubeconfig(self):
        return os.path.join(self.folder, "admin.kubeconfig")

    def raw(self, path, check=True):
        return self.space.run(["kubectl", "--kubeconfig", self.kubeconfig, "get", "--raw", path], check=check)

    def kubectl(self, *words, check=True):
        return self.space.run(["kubectl", "--kubeconfig", self.kubeconfig, *words], check=check)


class Ground:
    """close() ends everything that was made."""

    def __init__(self, folder):
        self.folder, self.tag = folder, f"ft{os.getpid() % 100000}{chr(ord('a') + next(_grounds) % 26)}"
        self.members, self.servers, self._mounts = [], [], []
        self.hub = Namespace(f"{self.tag}-hub")
        self.hub.ip("link", "add", "br0", "type", "bridge")
        self.hub.ip("link", "set", "br0", "up")

    def start_etcd(self, count=3):
        self.members = [Member(self, i + 1) for i in range(count)]
        for member in self.members:
            member.start(self.cluster())
        self.leader()

    def cluster(self):
        return ",".join(f"{member.name}={member.peer}" for member in self.members)

    def endpoints(self, first=0):
        turned = self.members[first:] + self.members[:first]
        return ",".join(member.url for member in turned)

    def add_server(self, *flags, environment=None, folder=None, like=None):
        """`like`: a server whose certificates and keys this one shares, as servers of one cluster do."""
        server = Server(self, len(self.servers) + 1, flags, environment, folder)
        self.servers.append(server)
        if like:
            os.makedirs(server.folder, mode=0o700)
            shutil.copytree(os.path.join(like.folder, "pki"), os.path.join(server.folder, "pki"))
        server.start()
        return server

    def leader(self, seconds=START_S):
        """The member that all reachable ones follow."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for member in self.members:
                if member.process is None or member.process.poll() is not None:
                    continue
                done = member.space.run(
                    ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={member.url}", "--command-timeout=2s",
                     "endpoint", "status", "-w", "json"], check=False)
                with contextlib.suppress(ValueError, IndexError, KeyError):
                    status = json.loads(done.stdout)[0]["Status"]
                    if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                        return member
            time.sleep(0.2)
        raise AssertionError(f"etcd has no leader after {seconds} s")

    def tmpfs(self, name, megabytes):
        path = os.path.join(self.folder, name)
        os.makedirs(path, mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", path], check=True)
        self._mounts.append(path)
        return path

    def close(self):
        for server in self.servers:
            server.kill()
            server.space.close()
        for member in self.members:
            member.kill()
            member.space.close()
        self.hub.close()
        for path in self._mounts:
            subprocess.run(["umount", "-l", path], check=False)
