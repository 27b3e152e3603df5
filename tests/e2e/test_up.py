"""The two commands of the README, on a machine of its own: a network and a mount namespace."""

import os
import subprocess

from harness.cluster import BUILD

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# A machine with one uplink and no BPF file system.
SCRIPT = """
set -eu
trap 'scripts/down > /dev/null' EXIT
! mountpoint -q /sys/fs/bpf || umount /sys/fs/bpf
ip link set lo up
ip link add eth0 type veth peer name wire
ip addr add 172.31.0.1/24 dev eth0
ip link set eth0 up
ip link set wire up
ip route add default via 172.31.0.254
echo 0 > /proc/sys/net/ipv4/ip_forward
scripts/up
echo ==again
scripts/up
echo ==status
"$SLUICE_BUILD/bin/sluice" service list
scripts/down
echo ==left
ip -br link | awk '{print $1}' | sort | tr '\\n' ' '
cat /proc/sys/net/ipv4/ip_forward
! mountpoint -q /sys/fs/bpf && echo no-bpffs
[ ! -e "$SLUICE_RUN" ] && [ ! -e "$SLUICE_DATA" ] && echo no-state
tc qdisc show dev eth0
scripts/down
"""


def test_up_twice_and_down(tmp_path):
    before = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
    result = subprocess.run(["unshare", "--net", "--mount", "bash", "-c", SCRIPT], cwd=ROOT,
                            env={**os.environ, "SLUICE_BUILD": BUILD,
                                 "SLUICE_RUN": str(tmp_path / "run"),
                                 "SLUICE_DATA": str(tmp_path / "data")}, capture_output=True,
                            text=True, timeout=240, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stdout + result.stderr
    first, rest = result.stdout.split("==again")
    second, rest = rest.split("==status")
    status, left = rest.split("==left")
    for run in (first, second):
        for what in ("ClusterIP  http://10.96.", "NodePort   http://172.31.0.1:30080/",
                     "ClusterIP  http://[fd00:10:96:"):
            lines = [line for line in run.splitlines() if what in line]
            assert len(lines) == 1 and "hello from pod web-" in lines[0], (what, run)
        assert "admin.kubeconfig" in run
    assert "control plane is running" in second and "agent is running" in second
    assert "default/web:http" in status
    # The order is eth0, lo and the uplink's far end: the machine as it was.
    assert left.split("no-bpffs")[0].split() == ["eth0@wire", "lo", "wire@eth0", "0"], left
    assert "no-state" in left and "clsact" not in left
    after = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
    assert after == before
    running = subprocess.run(["pgrep", "-f", str(tmp_path / "data")], capture_output=True)
    assert running.returncode == 1, running.stdout
