"""The two commands of the README, on a machine of its own: a network and a mount namespace."""

import os
import subprocess

from harness.cluster import BUILD

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# A machine with one uplink in both families and no BPF file system.
SCRIPT = """
set -eu
trap 'scripts/down > /dev/null' EXIT
! mountpoint -q /sys/fs/bpf || umount /sys/fs/bpf
ip link set lo up
ip link add eth0 type veth peer name wire
ip addr add 172.31.0.1/24 dev eth0
ip -6 addr add fd00:31::1/64 dev eth0 nodad
ip link set eth0 up
ip link set wire up
ip route add default via 172.31.0.254
ip -6 route add default via fd00:31::fe
echo 0 > /proc/sys/net/ipv4/ip_forward
cut -d' ' -f2 /proc/mounts | sort > "$BEFORE"
find /sys/fs/cgroup -maxdepth 2 -type d | sort > "$BEFORE.cgroups"
scripts/up --no-setup
echo ==again
scripts/up --no-setup
echo ==status
"$SLUICE_BUILD/bin/sluice" service list
scripts/down
echo ==left
ip -br link | awk '{print $1}' | sort | tr '\\n' ' '
cat /proc/sys/net/ipv4/ip_forward
echo ==kept
[ ! -e "$SLUICE_RUN" ] && [ ! -e "$SLUICE_DATA" ] && [ ! -e "$SLUICE_POD_LOGS" ] && echo no-state
cut -d' ' -f2 /proc/mounts | sort | diff "$BEFORE" - && echo same-mounts
find /sys/fs/cgroup -maxdepth 2 -type d | sort | diff "$BEFORE.cgroups" - && echo same-cgroups
ip route show proto all | grep -c 10.244 || true
tc qdisc show dev eth0
scripts/down
"""


def test_up_twice_and_down(tmp_path):
    before = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
    # Sockets have short paths.
    run = f"/run/sl-up-{os.getpid()}"
    environment = {**os.environ, "SLUICE_BUILD": BUILD, "SLUICE_RUN": run, "SLUICE_DATA": str(tmp_path / "data"),
                   "SLUICE_POD_LOGS": str(tmp_path / "pods"), "SLUICE_CGROUP": f"sl-up-{os.getpid()}",
                   "SLUICE_NODE_NAME": "machine", "BEFORE": str(tmp_path / "before")}
    with open(tmp_path / "output", "w+") as output:
        code = subprocess.run(["unshare", "--net", "--mount", "bash", "-c", SCRIPT], cwd=ROOT, env=environment,
                              stdout=output, stderr=subprocess.STDOUT, timeout=240, stdin=subprocess.DEVNULL).returncode
        output.seek(0)
        text = output.read()
    assert code == 0, text
    first, rest = text.split("==again")
    second, rest = rest.split("==status")
    status, left = rest.split("==left")
    for run_output in (first, second):
        for what in ("ClusterIP  http://10.96.", "NodePort   http://172.31.0.1:30080/",
                     "ClusterIP  http://[fd00:10:96:", "from a pod http://web.default.svc.cluster.local/"):
            lines = [line for line in run_output.splitlines() if what in line]
            assert len(lines) == 1 and "hello from the Deployment web" in lines[0], (what, run_output)
        assert "admin.kubeconfig" in run_output
        rows = [line.split() for line in run_output.splitlines()]
        assert ["node/machine", "Ready"] in [row[:2] for row in rows], run_output
    for program in ("control plane", "kubelet", "agent"):
        assert f"{program} is running" in second
    assert "default/web:http" in status
    # The order is eth0, lo and the uplink's far end: the machine as it was.
    assert left.split("==kept")[0].split() == ["eth0@wire", "lo", "wire@eth0", "0"], left
    for what in ("no-state", "same-mounts", "same-cgroups"):
        assert what in left, left
    assert "clsact" not in left
    after = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
    assert after == before
    running = subprocess.run(["pgrep", "-f", f"{tmp_path}/data|{run}/"], capture_output=True)
    assert running.returncode == 1, running.stdout
