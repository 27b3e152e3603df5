"""Kubernetes' official JavaScript client, @kubernetes/client-node, against a real node: client_node/suite.mjs."""

import os
import re
import shutil
import subprocess
import zlib

import pytest

from harness import cluster as harness

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "client_node")
FOLDER = os.path.join(harness.BUILD, "client-node")

SHELL = """
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: one
    image: localhost/busybox:1
    command: [sh, -c, "while :; do echo tick; sleep 0.1; done"]
  - {name: web, image: localhost/web:1}
"""


def cases():
    with open(os.path.join(HERE, "suite.mjs")) as source:
        return re.findall(r"^    async '([^']+)'\(\)", source.read(), re.M)


@pytest.fixture(scope="module")
def suite():
    """The suite beside its packages, which npm puts into the build folder."""
    missing = [program for program in ("node", "npm") if not shutil.which(program)]
    if missing:
        pytest.skip(f"this machine has no {' and no '.join(missing)}")
    os.makedirs(FOLDER, exist_ok=True)
    for name in ("package.json", "suite.mjs"):
        shutil.copy(os.path.join(HERE, name), FOLDER)
    if not os.path.exists(os.path.join(FOLDER, "node_modules", "@kubernetes", "client-node", "package.json")):
        subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"],
                       cwd=FOLDER, check=True, timeout=240)
    return os.path.join(FOLDER, "suite.mjs")


@pytest.fixture(scope="module")
def shell(real):
    """The namespace of a pod that is ready."""
    real.kubectl("create", "namespace", "client-node")
    real.apply(SHELL, "client-node")
    real.wait_ready("shell", namespace="client-node")
    return "client-node"


@pytest.mark.parametrize("case", cases())
def test_case(real, suite, case, request):
    namespace = f"t{zlib.crc32(case.encode())}"
    if "exec" in case:
        namespace = request.getfixturevalue("shell")
    else:
        real.kubectl("create", "namespace", namespace)
    done = real.node.run(["node", suite, case, namespace], check=False, timeout=60,
                         env={**os.environ, "KUBECONFIG": real.kubeconfig, "HOME": FOLDER})
    assert done.returncode == 0, done.stdout + done.stderr
