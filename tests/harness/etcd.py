"""One member of etcd (Debian's etcd-server), in a folder of its own."""

import os
import random
import socket
import subprocess


def free_ports(count):
    """Different ones, below those that the kernel gives to connections, which could take one before it is used."""
    held = []
    try:
        while len(held) < count:
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", random.randrange(20_000, 30_000)))
                held.append(one)
            except OSError:
                one.close()
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Etcd:
    """Starts at once. `namespace` (netns.Namespace) is where it listens, on loopback; None: this process's."""

    def __init__(self, folder, namespace=None):
        self.folder, self.namespace = folder, namespace
        self.port, self.peer = (2379, 2380) if namespace else free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.start()

    def start(self):
        peer = f"http://127.0.0.1:{self.peer}"
        popen = self.namespace.popen if self.namespace else subprocess.Popen
        with open(os.path.join(self.folder, "etcd.log"), "ab") as log:
            self.process = popen(
                ["etcd", "--name=t", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={self.url}",
                 f"--advertise-client-urls={self.url}", f"--listen-peer-urls={peer}",
                 f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=t={peer}", "--logger=zap",
                 "--log-level=error"], stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ctl(self, *words):
        return subprocess.run(["etcdctl", f"--endpoints={self.url}", *words], env={**os.environ, "ETCDCTL_API": "3"},
                              capture_output=True, check=True).stdout
