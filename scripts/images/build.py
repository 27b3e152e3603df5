#!/usr/bin/env python3
"""Builds the container images that tests and examples use, from what Debian installed here, without a registry.

Each is an OCI archive OUT/NAME-TAG.tar that `ctr -n k8s.io images import` takes as localhost/NAME:TAG. The same
packages give the same bytes: names are sorted, times and owners fixed, and nothing of this machine goes in.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
REGISTRY = "localhost"
# OCI's names of architectures, which are Go's.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "PATH=/bin:/usr/local/bin"
MAX_LIBRARIES = 64
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Failure(Exception):
    """Says what is missing and what to do; shown without a trace."""


class Tree:
    """The files of an image: path -> how the entry is made. Parents come by themselves."""

    def __init__(self):
        self._entries = {}

    def _parents(self, path):
        parent = os.path.dirname(path)
        if parent and parent not in self._entries:
            self.folder(parent)

    def folder(self, path, mode=0o755):
        self._parents(path)
        self._entries[path] = (tarfile.DIRTYPE, mode, b"", "")

    def file(self, path, data, mode=0o644):
        self._parents(path)
        self._entries[path] = (tarfile.REGTYPE, mode, data, "")

    def link(self, path, target):
        self._parents(path)
        self._entries[path] = (tarfile.SYMTYPE, 0o777, b"", target)

    def tar(self):
        return pack((path, *entry) for path, entry in self._entries.items())


def pack(entries):
    """A tar of (path, type, mode, data, target), sorted, owned by root, from the beginning of time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, kind, mode, data, target in sorted(entries):
            info = tarfile.TarInfo(path)
            info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read(path):
    with open(path, "rb") as source:
        return source.read()


def tool(*argv):
    try:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise Failure(f"{argv[0]} is missing; scripts/setup installs it") from None
    except subprocess.CalledProcessError as error:
        raise Failure(f"{' '.join(argv)}: {error.stderr.strip()}") from None


def libraries(binary):
    """The shared objects that a program loads, its loader among them, as absolute paths."""
    found = set(re.findall(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)", tool("ldd", binary)))
    if len(found) > MAX_LIBRARIES:
        raise Failure(f"{binary} needs {len(found)} libraries; {MAX_LIBRARIES} are the limit")
    return sorted(found)


def add_busybox(tree):
    """Debian's dynamic busybox with its applets and libraries; the static one cannot resolve names."""
    binary = shutil.which("busybox")
    if binary is None:
        raise Failure("busybox is missing; scripts/setup installs it")
    tree.file("bin/busybox", read(binary), 0o755)
    for applet in tool(binary, "--list").split():
        if applet != "busybox":
            tree.link(f"bin/{applet}", "busybox")
    for library in libraries(binary):
        tree.file(library.lstrip("/"), read(library), 0o755)
    tree.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    tree.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    tree.file("etc/nsswitch.conf", b"hosts: files dns\n")
    tree.folder("tmp", 0o1777)
    for folder in ("root", "dev", "proc", "sys", "run", "var/run"):
        tree.folder(folder)


def busybox(_tag):
    tree = Tree()
    add_busybox(tree)
    return tree, {"Cmd": ["/bin/sh"], "Env": [PATH]}


def web(tag):
    tree = Tree()
    add_busybox(tree)
    tree.file("usr/local/bin/serve", read(os.path.join(HERE, "serve.sh")), 0o755)
    tree.file("www/index.html", f"hello from web:{tag}\n".encode())
    return tree, {"Entrypoint": ["/usr/local/bin/serve"], "Env": [PATH], "WorkingDir": "/www",
                  "ExposedPorts": {"8080/tcp": {}}, "StopSignal": "SIGTERM"}


def pause(_tag):
    with tempfile.TemporaryDirectory() as folder:
        binary = os.path.join(folder, "pause")
        # In its folder and without a build id, so that no path of this machine is in the bytes.
        shutil.copy(os.path.join(HERE, "pause.c"), folder)
        subprocess_in(folder, "gcc", "-static", "-Os", "-s", "-Wl,--build-id=none", "-o", "pause", "pause.c")
        data = read(binary)
    tree = Tree()
    tree.file("pause", data, 0o755)
    return tree, {"Entrypoint": ["/pause"], "User": "65535:65535", "Env": [PATH]}


def subprocess_in(folder, *argv):
    result = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Failure(f"{' '.join(argv)}: {result.stderr.strip()}")


IMAGES = {"busybox": busybox, "pause": pause, "web": web}
DEFAULT = ["pause:1", "busybox:1", "web:1", "web:2"]


def archive(name, tag):
    """The bytes of the OCI archive of one image."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise Failure(f"no name is known for the architecture {machine}")
    tree, config = IMAGES[name](tag)
    layer = tree.tar()
    blobs = {}

    def blob(data, media_type, **more):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}",
                "size": len(data), **more}

    def document(content):
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

    # Level 6 halves the size; mtime 0 keeps the hour of the build out of it.
    layers = [blob(gzip.compress(layer, 6, mtime=0), "layer.v1.tar+gzip")]
    configuration = blob(document({
        "architecture": ARCHITECTURES[machine], "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": f"scripts/images/build.py {name}"}],
    }), "config.v1+json")
    manifest = blob(document({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configuration, "layers": layers}), "manifest.v1+json",
        annotations={"io.containerd.image.name": f"{REGISTRY}/{name}:{tag}",
                     "org.opencontainers.image.ref.name": tag},
        platform={"architecture": ARCHITECTURES[machine], "os": "linux"})
    files = {"oci-layout": document({"imageLayoutVersion": "1.0.0"}),
             "index.json": document({"schemaVersion": 2, "manifests": [manifest]})}
    files.update({f"blobs/sha256/{digest}": data for digest, data in blobs.items()})
    return pack((path, tarfile.REGTYPE, 0o644, data, "") for path, data in files.items())


def write(path, data):
    """Replaced whole: who reads meanwhile sees the old archive or the new one. False: it was the same already."""
    try:
        if read(path) == data:
            return False
    except FileNotFoundError:
        pass
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as out:
        out.write(data)
    os.chmod(temporary, stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
    os.replace(temporary, path)
    return True


def parse(text):
    name, colon, tag = text.partition(":")
    tag = tag if colon else "1"
    if name not in IMAGES:
        raise argparse.ArgumentTypeError(f"no image {name}; there are {', '.join(sorted(IMAGES))}")
    if not TAG.fullmatch(tag):
        raise argparse.ArgumentTypeError(f"{tag!r} is no image tag")
    return name, tag


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT", help="folder for the archives; made if it is not there")
    parser.add_argument("images", metavar="NAME[:TAG]", nargs="*", type=parse,
                        help=f"what to build (default: {' '.join(DEFAULT)})")
    arguments = parser.parse_args()
    try:
        os.makedirs(arguments.out, exist_ok=True)
        for name, tag in arguments.images or map(parse, DEFAULT):
            path = os.path.join(arguments.out, f"{name}-{tag}.tar")
            data = archive(name, tag)
            new = write(path, data)
            print(f"{path} {len(data)} bytes{'' if new else ', unchanged'}")
    except (Failure, OSError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
