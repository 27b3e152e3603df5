"""Compiles every header of ours alone: each must stand without what its includer happened to include first.

usage: headers.py SOURCE_ROOT BUILD_ROOT. Takes two jobs; prints one line a failure and `N passed, N failed`.
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import tidy

CXX_FLAGS = ["-std=c++20", "-c", "-O0", "-w"]
# Libraries whose headers are not where every compiler looks.
PACKAGES = ["libnl-3.0", "libnl-route-3.0"]
# Headers that want a view of the tables defined before them, and those that define it natively.
_VIEW, _FLOWS = "bpf/lib/view_memory.h", "bpf/lib/flow_memory.h"
PRELUDES = {"bpf/lib/lookup.h": [_VIEW], "bpf/lib/select.h": [_VIEW], "bpf/lib/flow.h": [_VIEW, _FLOWS],
            "bpf/lib/flow_insert.h": [_VIEW, _FLOWS, "bpf/lib/flow.h"]}


def package_flags():
    """Include paths of PACKAGES."""
    return subprocess.run(["pkg-config", "--cflags", *PACKAGES], capture_output=True, text=True,
                          check=True).stdout.split()


def compile_header(root, build, scratch, flags, path):
    """A source that includes the header alone, through ccache where there is one: a repeat takes seconds."""
    name = path.replace("/", "_")
    source = os.path.join(scratch, name + ".cc")
    text = "".join(f'#include "{header}"\n' for header in [*PRELUDES.get(path, []), path])
    if not os.path.exists(source) or open(source).read() != text:
        with open(source, "w") as out:
            out.write(text)
    launcher = ["ccache"] if shutil.which("ccache") else []
    result = subprocess.run([*launcher, "g++", *CXX_FLAGS, *flags, "-I", root, "-isystem",
                             os.path.join(build, "gen"), source, "-o", source + ".o"],
                            capture_output=True, text=True, cwd=build)
    return path, result.returncode, result.stderr


def main():
    root, build = map(os.path.abspath, sys.argv[1:])
    headers = [p for p in tidy.tracked_files(root)
               if p.endswith(".h") and p.split("/")[0] in tidy.LAYERS and
               # The packet code is C for the BPF target; its includers there are its check.
               not p.startswith("bpf/progs/")]
    scratch = os.path.join(build, "headers")
    os.makedirs(scratch, exist_ok=True)
    flags = package_flags()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, code, text in pool.map(lambda p: compile_header(root, build, scratch, flags, p), headers):
            if code != 0:
                failed += 1
                print(f"{path}: does not stand alone\n{text[:1500]}")
    print(f"{len(headers) - failed} passed, {failed} failed")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
