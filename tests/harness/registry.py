"""Debian's docker-registry on an address of a test, filled with the images of scripts/images, so that pulls need no
Internet. It is unpacked into the build folder rather than installed: the package would start a service."""

import contextlib
import crypt
import glob
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import tarfile
import tempfile

from . import netns
from .cluster import BUILD, eventually

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def binary():
    found = shutil.which("docker-registry")
    if found:
        return found
    folder = os.path.join(BUILD, "docker-registry")
    path = os.path.join(folder, "usr", "bin", "docker-registry")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        download = ["apt-get", "download", "docker-registry"]
        if subprocess.run(download, cwd=folder, capture_output=True).returncode != 0:
            subprocess.run(["apt-get", "update"], check=True, capture_output=True)
            subprocess.run(download, cwd=folder, check=True, capture_output=True)
        subprocess.run(["dpkg", "-x", glob.glob(f"{folder}/docker-registry_*.deb")[0], folder], check=True)
    return path


class Registry:
    """A registry in `namespace` at address:port; with `user` and `password` nobody else may pull."""

    def __init__(self, namespace, address="127.0.0.1", port=5000, user=None, password=None):
        self.namespace, self.address, self.port = namespace, address, port
        self.user, self.password = user, password
        self.name = f"{address}:{port}"
        self.directory = tempfile.mkdtemp(prefix="sluice-registry-")
        config = {"version": 0.1, "log": {"level": "error"}, "http": {"addr": self.name},
                  "storage": {"filesystem": {"rootdirectory": f"{self.directory}/data"}}}
        if user:
            with open(f"{self.directory}/htpasswd", "w") as out:
                out.write(f"{user}:{crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": f"{self.directory}/htpasswd"}}
        # JSON is YAML.
        with open(f"{self.directory}/config.yml", "w") as out:
            json.dump(config, out)
        self._log = open(f"{self.directory}/log", "w")
        self._process = namespace.popen([binary(), "serve", f"{self.directory}/config.yml"],
                                        stdout=self._log, stderr=self._log)
        eventually(lambda: self._request("GET", "/v2/")[0] == 200, 20, f"registry {self.name}")

    def _request(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if self.user:
            import base64
            secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {secret}"
        with contextlib.ExitStack() as stack:
            if self.namespace:
                stack.enter_context(self.namespace.entered())
            connection = http.client.HTTPConnection(self.address, self.port, timeout=20)
            connection.connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def push(self, archive, name, tag):
        """An OCI archive of scripts/images as NAME:TAG; returns the reference to pull it by."""
        with tarfile.open(archive) as files:
            def read(path):
                return files.extractfile(path).read()
            digest = json.loads(read("index.json"))["manifests"][0]["digest"]
            manifest = read(f"blobs/{digest.replace(':', '/')}")
            document = json.loads(manifest)
            for blob in [document["config"], *document["layers"]]:
                self._push_blob(name, read(f"blobs/{blob['digest'].replace(':', '/')}"))
        status, _, answer = self._request("PUT", f"/v2/{name}/manifests/{tag}", manifest,
                                          {"Content-Type": document.get("mediaType", MANIFEST)})
        assert status == 201, (status, answer)
        return f"{self.name}/{name}:{tag}"

    def _push_blob(self, name, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        status, headers, answer = self._request("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202, (status, answer)
        location = headers["Location"].split(self.name, 1)[-1]
        joint = "&" if "?" in location else "?"
        status, _, answer = self._request("PUT", f"{location}{joint}digest={digest}", data,
                                          {"Content-Type": "application/octet-stream"})
        assert status == 201, (status, answer)

    def trust(self, folder):
        """hosts.toml in containerd's folder of registries: this one is spoken to over plain HTTP."""
        os.makedirs(f"{folder}/{self.name}", exist_ok=True)
        with open(f"{folder}/{self.name}/hosts.toml", "w") as out:
            out.write(f'server = "http://{self.name}"\n[host."http://{self.name}"]\n'
                      'capabilities = ["pull", "resolve"]\n')

    def close(self):
        netns.stop(self._process)
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
