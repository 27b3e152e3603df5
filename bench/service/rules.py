"""Rules in kube-proxy's shape, for the peers that run beside us: every Service with two endpoints.

iptables: one rule a Service in KUBE-SERVICES, a chain a Service with a random choice, a chain an endpoint
with DNAT. nftables: one verdict map from (address, protocol, port) to a chain a Service, as its nftables mode has.
The Service that is measured stands in the middle of the list.
"""


def service_ip(i):
    return f"10.96.{64 + i // 250}.{i % 250 + 1}"


def filler_endpoints(i):
    return [f"10.250.{i // 250}.{i % 250 + 1}", f"10.251.{i // 250}.{i % 250 + 1}"]


def services(count, measured):
    """(address, [endpoint addresses]); measured: (address, endpoints) of the one that is real."""
    listed = [(service_ip(i), filler_endpoints(i)) for i in range(count - 1)]
    listed.insert(len(listed) // 2, measured)
    return listed


def iptables_rules(listed, protocols=("tcp", "udp"), port=80, target_port=8080):
    """Input of iptables-restore for the table nat."""
    head, body = ["*nat", ":KUBE-SERVICES - [0:0]"], [
        "-A PREROUTING -j KUBE-SERVICES", "-A OUTPUT -j KUBE-SERVICES"]
    for i, (address, endpoints) in enumerate(listed):
        for protocol in protocols:
            chain = f"KUBE-SVC-{protocol}{i}"
            head.append(f":{chain} - [0:0]")
            body.append(f"-A KUBE-SERVICES -d {address}/32 -p {protocol} -m {protocol} "
                        f"--dport {port} -j {chain}")
            for e, endpoint in enumerate(endpoints):
                name = f"KUBE-SEP-{protocol}{i}x{e}"
                head.append(f":{name} - [0:0]")
                left = len(endpoints) - e
                choice = f"-m statistic --mode random --probability {1 / left:.8f} " if left > 1 else ""
                body.append(f"-A {chain} {choice}-j {name}")
                body.append(f"-A {name} -p {protocol} -m {protocol} "
                            f"-j DNAT --to-destination {endpoint}:{target_port}")
    return "\n".join(head + body + ["COMMIT", ""])


def nftables_rules(listed, protocols=("tcp", "udp"), port=80, target_port=8080):
    """Input of nft -f."""
    chains, elements = [], []
    for i, (address, endpoints) in enumerate(listed):
        for protocol in protocols:
            name = f"service-{protocol}{i}"
            cases = []
            for e, endpoint in enumerate(endpoints):
                chain = f"endpoint-{protocol}{i}x{e}"
                chains.append(f"chain {chain} {{ meta l4proto {protocol} dnat to "
                              f"{endpoint}:{target_port}; }}")
                cases.append(f"{e} : goto {chain}")
            chains.append(f"chain {name} {{ numgen random mod {len(endpoints)} vmap "
                          f"{{ {', '.join(cases)} }}; }}")
            elements.append(f"{address} . {protocol} . {port} : goto {name}")
    return "\n".join([
        "table ip kube-proxy {", *chains,
        "map service-ips { type ipv4_addr . inet_proto . inet_service : verdict",
        "elements = { " + ",\n".join(elements) + " } }",
        "chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }",
        "chain prerouting { type nat hook prerouting priority -100; jump services; }",
        "chain output { type nat hook output priority -100; jump services; }", "}", ""])


def nftables_change(position, endpoint, protocol="tcp", target_port=8080):
    """One endpoint of one Service replaced, as an incremental sync would."""
    chain = f"endpoint-{protocol}{position}x0"
    return (f"flush chain ip kube-proxy {chain}\n"
            f"add rule ip kube-proxy {chain} meta l4proto {protocol} dnat to "
            f"{endpoint}:{target_port}\n")


def iptables_change(position, endpoint, protocol="tcp", target_port=8080):
    """The same for iptables-restore --noflush."""
    chain = f"KUBE-SEP-{protocol}{position}x0"
    return (f"*nat\n:{chain} - [0:0]\n-A {chain} -p {protocol} -m {protocol} -j DNAT "
            f"--to-destination {endpoint}:{target_port}\nCOMMIT\n")
