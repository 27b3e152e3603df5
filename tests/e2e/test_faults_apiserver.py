"""The short form of scripts/faults-apiserver: API servers whose etcd fails, whose disk fails, and that are killed,
under load. What is checked is in tests/faults/history.py."""

import collections
import concurrent.futures
import os
import shutil
import time

import pytest

from faults import scenarios
from faults.history import Client

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces"),
              pytest.mark.skipif(shutil.which("etcd") is None, reason="the package etcd-server is not installed")]


@pytest.fixture(scope="module")
def cluster():
    with scenarios.ground() as made:
        scenarios.etcd_cluster(made)
        yield made


def service(name, **spec):
    return {"metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}], **spec}}


SERVICES = "/api/v1/namespaces/default/services"


def test_two_servers_never_give_one_address_or_port_twice(tmp_path_factory):
    """A range of 30 addresses and 60 ports: two servers that pick at random are bound to meet."""
    with scenarios.ground() as made:
        made.start_etcd(1)
        flags = ("--etcd-servers", made.endpoints(), "--service-cluster-ip-range", "10.96.0.0/27",
                 "--service-node-port-range", "30000-30059")
        a = made.add_server(*flags)
        b = made.add_server(*flags, like=a)

        # One after the other, as each writes its certificates into the same files.
        clients = [Client(server.kubeconfig, server.space) for server in (a, b) * 4]

        def create(number):
            client = clients[number]
            out = []
            for i in range(5):
                code, thing = client.once("POST", SERVICES, service(f"s{number}-{i}"))
                if code == 201:
                    out.append(thing)
                else:
                    assert code == 500 and "range" in thing["message"] and "full" in thing["message"], thing
            return out

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            made_services = [thing for out in pool.map(create, range(8)) for thing in out]
        addresses = collections.Counter(thing["spec"]["clusterIP"] for thing in made_services)
        ports = collections.Counter(thing["spec"]["ports"][0]["nodePort"] for thing in made_services)
        # All but the one of default/kubernetes.
        assert len(made_services) == 29 and set(addresses.values()) == {1} and set(ports.values()) == {1}
        # By name too: what one server gave, the other refuses, and gives once it is free.
        taken, ip = made_services[0]["metadata"]["name"], made_services[0]["spec"]["clusterIP"]
        on_b = Client(b.kubeconfig, b.space)
        code, said = on_b.once("POST", SERVICES, service("wants", clusterIP=ip))
        assert code == 422 and "provided IP is already allocated" in said["message"]
        Client(a.kubeconfig, a.space).delete(f"{SERVICES}/{taken}")
        code, said = on_b.once("POST", SERVICES, service("wants", clusterIP=ip))
        assert code == 201, said
        # A claim without its Service, and a Service without its claim, are put right at the next start.
        claims = "/registry/ranges/serviceips/"

        def ctl(*words):
            return made.members[0].space.run(["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={made.endpoints()}",
                                              *words]).stdout
        gone = made_services[1]
        ctl("del", claims + gone["spec"]["clusterIP"])
        ctl("del", "/registry/services/specs/default/" + made_services[2]["metadata"]["name"])
        ctl("put", claims + "10.96.0.77", "default/nobody")
        b.stop()
        b.start()
        held = ctl("get", "--prefix", claims, "--print-value-only").split()
        assert sorted(held) == sorted(f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in
                                      on_b.get("/api/v1/services")["items"])
        text = b.raw("/metrics").stdout
        # The address and the port of the Service that is gone, the claim made again, and the foreign one.
        assert "sluice_registry_repaired_claims_total 4\n" in text


def test_metrics_and_checks_of_etcd(cluster):
    server = cluster.servers[0]
    server.kubectl("create", "configmap", "counted", "-n", "default")
    text = server.raw("/metrics").stdout
    for line in ('etcd_requests_total{operation="create",type="configmaps"} ',
                 'etcd_request_duration_seconds_bucket{operation="create",type="configmaps",le="0.005"} ',
                 'etcd_request_duration_seconds_count{operation="count",type="*"} ',
                 'apiserver_storage_objects{resource="configmaps"} ',
                 'apiserver_storage_objects{resource="services"} 1\n',
                 'apiserver_storage_size_bytes{storage_cluster_id="etcd-0"} ',
                 "sluice_registry_overflowed_watches_total 0\n", "sluice_registry_refused_custom_kinds 0\n"):
        assert line in text, line
    verbose = server.raw("/readyz?verbose").stdout
    assert "[+]etcd ok\n[+]etcd-readiness ok\n" in verbose
    verbose = server.raw("/livez?verbose").stdout
    assert "[+]etcd ok\n" in verbose and "etcd-readiness" not in verbose


@pytest.mark.parametrize(
    "name", ["leader killed", "the servers' member cut off from the others", "all members killed"])
def test_etcd_fails(cluster, name):
    scenarios.run_on_cluster(name, cluster, scenarios.CLUSTER[name](1)).check()


def test_servers_killed_on_etcd(cluster):
    scenarios.kill_loop("kills", cluster, 3, pause_s=0.005, between_s=0.5, least=2).check()


def test_server_killed_on_the_embedded_store():
    row = scenarios.embedded_kills(3).check()
    assert row.faults >= 1


def test_disk_full():
    scenarios.disk_full(0.5).check()


def test_io_errors():
    scenarios.io_errors(0.5).check()


DEFINITION = {
    "metadata": {"name": "widgets.faults.example.com"},
    "spec": {"group": "faults.example.com", "scope": "Namespaced",
             "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
             "versions": [{"name": "v1", "served": True, "storage": True,
                           "schema": {"openAPIV3Schema": {"type": "object"}}}]}}


def test_a_server_whose_history_was_compacted_while_it_was_away_follows_again(cluster):
    """What it does by itself too: serving the definitions that others make, and emptying namespaces."""
    a, b = cluster.servers
    on_a, on_b = (Client(server.kubeconfig, server.space) for server in (a, b))
    a.cut(*cluster.members)
    deadline = time.monotonic() + 60
    while a.raw("/readyz/etcd", check=False).returncode == 0:
        assert time.monotonic() < deadline, "a server without etcd says that it is ready"
        time.sleep(0.2)
    on_b.create("/api/v1/namespaces", {"metadata": {"name": "doomed"}})
    for i in range(5):
        on_b.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"missed-{i}"}})
    newest = on_b.get("/api/v1/namespaces")["metadata"]["resourceVersion"]
    cluster.members[0].space.run(["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={cluster.endpoints()}", "compact",
                                  newest])
    a.mend()
    while "sluice_store_reloads_total 0\n" in a.raw("/metrics").stdout:
        assert time.monotonic() < deadline + 60, "the state was not read anew"
        time.sleep(0.2)
    on_b.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
    # From here on there is nobody but the first server to do it.
    b.kill()
    try:
        on_a.delete("/api/v1/namespaces/doomed")
        deadline = time.monotonic() + 60
        codes = None
        while codes != (200, 404):
            assert time.monotonic() < deadline, codes
            time.sleep(0.2)
            codes = (on_a.once("GET", "/apis/faults.example.com/v1/widgets")[0],
                     on_a.once("GET", "/api/v1/namespaces/doomed")[0])
    finally:
        b.start()
