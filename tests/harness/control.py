"""sluice-control alone, with a file of tokens, asked by curl."""

import json
import os
import subprocess
import tempfile

from . import cluster as harness
from .cluster import BIN

TOKENS = """admintoken,root,root-uid,"system:masters"
devtoken,dev,dev-uid,"developers"
othernodetoken,system:node:n2,,"system:nodes"
nodetoken,system:node:n1,,"system:nodes"
evetoken,eve,eve-uid
montoken,prometheus,,"system:monitoring"
boottoken,system:bootstrap:abcdef,,"system:bootstrappers"
"""


class Server:
    """sluice-control alone, with a file of tokens; requests through curl, so that nothing of a client's is between."""

    def __init__(self, address, *more):
        self.address = address
        self.directory = tempfile.mkdtemp(prefix="sluice-authz-")
        tokens = os.path.join(self.directory, "tokens.csv")
        with open(tokens, "w") as out:
            out.write(TOKENS)
        self.data = os.path.join(self.directory, "data")
        self.log_path = os.path.join(self.directory, "log")
        self.command = [os.path.join(BIN, "sluice-control"), "--data-dir", self.data, "--listen", address,
                        "--token-auth-file", tokens, *more]
        self.kubeconfig = os.path.join(self.data, "admin.kubeconfig")
        self.start()

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

        def ready():
            if self.process.poll() is not None:
                with open(self.log_path) as log_file:
                    raise AssertionError("sluice-control exited:\n" + log_file.read()[-3000:])
            return self.call("GET", "/readyz", token=None)[0] == 200
        harness.eventually(ready, 20, "ready", 0.05)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0

    def call(self, method, path, token="admintoken", body=None, headers=(), kind="application/json"):
        """(status, parsed body or text)"""
        argv = ["curl", "-sk", "-X", method, "-w", "\n%{http_code}", f"https://{self.address}{path}"]
        if token:
            argv += ["-H", f"Authorization: Bearer {token}"]
        for header in headers:
            argv += ["-H", header]
        if body is not None:
            argv += ["-H", f"Content-Type: {kind}", "-d", body if isinstance(body, str) else json.dumps(body)]
        text, code = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.rsplit("\n", 1)
        try:
            return int(code), json.loads(text)
        except ValueError:
            return int(code), text

    def heads(self, method, path, token="admintoken"):
        """Header fields of the answer, their names in small letters."""
        argv = ["curl", "-sk", "-X", method, "-D", "-", "-o", os.devnull, f"https://{self.address}{path}"]
        if token:
            argv += ["-H", f"Authorization: Bearer {token}"]
        text = subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout
        pairs = [line.split(": ", 1) for line in text.splitlines() if ": " in line]
        return {name.lower(): value for name, value in pairs}

    def make(self, path, body, token="admintoken", status=201):
        code, answer = self.call("POST", path, token, body)
        assert code == status, answer
        return answer

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["rm", "-rf", self.directory], check=True)
