"""sluice-dpdk's other ways: two lcores, VLANs, captures, telemetry, draining, MTUs, AF_XDP, hugepages, tunnels."""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess

import pytest

from harness import cluster as harness
from harness import dpdk_ground as ways
from harness import netns
from harness.cluster import eventually
from harness.dpdk_ground import CLUSTER_IP, LOCAL_NODE_PORT, NODE, NODE_PORT, POD, SERVER, Ground

TUNNEL_PORT = 30082
POD_MTU = 1300
HUGEPAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
PROTOCOLS = [pytest.param([], id="tcp"), pytest.param(["--udp"], id="udp")]


@contextlib.contextmanager
def standing(*more, **options):
    made = Ground(**options)
    try:
        made.start(*more)
        made.address_tap()
        made.publish()
        yield made
    finally:
        if os.environ.get("SLUICE_SHOW_LOG"):
            with open(made.log) as log:
                print(log.read())
        made.close()


@pytest.fixture(scope="module")
def ground():
    with standing(lcores="0,1", telemetry=True, vlan=True, pod_mtu=POD_MTU) as made:
        with_tagged = ways.services()
        for family in (4, 6):
            for protocol in ("TCP", "UDP"):
                with_tagged["services"].append(
                    {"name": "default/tagged", "protocol": protocol, "port": 80,
                     "cluster_ip": ("10.96.0.12", "fd00:10:96::12")[family == 6],
                     "external_ip": ways.VLAN_EXTERNAL[family],
                     "backends": [{"address": SERVER[family], "port": 8080}]})
        made.publish(with_tagged)
        yield made


def served(result, by):
    assert result["failed"] == 0 and set(result["servers"]) == {by}, result


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_two_lcores_share_the_work(ground, family, flags):
    before = lcores(ground)
    served(ground.load(ground.outside, NODE[family], NODE_PORT, *flags, count=100), "far")
    served(ground.load(ground.outside, NODE[family], LOCAL_NODE_PORT, *flags, count=100), "near")
    for earlier, later in zip(before, lcores(ground)):
        assert later["packets"] > earlier["packets"], (before, later)
        assert later["dispatchFailed"] == 0


def lcores(ground):
    return json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]["lcores"]


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("flags", PROTOCOLS)
def test_a_clients_vlan_is_kept(ground, family, flags):
    result = ground.load(ground.tagged, ways.VLAN_EXTERNAL[family], 80, *flags)
    served(result, "far")
    assert set(result["clients"]) == {NODE[family]}, result


# --- captures ---

def read_pcapng(path):
    """(interface names, packets): of each packet interface, direction, length, bytes."""
    with open(path, "rb") as file:
        data = file.read()
    names, packets = [], []
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0 and struct.unpack_from("<I", data, at + size - 4)[0] == size
        body = data[at + 8:at + size - 4]
        if at == 0:
            assert kind == 0x0A0D0D0A and struct.unpack_from("<I", body)[0] == 0x1A2B3C4D
        elif kind == 1:
            names.append(options_of(body[8:])[2].decode())
        else:
            assert kind == 6
            interface, high, low, captured, length = struct.unpack_from("<IIIII", body)
            end = 20 + (captured + 3) // 4 * 4
            flags = struct.unpack("<I", options_of(body[end:])[2])[0]
            packets.append({"interface": names[interface], "time": (high << 32 | low) / 1e9, "direction": flags & 3,
                            "length": length, "bytes": body[20:20 + captured]})
        at += size
    return names, packets


def options_of(data):
    out = {}
    while data:
        code, size = struct.unpack_from("<HH", data)
        if code == 0:
            break
        out[code] = data[4:4 + size]
        data = data[4 + (size + 3) // 4 * 4:]
    return out


def ends(packet):
    """(source, destination, ports) of an untagged IPv4 frame."""
    ip = packet["bytes"][14:]
    assert packet["bytes"][12:14] == b"\x08\x00"
    return socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20]), struct.unpack_from("!HH", ip, (ip[0] & 15) * 4)


