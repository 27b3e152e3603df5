"""A node that kube-proxy served until now: its rules, in each variant, clients before, during and after.

The rules are written by hand in kube-proxy's shape: no kube-proxy runs here.
"""

import json
import os
import socket

import pytest

from harness import cluster as harness
from harness.cluster import BIN, eventually

VARIANTS = ("iptables-legacy", "iptables-nft", "nftables")

# Rules that are none of kube-proxy's business and must be there afterwards, as must the kubelet's.
FOREIGN = """*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-DROP - [0:0]
:CNI-HOSTPORT - [0:0]
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
-A PREROUTING -p tcp -m tcp --dport 9 -m comment --comment "not -j KUBE-SERVICES" -j CNI-HOSTPORT
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A INPUT -j KUBE-FIREWALL
-A OUTPUT -j KUBE-FIREWALL
-A INPUT -p tcp -m tcp --dport 9 -j DROP
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -j DROP
COMMIT
*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
"""


def iptables_rules(address, pods, port=80, target=8080):
    """What kube-proxy's iptables mode writes for one ClusterIP."""
    bits = 128 if ":" in address else 32
    lines = ["*nat", *(f":{chain} - [0:0]" for chain in (
        "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY"))]
    chains, rules = [], [
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE'
        " --random-fully"]
    for protocol in ("tcp", "udp"):
        service = f"KUBE-SVC-{protocol.upper()}AAAAAAAAAAAAA"
        chains.append(service)
        rules.append(f'-A KUBE-SERVICES -d {address}/{bits} -p {protocol} -m comment --comment "default/web:{protocol} '
                     f'cluster IP" -m {protocol} --dport {port} -j {service}')
        for i, pod in enumerate(pods):
            endpoint = f"KUBE-SEP-{protocol.upper()}BBBBBBBBBBBB{i}"
            chains.append(endpoint)
            last = i + 1 == len(pods)
            odds = "" if last else f" -m statistic --mode random --probability {1 / (len(pods) - i):.10f}"
            destination = f"[{pod}]:{target}" if ":" in pod else f"{pod}:{target}"
            rules += [f'-A {service} -m comment --comment "default/web:{protocol} -> {pod}"{odds} -j {endpoint}',
                      f"-A {endpoint} -s {pod}/{bits} -j KUBE-MARK-MASQ",
                      f"-A {endpoint} -p {protocol} -m {protocol} -j DNAT --to-destination {destination}"]
    rules.append('-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last '
                 'rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS')
    lines += [f":{chain} - [0:0]" for chain in chains] + rules + ["COMMIT"]
    lines += ["*filter", *(f":{chain} - [0:0]" for chain in (
        "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL",
        "KUBE-PROXY-CANARY"))]
    lines += ['-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j '
              "KUBE-PROXY-FIREWALL",
              '-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
              '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
              '-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
              "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
              "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "COMMIT",
              "*mangle", ":KUBE-PROXY-CANARY - [0:0]", "COMMIT", ""]
    return "\n".join(lines)


def nftables_rules(address, pods, port=80, target=8080):
    """The shape of kube-proxy's nftables mode: a map of Services, a chain each, masquerading by mark."""
    family, kind = ("ip6", "ipv6_addr") if ":" in address else ("ip", "ipv4_addr")
    chains, elements = [], []
    for protocol in ("tcp", "udp"):
        chain = f"service-AAAAAAAA-default/web/{protocol}/{protocol}".replace("/", "_")
        ends = ", ".join(f"{i} : goto endpoint-{protocol}-{i}" for i in range(len(pods)))
        chains += [f"chain endpoint-{protocol}-{i} {{ {family} saddr {pod} meta mark set meta mark or 0x4000; "
                   f"meta l4proto {protocol} dnat {family} to {'[' + pod + ']' if ':' in pod else pod}:{target}; }}"
                   for i, pod in enumerate(pods)]
        chains.append(f"chain {chain} {{ numgen random mod {len(pods)} vmap {{ {ends} }}; }}")
        elements.append(f"{address} . {protocol} . {port} : goto {chain}")
    return f"""table {family} kube-proxy {{
        comment "rules for kube-proxy"
        {chr(10).join(chains)}
        map service-ips {{ type {kind} . inet_proto . inet_service : verdict; elements = {{ {", ".join(elements)} }} }}
        chain services {{ {family} daddr . meta l4proto . th dport vmap @service-ips; }}
        chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
        chain nat-output {{ type nat hook output priority -100; jump services; }}
        chain nat-postrouting {{ type nat hook postrouting priority srcnat;
            meta mark and 0x4000 != 0 masquerade fully-random; }}
    }}
"""


