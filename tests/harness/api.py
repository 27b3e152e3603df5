"""A small Kubernetes API client over one kept-alive connection, made inside a namespace."""

import base64
import http.client
import json
import os
import ssl

import yaml


class ApiError(Exception):
    def __init__(self, code, status):
        super().__init__(f"{code}: {status.get('message') if isinstance(status, dict) else status}")
        self.code = code
        self.status = status


class ApiClient:
    """Not thread-safe. `namespace` (netns.Namespace) is where its socket lives; None: this process's."""

    def __init__(self, kubeconfig, namespace=None, directory=None):
        with open(kubeconfig) as source:
            config = yaml.safe_load(source)
        cluster = config["clusters"][0]["cluster"]
        user = config["users"][0]["user"]
        self._host, self._port = _host_port(cluster["server"])
        self._namespace = namespace
        directory = directory or os.path.dirname(kubeconfig)
        paths = {}
        for name, data in (("ca", cluster["certificate-authority-data"]),
                           ("crt", user["client-certificate-data"]),
                           ("key", user["client-key-data"])):
            paths[name] = os.path.join(directory, f"test-client.{name}")
            with open(paths[name], "wb") as out:
                out.write(base64.b64decode(data))
        self._context = ssl.create_default_context(cafile=paths["ca"])
        self._context.load_cert_chain(paths["crt"], paths["key"])
        self._connection = None

    def raw(self, method, path, body=None, headers=None):
        """(status, headers, body bytes); reconnects once when a kept connection turns out to be closed."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        for attempt in (0, 1):
            try:
                if self._connection is None:
                    self.connect()
                self._connection.request(method, path, body=body, headers=headers)
                response = self._connection.getresponse()
                return response.status, response.headers, response.read()
            except (http.client.HTTPException, OSError):
                self.close()
                if attempt:
                    raise

    def request(self, method, path, body=None, headers=None):
        """The decoded answer; ApiError with the Status for 4xx and 5xx."""
        code, _, data = self.raw(method, path, body, headers)
        try:
            value = json.loads(data)
        except ValueError:
            value = data.decode(errors="replace")
        if code >= 400:
            raise ApiError(code, value)
        return value

    def get(self, path):
        return self.request("GET", path)

    def create(self, path, body):
        return self.request("POST", path, body)

    def put(self, path, body):
        return self.request("PUT", path, body)

    def delete(self, path):
        return self.request("DELETE", path)

    def merge(self, path, body):
        return self.request("PATCH", path, body,
                            {"Content-Type": "application/merge-patch+json"})

    def close(self):
        if self._connection:
            self._connection.close()
        self._connection = None

    def connect(self):
        """At once rather than with the first request."""
        self._connection = http.client.HTTPSConnection(self._host, self._port, timeout=30,
                                                       context=self._context)
        if self._namespace:
            with self._namespace.entered():
                self._connection.connect()
        else:
            self._connection.connect()


def _host_port(server):
    host, _, port = server.removeprefix("https://").rstrip("/").rpartition(":")
    return host.strip("[]"), int(port)
