"""Checks the tree against ARCHITECTURE.md: layers, who may include what, lengths, leftover markers, dead files.

Prints one line a finding, `path:line: what`, and `N passed, N failed` over the checks; exits 1 on any finding.
"""

import os
import re
import subprocess
import sys

# A folder and the project folders whose headers it may include, besides its own.
LAYERS = {
    "api": [],
    "bpf": ["api/abi"],
    "dataplane": ["api", "bpf/lib", "bpf/progs"],
    "agent": ["api", "dataplane"],
    "control": ["api"],
    "bench": ["api", "bpf", "dataplane", "agent", "control", "tests"],
    "tests": ["api", "bpf", "dataplane", "agent", "control", "bench"],
}
TOP_LEVEL = {"CMakeLists.txt", "dataplane", "bpf", "agent", "control", "api", "scripts", "bench",
             "tests", "README.md", "ARCHITECTURE.md", "LICENSE", "CMakePresets.json", "docs"}
# Third-party headers that only .cc files and private headers (x_internal.h, x_private.h) include.
ADAPTED = re.compile(r'#\s*include\s*[<"](boost/|openssl/|bpf/(?:lib)?bpf\.h|netlink/|yaml-cpp/|sqlite3|'
                     r'grpc|rte_|nghttp2/|spdlog/)')
MARKERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bnot (?:yet )?implemented\b|\bfor now\b", re.I)
MAX_LINES = 800
MAX_COLUMNS = 120
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
CODE = (".cc", ".h", ".c", ".proto", ".py", ".cmake", ".sh")


def tracked_files(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True)
    if listed.returncode == 0:
        return [f for f in listed.stdout.splitlines() if os.path.isfile(os.path.join(root, f))]
    found = []
    for folder, _, names in os.walk(root):
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return found


def check_top_level(files, read):
    for path in files:
        top = path.split("/")[0]
        if top not in TOP_LEVEL and not top.startswith("."):
            yield path, 1, f"{top} does not belong at the top level"


def check_layers(files, read):
    for path in files:
        top = path.split("/")[0]
        if top not in LAYERS or not path.endswith((".cc", ".h", ".c")):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            owner = target.split("/")[0]
            if owner not in LAYERS or owner == top:
                continue
            if not any(target.startswith(allowed + "/") for allowed in LAYERS[top]):
                yield path, number, f"{top}/ may not include {target}"


def check_adapters(files, read):
    for path in files:
        if not path.endswith(".h") or path.split("/")[0] in ("tests", "bench", "bpf"):
            continue
        if re.search(r"(_internal|_private|test_\w+)\.h$", path):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if ADAPTED.match(line):
                yield path, number, "a third-party header in a public header"


def check_lengths(files, read):
    for path in files:
        if not path.endswith(CODE):
            continue
        lines = read(path).splitlines()
        if len(lines) > MAX_LINES and not path.endswith(".proto"):
            yield path, len(lines), f"longer than {MAX_LINES} lines"
        for number, line in enumerate(lines, 1):
            # Tests hold documents as one line, as a client sends them.
            if path.endswith(("_test.cc", "_bench.cc")) and '"' in line:
                continue
            if len(line.expandtabs(8)) > MAX_COLUMNS:
                yield path, number, f"wider than {MAX_COLUMNS} columns"


def check_markers(files, read):
    for path in files:
        if not path.endswith(CODE) or path.startswith("tests/tidy/"):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if MARKERS.search(line):
                yield path, number, "a leftover marker"


def check_headers(files, read):
    for path in files:
        if not path.endswith(".h"):
            continue
        text = read(path)
        if "#pragma once" not in text and "#ifndef SLUICE_" not in text:
            yield path, 1, "no include guard"
        if not text.lstrip().startswith(("//", "/*")):
            yield path, 1, "does not open with its purpose"


def check_dead_files(files, read):
    """Every source is named in a CMakeLists.txt; every header of ours is included somewhere."""
    builds = {path: read(path) for path in files if path.endswith("CMakeLists.txt")}
    included = set()
    for path in files:
        if path.endswith((".cc", ".h", ".c", ".py", ".S")):
            included.update(re.findall(r'#\s*include\s*"([^"]+)"', read(path)))
    for path in files:
        folder, name = os.path.split(path)
        if path.endswith((".cc", ".bpf.c")):
            while True:
                text = builds.get(os.path.join(folder, "CMakeLists.txt"), "")
                if re.search(r"(?<![\w.])" + re.escape(os.path.relpath(path, folder)), text):
                    break
                if not folder:
                    yield path, 1, "no CMakeLists.txt names it"
                    break
                folder = os.path.dirname(folder)
        elif path.endswith(".h") and path.split("/")[0] in LAYERS:
            if path not in included and os.path.basename(path) not in included:
                yield path, 1, "nothing includes it"


def check_module_readmes(files, read):
    """Each folder of code below a layer says what it is."""
    for top in ("api", "bpf", "dataplane", "agent", "control"):
        folders = {os.path.dirname(p) for p in files if p.startswith(top + "/") and p.endswith(".cc")}
        for folder in sorted(folders):
            parts = folder.split("/")
            if not any(os.path.join(*parts[:n], "README.md") in files
                       for n in range(2, len(parts) + 1)) and f"{top}/README.md" not in files:
                yield folder, 1, "no README.md here or above"


def check_local_paths(files, read):
    """Nothing of one machine is in the repository."""
    pattern = re.compile(r"/work/(main|shared)|/root/\.|/tmp/bash_jobs")
    for path in files:
        if not path.endswith(CODE + (".md", ".json", ".txt", ".yaml")) or path.startswith("tests/tidy/"):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if pattern.search(line):
                yield path, number, "a path of one machine"


def check_named_tests(files, read):
    """Tests that docs/conformance.md names, `file::test` or `file::Suite.Case`, exist."""
    path = "docs/conformance.md"
    for number, line in enumerate(read(path).splitlines() if path in files else [], 1):
        for file, name in re.findall(r"`([\w/]+\.(?:py|cc))::([\w.]+)`", line):
            suite, _, case = name.partition(".")
            wanted = (rf"^def {name}\(" if file.endswith(".py") else
                      rf"^(?:TEST|TEST_F|TEST_P)\({suite},\s*{case}\)")
            if file not in files or not re.search(wanted, read(file), re.M):
                yield path, number, f"there is no test {file}::{name}"


CHECKS = [check_named_tests, check_top_level, check_layers, check_adapters, check_lengths, check_markers, check_headers,
          check_dead_files, check_module_readmes, check_local_paths]


def run_checks(files, read):
    """{check's name: [findings]}"""
    return {check.__name__: sorted(check(files, read)) for check in CHECKS}


def main():
    root = sys.argv[1]
    cache = {}

    def read(path):
        if path not in cache:
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
                cache[path] = source.read()
        return cache[path]

    results = run_checks(tracked_files(root), read)
    for name, findings in results.items():
        for path, line, what in findings:
            print(f"{path}:{line}: {what} [{name}]")
    failed = sum(1 for findings in results.values() if findings)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