def test_a_capture_has_a_flow_as_it_comes_and_as_it_leaves(ground, tmp_path):
    path = str(tmp_path / "flow.pcapng")
    capture = ground.node.popen(
        [os.path.join(harness.BIN, "sluice"), "capture", path, "--dpdk-socket", ground.socket, "--engine", "dpdk",
         "--dpdk-state-dir", ground.state, "--source", f"{SERVER[4]}:8080", "--protocol", "udp", "--packets", 8,
         "--seconds", 30, "-o", "json"], stdout=subprocess.PIPE, text=True)
    eventually(lambda: os.path.exists(path), 10, "capture")

    def full():
        # Packets of other services and protocols pass meanwhile.
        ground.load(ground.outside, NODE[4], LOCAL_NODE_PORT, "--udp", count=2)
        ground.load(ground.pod, CLUSTER_IP[4], 80, count=2)
        ground.load(ground.pod, CLUSTER_IP[4], 80, "--udp", count=2)
        return capture.poll() is not None
    eventually(full, 20, "capture of 8 packets")
    told = json.loads(capture.communicate(timeout=10)[0])
    assert told["packets"] == 8, told
    names, packets = read_pcapng(path)
    assert {"net_af_packet0", "net_af_packet1"} <= set(names) and len(packets) == 8
    for packet in packets:
        source, destination, ports = ends(packet)
        assert {(source, ports[0]), (destination, ports[1])} & {(SERVER[4], 8080)}, (source, destination, ports)
        assert packet["length"] == len(packet["bytes"])
    ways_seen = {(packet["interface"], packet["direction"]) for packet in packets}
    # To the server by the uplink, and what it answers; what the pod sees has the service's address.
    assert ways_seen == {("net_af_packet0", 2), ("net_af_packet0", 1)}, ways_seen
    assert [p["time"] for p in packets] == sorted(p["time"] for p in packets)


def test_a_capture_cuts_packets_and_spares_files(ground, tmp_path):
    path = str(tmp_path / "short.pcapng")
    capture = ground.node.popen(
        [os.path.join(harness.BIN, "sluice"), "capture", path, "--dpdk-socket", ground.socket, "--engine", "dpdk",
         "--dpdk-state-dir", ground.state, "--snap-length", 20, "--seconds", 2], stdout=subprocess.PIPE, text=True)
    eventually(lambda: os.path.exists(path), 10, "capture")
    ground.load(ground.pod, CLUSTER_IP[4], 80, count=5)
    text = capture.communicate(timeout=20)[0]
    assert capture.returncode == 0 and path in text
    packets = read_pcapng(path)[1]
    assert packets and all(len(packet["bytes"]) == 20 < packet["length"] for packet in packets)
    assert {packet["interface"] for packet in packets} >= {"net_af_packet0", "net_af_packet1"}
    again = ground.sluice("capture", path, check=False)
    assert again.returncode != 0 and path in again.stderr


# --- telemetry ---

def ask(ground, command):
    path = f"/var/run/dpdk/{ground.prefix}first/dpdk_telemetry.v2"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(5)
        client.connect(path)
        limit = json.loads(client.recv(1024))["max_output_len"]
        client.send(command.encode())
        return json.loads(client.recv(limit))[command]


def test_telemetry_tells_what_the_engine_tells(ground):
    ground.load(ground.outside, CLUSTER_IP[4], 81, count=3)  # refused
    ground.load(ground.outside, NODE[4], NODE_PORT, count=20)
    engine = json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]
    # What is in tables is counted every few seconds.
    eventually(lambda: ask(ground, "/sluice/status")["flows4_used"] > 0, 10, "flows counted", 0.2)
    status = ask(ground, "/sluice/status")
    assert status["memory"] == engine["memory"] and status["image"] == engine["image"] and status["draining"] == 0
    assert status["flows4_capacity"] == 2 * 8192
    lcores_told = ask(ground, "/sluice/lcores")
    assert set(lcores_told) == {"0", "1"}
    for told, known in zip(lcores_told.values(), engine["lcores"]):
        assert told["packets"] >= known["packets"] > 0 and told["busy_cycles"] >= known["busyCycles"] > 0
        assert told["idle_cycles"] > 0
    ports = {entry["name"]: entry for entry in ask(ground, "/sluice/ports").values()}
    assert ports["net_af_packet0"]["interface"] == "up,tagged" and ports["net_af_packet0"]["sent"] > 0
    assert ports["net_af_packet1"]["received"] > 0
    drops = ask(ground, "/sluice/drops")
    assert drops["port_not_served"] >= 3 and drops["lcore_dispatch_failed"] == 0


# --- draining ---

