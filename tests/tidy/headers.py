"""Compiles every header of ours alone: each must stand without what its includer happened to include first.

usage: headers.py SOURCE_ROOT BUILD_ROOT. Takes two jobs; prints one line a failure and `N passed, N failed`.
"""

import concurrent.futures
import os
import subprocess
import sys

import tidy

CXX_FLAGS = ["-std=c++20", "-fsyntax-only", "-x", "c++", "-Wall", "-Wextra", "-w"]


def compile_header(root, build, path):
    include = ["-I", root, "-isystem", os.path.join(build, "gen")]
    result = subprocess.run(["g++", *CXX_FLAGS, *include, "-include", "cstddef", os.devnull,
                             "-include", os.path.join(root, path)], capture_output=True, text=True)
    return path, result.returncode, result.stderr


def main():
    root, build = sys.argv[1:]
    headers = [p for p in tidy.tracked_files(root)
               if p.endswith(".h") and p.split("/")[0] in tidy.LAYERS and
               # The packet code is C for the BPF target; its includers there are its check.
               not p.startswith("bpf/progs/")]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, code, text in pool.map(lambda p: compile_header(root, build, p), headers):
            if code != 0:
                failed += 1
                print(f"{path}: does not stand alone\n{text[:1500]}")
    print(f"{len(headers) - failed} passed, {failed} failed")
    return 1 if failed or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
