"""A node whose dataplane is sluice-dpdk: `pytest --engine dpdk`.

                    namespace of the node                     kernel: addresses and routes as on any node
                     eth0 (tap)   pod10 (tap)   pod11 (tap)   the engine reads them, and ARP for them is its own
                       |            |             |
                     [ sluice-dpdk: one lcore that sleeps when idle ]
                       |            |             |
    fabric --- veth  wire0        link10        link11        af_packet ports; their frames do not reach the stack
                                    |             |
                                  pod a         pod b

The node is used as one with eBPF is: devices of the kernel have the same names. Its engine starts with its first
agent, as late as that since pods' ports have to be there; agents come and go beside it.
"""

import os
import shutil
import signal
import tempfile

from . import cluster as harness
from . import netns

ENGINE = os.path.join(harness.BIN, "sluice-dpdk")
MEMORY_MB = 256
FLOWS = 262144  # of each family: long before a table is half full and doubles, a bucket is full now and then


def whole_checksums(ns, device):
    """A veth's frames carry unfinished checksums, which a packet socket hands on as they are; a wire's do not."""
    ns.run(["ethtool", "-K", device, "tx", "off"])


class DpdkNode(harness.Node):
    def __init__(self, cluster, number):
        self.engine = None
        self.ports = []  # (raw device, device of the kernel, role)
        self.state = tempfile.mkdtemp(prefix=f"sluice-{cluster.prefix}-{number}-", dir="/dev/shm")
        os.chmod(self.state, 0o700)
        self.socket = os.path.join(cluster.directory, f"dpdk-{number}.sock")
        self.engine_log = os.path.join(cluster.directory, f"engine-node{number}.log")
        self.starts = 0
        super().__init__(cluster, number)

    def connect(self):
        self.cluster.net.attach(self.ns, "wire0")
        self.add_port("wire0", "eth0", "uplink")
        self.ns.ip("addr", "add", f"{self.v4}/24", "dev", "eth0")
        self.ns.ip("-6", "addr", "add", f"{self.v6}/64", "dev", "eth0", "nodad")
        whole_checksums(self.cluster.outside, "eth0")

    def link(self, pod):
        raw = pod.device.replace("pod", "link")
        netns.veth(self.ns, raw, pod.ns, "eth0")
        whole_checksums(pod.ns, "eth0")
        self.add_port(raw, pod.device, "pod")

    def add_port(self, raw, device, role):
        """The raw device is the engine's alone; `device` is how the kernel sends and receives by it."""
        self.ns.sysctl(f"net.ipv6.conf.{raw}.disable_ipv6", 1)
        self.ns.ip("link", "set", raw, "up")
        self.ns.run(["nft", f"add table netdev {raw}; add chain netdev {raw} in "
                     f"{{ type filter hook ingress device {raw} priority 0; policy drop; }}"])
        # There before and after the engine, so that addresses and routes are.
        self.ns.ip("tuntap", "add", "dev", device, "mode", "tap", "multi_queue")
        self.ns.ip("link", "set", device, "up")
        self.ports.append((raw, device, role))

    def engine_command(self, *more):
        self.starts += 1
        argv = [ENGINE, "--socket", self.socket, "--state-dir", self.state, "--flows", FLOWS]
        eal = ["--", "-l", (self.number - 1) % len(os.sched_getaffinity(0)), "--no-pci", "--no-telemetry", "--no-huge",
               "-m", MEMORY_MB, "--log-level", "error",
               "--file-prefix", f"{self.cluster.prefix}n{self.number}s{self.starts}"]
        for index, (raw, device, role) in enumerate(self.ports):
            argv += ["--port", f"net_af_packet{index},interface={raw},role={role},exception=tap:{device}"]
            eal += ["--vdev", f"net_af_packet{index},iface={raw}"]
        return [str(word) for word in argv + list(more) + eal]

    def start_engine(self, *more):
        said = self.forwarding()
        with open(self.engine_log, "a") as log:
            self.engine = self.ns.popen(self.engine_command(*more), stdout=log, stderr=log)

        def forwards():
            if self.engine.poll() is not None:
                raise AssertionError(f"sluice-dpdk exited {self.engine.returncode}")
            return self.forwarding() > said
        try:
            harness.eventually(forwards, 30, f"engine of {self.name} forwards", 0.02)
        except AssertionError as error:
            with open(self.engine_log) as log:
                raise AssertionError(f"{error}\n{log.read()[-3000:]}") from None

    def forwarding(self):
        """How many engines have begun to forward here."""
        if not os.path.exists(self.engine_log):
            return 0
        with open(self.engine_log) as log:
            return log.read().count("forwarding on")

    def stop_engine(self, with_signal=signal.SIGTERM):
        code = netns.stop(self.engine, with_signal)
        self.engine = None
        return code

    def engine_flags(self):
        return ["--engine", "dpdk", "--dpdk-socket", self.socket, "--dpdk-state-dir", self.state]

    def agent_command(self, *more):
        return super().agent_command(*self.engine_flags(), *more)

    def start_agent(self, wait=True, more=()):
        if self.engine is None:
            self.start_engine()
        super().start_agent(wait, more)

    def sluice(self, *args, check=True):
        return self.ns.run([os.path.join(harness.BIN, "sluice"), *args, *self.engine_flags()], check=check)

    def logs(self):
        return super().logs() + [self.engine_log]

    def close(self):
        if self.agent:
            self.stop_agent(signal.SIGKILL)
        if self.engine:
            self.stop_engine()
        super().close()
        shutil.rmtree(self.state, ignore_errors=True)