def test_draining_keeps_flows_and_refuses_new_ones_until_it_is_taken_back(ground):
    flows = ground.outside.popen([harness.TESTPEER, "flows", NODE[4], NODE_PORT, "--count", 20, "--seconds", 6,
                                  "--timeout-ms", 8000, "--pause-us", 2000], stdout=subprocess.PIPE, text=True)
    assert flows.stdout.readline().strip() == "ready"
    drain = ground.sluice("drain", "--idle", "3", "--timeout", "1", check=False)
    assert drain.returncode != 0 and "in use" in drain.stderr, drain.stderr
    assert json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]["draining"]
    refused = ground.load(ground.outside, NODE[4], NODE_PORT, count=5)
    assert refused["ok"] == 0 and any("refused" in error for error in refused["errors"]), refused
    # What is no service's goes on.
    served(ground.load(ground.outside, NODE[4], 9000, count=5), "node")
    counted = json.loads(flows.communicate(timeout=60)[0])
    assert counted["flows"] == 20 and counted["lost"] == 0, counted
    # Nothing is under way any more.
    done = ground.sluice("drain", "--idle", "1", "--timeout", "20")
    assert "no flow is in use" in done.stdout
    ground.sluice("drain", "--undo")
    assert not json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]["draining"]
    for family in (4, 6):
        served(ground.load(ground.outside, NODE[family], NODE_PORT, count=5), "far")


def test_a_drain_that_waits_ends_when_it_is_taken_back(ground):
    flows = ground.outside.popen([harness.TESTPEER, "flows", NODE[4], NODE_PORT, "--count", 5, "--seconds", 4,
                                  "--timeout-ms", 8000, "--pause-us", 2000], stdout=subprocess.PIPE, text=True)
    assert flows.stdout.readline().strip() == "ready"
    waiting = ground.node.popen([os.path.join(harness.BIN, "sluice"), "drain", "--timeout", 60, "--engine", "dpdk",
                                 "--dpdk-socket", ground.socket, "--dpdk-state-dir", ground.state],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]["draining"], 10, "draining")
    ground.sluice("drain", "--undo")
    text = waiting.communicate(timeout=20)[1]
    assert waiting.returncode != 0 and "taken back" in text, text
    assert json.loads(flows.communicate(timeout=60)[0])["lost"] == 0


# --- MTU ---

def echo(address, port, size):
    """What comes back of `size` bytes by TCP, behind the line that the server begins with."""
    sent = os.urandom(size)
    with socket.create_connection((address, port), 10) as client:
        client.settimeout(10)
        file = client.makefile("rb")
        file.readline()
        client.sendall(sent)
        return file.read(size) == sent


@pytest.mark.parametrize("family", (4, 6))
def test_a_smaller_mtu_is_told_to_senders(ground, family):
    assert ground.outside.call(lambda: echo(NODE[family], LOCAL_NODE_PORT, 40000))
    told = ground.outside.ip(*(["-6"] if family == 6 else []), "route", "get", NODE[family]).stdout
    assert f"mtu {POD_MTU}" in told, told


def test_sigterm_ends_both_lcores(ground):
    assert netns.stop(ground.engine, signal.SIGTERM, 20) == 0
    ground.engine = None


# --- other ports and memory ---

def node_ports_work(ground):
    for family in (4, 6):
        for flags in ([], ["--udp"]):
            served(ground.load(ground.outside, NODE[family], NODE_PORT, *flags), "far")
            served(ground.load(ground.outside, NODE[family], LOCAL_NODE_PORT, *flags), "near")
        served(ground.load(ground.outside, NODE[family], 9000), "node")


def test_af_xdp_takes_frames_away_from_the_kernel():
    with standing(driver="af_xdp") as ground:
        node_ports_work(ground)
        assert "net_af_xdp" in ground.sluice("status").stdout


@contextlib.contextmanager
def hugepages(wanted):
    with open(HUGEPAGES) as file:
        before = int(file.read())
    try:
        with open(HUGEPAGES, "w") as file:
            file.write(str(before + wanted))
        with open(HUGEPAGES) as file:
            got = int(file.read()) - before
        if got < wanted:
            pytest.skip(f"the kernel gives {got} of {wanted} hugepages")
        yield
    finally:
        with open(HUGEPAGES, "w") as file:
            file.write(str(before))