@pytest.fixture()
def migrated():
    """A node without an agent, with two serving pods and a client; the Service and its slices are there."""
    cluster = harness.Cluster(nodes=1)
    try:
        node = cluster.node
        for name in ("a", "b"):
            node.pod(name).serve()
        node.pod("client")
        yield cluster, cluster.service("web"), node.pods[:2]
    finally:
        cluster.close()


def addresses_of(service):
    return {(6 if ":" in ip else 4): ip for ip in service["spec"]["clusterIPs"]}


BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")


def program(variant, family, action):
    return ("ip6tables" if family == 6 else "iptables") + variant[len("iptables"):] + action


def write_foreign(node, variant):
    if variant == "nftables":
        node.ns.run(["nft", "add table inet kube-proxy-of-mine"])
        return
    for family in (4, 6):
        text = FOREIGN if family == 4 else FOREIGN.replace("127.0.0.0/8", "::1/128")
        node.ns.run([program(variant, family, "-restore"), "--noflush"], input=text)


def write_rules(node, variant, addresses, targets_of, jumps=True):
    """As kube-proxy would at its start, or (without jumps) at its next sync."""
    for family, address in addresses.items():
        targets = targets_of(family)
        if variant == "nftables":
            name = "ip6" if family == 6 else "ip"
            text = f"add table {name} kube-proxy\ndelete table {name} kube-proxy\n" + nftables_rules(address, targets)
            node.ns.run(["nft", "-f", "-"], input=text)
            continue
        lines = iptables_rules(address, targets).splitlines()
        if not jumps:
            lines = [line for line in lines if not line.startswith(tuple(f"-A {chain} " for chain in BUILT_IN))]
        node.ns.run([program(variant, family, "-restore"), "--noflush"], input="\n".join(lines) + "\n")


def saved(node, variant):
    """Chains and rules of both families, without counters and comments."""
    if variant == "nftables":
        return node.ns.run(["nft", "list", "ruleset"]).stdout
    lines = []
    for family in (4, 6):
        for line in node.ns.run([program(variant, family, "-save")]).stdout.splitlines():
            if not line.startswith("#"):
                lines.append(line.split(" [")[0])
    return "\n".join(lines)


def skip_without(variant, node):
    if variant == "iptables-legacy" and node.ns.run(["iptables-legacy", "-t", "nat", "-S"], check=False).returncode:
        pytest.skip("this kernel has no tables of iptables-legacy")


def clean_kube_proxy(node, check=True):
    return node.ns.run([os.path.join(BIN, "sluice-agent"), "--cleanup-kube-proxy"], check=check)


class Connection:
    """A TCP connection from the client pod to the Service, outside of the node's cgroup: netfilter or tc carry it."""

    def __init__(self, pod, address, family):
        with pod.ns.entered():
            self.socket = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
        self.socket.settimeout(5)
        self.socket.connect((address, 80))
        self.file = self.socket.makefile("rwb")
        self.server = self.file.readline()

    def works(self):
        self.file.write(b"still there\n")
        self.file.flush()
        return self.file.readline() == b"still there\n"


def connections(node):
    """Of the Service's ports, as the agent's dataplane counts them."""
    listing = json.loads(node.sluice("service", "list", "-o", "json").stdout)
    return sum(s["connections"] for s in listing if s["name"].startswith("default/web"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_traffic_moves_while_requests_go_on(migrated, variant):
    cluster, service, pods = migrated
    node, client = cluster.node, cluster.node.pods[2]
    skip_without(variant, node)
    addresses = addresses_of(service)
    write_foreign(node, variant)
    others = saved(node, variant)

    def right(family):
        return [pod.address(family) for pod in pods]

    def dead(family):
        return ["fd00:10:244:1::dead"] if family == 6 else ["10.244.1.250"]

    write_rules(node, variant, addresses, right)
    with_rules = saved(node, variant)
    assert with_rules != others
    kept = []
    for family, address in addresses.items():
        assert node.load(address, 80, where=client, hooked=False, count=20)["ok"] == 20, "kube-proxy's rules work"
        assert node.load(address, 80, "--udp", where=client, hooked=False, count=20)["ok"] == 20
        kept.append(Connection(client, address, family))
    cluster.slices("web", pods)

    # During: new connections all the time, through the hooks and past them, while everything changes hands. Devices get
    # their programs one after the other, so a connection that begins in between may need its SYN sent again (1 s).
    running = [node.load_process(address, 80, where=client, hooked=hooked, seconds=12, pause_us=1000, timeout_ms=4000)
               for address in addresses.values() for hooked in (True, False)]
    node.start_agent()
    assert all(connection.works() for connection in kept), "what began through the rules goes on"
    metrics = node.ns.run(["curl", "-fsS", "http://127.0.0.1:10249/metrics"]).stdout
    eventually(lambda: f'sluice_kube_proxy_left{{mechanism="{variant}",ip_family="IPv6"}}' in
               node.ns.run(["curl", "-fsS", "http://127.0.0.1:10249/metrics"]).stdout, 10, f"a metric, not {metrics}")
    assert "--cleanup-kube-proxy" in node.log_tail()

    # A kube-proxy that still runs writes its rules anew, with other endpoints: nobody goes there.
    write_rules(node, variant, addresses, dead, jumps=False)
    before = connections(node)
    for address in addresses.values():
        for hooked in (True, False):
            assert node.load(address, 80, where=client, hooked=hooked, count=50)["ok"] == 50, (address, hooked)
            assert node.load(address, 80, "--udp", where=client, hooked=hooked, count=50)["ok"] == 50
        assert node.load(address, 80, where=node, count=50)["ok"] == 50, "a client on the node itself"
    assert connections(node) >= before + 500, "they are the dataplane's own"

    cleaned = clean_kube_proxy(node)
    assert "removed " + variant.replace("nftables", "nftables: table ip kube-proxy") in cleaned.stdout, cleaned.stdout
    assert saved(node, variant) == others, "exactly kube-proxy's rules are gone"
    # From here on what began through the rules may end: with its last user the kernel stops tracking connections.

    # It comes back to life, and cleans up after itself as it does: by the names of its chains.
    write_rules(node, variant, addresses, dead)
    for address in addresses.values():
        assert node.load(address, 80, where=client, hooked=False, count=50)["ok"] == 50
    clean_kube_proxy(node)
    assert saved(node, variant) == others
    for process in running:
        result = json.loads(process.communicate(timeout=60)[0])
        # The one that is being made in the very moment may have to be made again; seen about once in ten runs.
        assert result["failed"] <= 1 and result["ok"] > 100, result


def test_where_there_is_nothing_cleaning_up_is_harmless(migrated):
    node = migrated[0].node
    before = node.ns.run(["nft", "list", "ruleset"]).stdout
    cleaned = clean_kube_proxy(node)
    assert cleaned.stdout == "nothing of kube-proxy to remove\n"
    assert node.ns.run(["nft", "list", "ruleset"]).stdout == before


def test_a_chain_that_others_use_stays_and_is_named(migrated):
    cluster, service, pods = migrated
    node = cluster.node
    write_foreign(node, "iptables-nft")
    write_rules(node, "iptables-nft", addresses_of(service), lambda family: [pod.address(family) for pod in pods])
    node.ns.run(["iptables-nft", "-t", "nat", "-A", "CNI-HOSTPORT", "-p", "tcp", "-j", "KUBE-MARK-MASQ"])
    cleaned = clean_kube_proxy(node, check=False)
    assert cleaned.returncode == 1
    assert "CNI-HOSTPORT" in cleaned.stderr and "KUBE-MARK-MASQ" in cleaned.stderr, cleaned.stderr
    left = node.ns.run(["iptables-nft-save", "-t", "nat"]).stdout
    for chain in ("CNI-HOSTPORT", "KUBE-MARK-MASQ", "KUBE-POSTROUTING"):
        assert f":{chain} " in left, left
    assert "KUBE-SERVICES -" not in left and "KUBE-SVC" not in left, left
    assert ":KUBE-SERVICES" not in node.ns.run(["ip6tables-nft-save", "-t", "nat"]).stdout, "the other family is clean"