def test_hugepages_are_used_and_named():
    with hugepages(128), standing(memory=("--in-memory", "-m", "192")) as ground:
        served(ground.load(ground.outside, NODE[4], NODE_PORT), "far")
        served(ground.load(ground.outside, NODE[6], LOCAL_NODE_PORT), "near")
        status = json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]
        assert "hugepages of 2048 kB" in status["memory"], status["memory"]


def test_without_hugepages_it_says_what_is_missing():
    with open(HUGEPAGES) as file:
        if int(file.read()) != 0:
            pytest.skip("this machine has hugepages")
    state = f"/dev/shm/sluice-none{os.getpid()}"
    try:
        done = subprocess.run([ways.ENGINE, "--port", "net_null0", "--socket", f"{state}/socket", "--state-dir", state,
                               "--", "-l", "0", "--no-pci", "--no-telemetry", "--in-memory", "--vdev=net_null0"],
                              capture_output=True, text=True, timeout=60, check=False)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    assert done.returncode != 0 and "EAL" in done.stderr, done.stderr


# --- direct return ---

def tunnelled(pod, addresses, local):
    return [{"name": "default/direct", "protocol": protocol, "port": 80,
             "cluster_ip": ("10.96.0.13", "fd00:10:96::13")[family == 6], "node_port": TUNNEL_PORT,
             "forwarding": "tunnel", "backends": [{"address": pod[family], "port": 8080, "local": local}]}
            for family in (4, 6) for protocol in ("TCP", "UDP")], addresses


def test_a_tunnel_leads_to_another_node_whose_answers_return_directly():
    routes = ("--route", "10.244.3.0/24 via 172.30.0.3 dev up", "--route", "fd00:10:244:3::/64 via fd00:30::3 dev up")
    with standing(*routes) as first, contextlib.ExitStack() as stack:
        second = Ground(number=3, beside=first)
        stack.callback(second.close)
        second.start(lcores="1")
        second.address_tap()
        for ground, local in ((first, False), (second, True)):
            what = ways.services()
            what["services"], _ = tunnelled(second.pod_addresses, NODE, local)
            what["node"]["addresses"] = sorted(ground.addresses.values())
            what["node"]["masquerade"] = list(ground.addresses.values())
            ground.publish(what)
        received = {ground: port_counts(ground) for ground in (first, second)}
        for family in (4, 6):
            for flags in ([], ["--udp"]):
                result = first.load(first.outside, NODE[family], TUNNEL_PORT, *flags, count=50)
                served(result, "near")
                # The backend sees the client itself.
                outside = (harness.OUTSIDE_V4, harness.OUTSIDE_V6)[family == 6]
                assert set(result["clients"]) == {outside}, result
        # Answers did not come by the first node: it has sent on what came in, and got nothing else.
        gained = {ground: {key: port_counts(ground)[key] - received[ground][key] for key in ("received", "sent")}
                  for ground in (first, second)}
        assert gained[second]["sent"] > 200 and gained[first]["received"] < 1.5 * gained[second]["received"], gained


def port_counts(ground):
    ports = json.loads(ground.sluice("status", "-o", "json").stdout)["engine"]["ports"]
    return next(port for port in ports if port["name"] == "net_af_packet0")


# --- ports without a device of the kernel's ---

MAC, ROUTER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000009")


def pcap_of(frames):
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return header + b"".join(struct.pack("<IIII", 1, 0, len(frame), len(frame)) + frame for frame in frames)


def frames_of(path):
    with open(path, "rb") as file:
        data = file.read()
    out, at = [], 24
    while at + 16 <= len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        out.append(data[at + 16:at + 16 + size])
        at += 16 + size
    return out


def arp_for(address, sender):
    return (b"\xff" * 6 + MAC + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1) + MAC +
            socket.inet_aton(sender) + bytes(6) + socket.inet_aton(address))


def state_of_its_own(tmp_path, name):
    return str(tmp_path / f"{name}.sock"), f"/dev/shm/sluice-{name}{os.getpid()}"


def test_pcap_files_are_ports(tmp_path):
    received, sent = str(tmp_path / "in.pcap"), str(tmp_path / "out.pcap")
    with open(received, "wb") as file:
        file.write(pcap_of([arp_for("192.0.2.1", "192.0.2.9"), arp_for("192.0.2.2", "192.0.2.9")]))
    path, state = state_of_its_own(tmp_path, "pcap")
    engine = subprocess.Popen(
        [ways.ENGINE, "--port", "net_pcap0,address=192.0.2.1/24", "--socket", path, "--state-dir", state, "--flows",
         "1024", "--", "-l", "0", "--no-pci", "--no-telemetry", "--no-huge", "-m", "128", "--log-level", "error",
         "--file-prefix", f"pcap{os.getpid()}", f"--vdev=net_pcap0,rx_pcap={received},tx_pcap={sent}"])
    try:
        services = str(tmp_path / "services.json")
        with open(services, "w") as file:
            json.dump(ways.services(), file)
        subprocess.run([ways.PUBLISH, path, state, services], check=True, timeout=30)

        def answered():
            ports = json.loads(subprocess.run(
                [os.path.join(harness.BIN, "sluice"), "status", "-o", "json", "--engine", "dpdk", "--dpdk-socket", path,
                 "--dpdk-state-dir", state], stdout=subprocess.PIPE, check=True).stdout)["engine"]["ports"]
            return ports[0]["sent"] == 1
        eventually(answered, 20, "answer", 0.1)
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(20) == 0
    finally:
        engine.kill()
        engine.wait()
        shutil.rmtree(state, ignore_errors=True)
    answers = frames_of(sent)
    assert len(answers) == 1, answers  # of the two addresses one is the engine's
    assert answers[0][:6] == MAC and answers[0][12:14] == b"\x08\x06"
    assert struct.unpack("!H", answers[0][20:22])[0] == 2
    assert (answers[0][28:32], answers[0][38:42]) == (socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.9"))


def test_virtio_user_is_a_way_to_the_kernel(tmp_path):
    if not os.path.exists("/dev/vhost-net"):
        pytest.skip("this kernel has no /dev/vhost-net")
    path, state = state_of_its_own(tmp_path, "vhost")
    host = netns.Namespace(f"vh{os.getpid()}")
    engine = host.popen(
        [ways.ENGINE, "--port", "net_null0,address=192.0.2.1/24,exception=virtio-user:up0", "--socket", path,
         "--state-dir", state, "--flows", "1024", "--", "-l", "0", "--no-pci", "--no-telemetry", "--no-huge", "-m",
         "256", "--log-level", "error", "--file-prefix", f"vhost{os.getpid()}", "--vdev=net_null0,no-rx=1"])
    try:
        eventually(lambda: host.ip("link", "show", "up0"), 20, "device of the kernel's")
        assert netns.stop(engine, signal.SIGTERM, 20) == 0
    finally:
        host.close()
        shutil.rmtree(state, ignore_errors=True)


def test_memif_joins_two_engines(tmp_path):
    """What the second one announces, the first one receives."""
    link = tmp_path / "memif.sock"
    services = str(tmp_path / "services.json")
    with open(services, "w") as file:
        json.dump(ways.services(), file)
    engines, states = [], []
    try:
        for role, address, lcore in (("server", "172.30.0.1", "0"), ("client", "172.30.0.3", "1")):
            path, state = state_of_its_own(tmp_path, f"memif{role}")
            states.append((path, state))
            engines.append(subprocess.Popen(
                [ways.ENGINE, "--port", f"net_memif0,address={address}/24,announce={'on' if lcore == '1' else 'off'}",
                 "--socket", path, "--state-dir", state, "--flows", "1024", "--", "-l", lcore, "--no-pci",
                 "--no-telemetry", "--no-huge", "-m", "128", "--log-level", "error", "--file-prefix",
                 f"memif{role}{os.getpid()}",
                 f"--vdev=net_memif0,role={role},id=0,socket={link},socket-abstract=no"]))
            subprocess.run([ways.PUBLISH, path, state, services], check=True, timeout=30)

        def received():
            path, state = states[0]
            ports = json.loads(subprocess.run(
                [os.path.join(harness.BIN, "sluice"), "status", "-o", "json", "--engine", "dpdk", "--dpdk-socket", path,
                 "--dpdk-state-dir", state], stdout=subprocess.PIPE, check=True).stdout)["engine"]["ports"]
            return ports[0]["linkUp"] and ports[0]["received"] > 0
        eventually(received, 20, "an announcement", 0.1)
        for engine in engines:
            engine.send_signal(signal.SIGTERM)
        assert [engine.wait(20) for engine in engines] == [0, 0]
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()
        for _, state in states:
            shutil.rmtree(state, ignore_errors=True)
