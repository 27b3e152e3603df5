"""Compiles our headers alone: each must stand without what its includer happened to include first.

Those that their own source includes before anything else were compiled so by the build.

usage: headers.py SOURCE_ROOT BUILD_ROOT. Takes two jobs; prints one line a failure and `N passed, N failed`.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

import tidy

CXX_FLAGS = ["-std=c++20", "-c", "-O0", "-w", '-DSLUICE_BPF_DIR=""']
# Libraries whose headers are not where every compiler looks.
PACKAGES = ["libdpdk", "libnl-3.0", "libnl-route-3.0"]
# Headers that want the tables defined before them: those that define them natively, and what else they build on.
_TABLES = ["bpf/lib/view_memory.h", "bpf/lib/flow_memory.h"]
_AFFINITY = [*_TABLES, "bpf/lib/select.h", "bpf/lib/affinity_memory.h",
             "int sluice_view_open(struct sluice_view *);\n"]
# What an engine lends to the decisions (bpf/lib/decide.h).
_ENGINE = [*_TABLES, "bpf/lib/case.h", """typedef void *sluice_env;
__u32 sluice_env_random(void);
int sluice_env_stays(sluice_env, struct sluice_case *, const int);
int sluice_select_affine(const struct sluice_view *, const struct sluice_match *, const struct sluice_address *, __u32,
                         struct sluice_selection *);
void sluice_count_connection(const struct sluice_view *, __u32);
void sluice_note_opened(const struct sluice_view *, const struct sluice_case *);
int sluice_view_open(struct sluice_view *);
"""]
_DATAGRAMS = [*_TABLES, "bpf/lib/flow.h", """struct sluice_datagram_set;
struct sluice_datagram_set *sluice_datagrams_at(const struct sluice_flow_view *, __u32);
"""]
PRELUDES = {"bpf/lib/lookup.h": _TABLES[:1], "bpf/lib/select.h": _TABLES[:1], "bpf/lib/hook_path.h": _TABLES[:1],
            "bpf/lib/flow_insert.h": [*_TABLES, "bpf/lib/flow.h"],
            "bpf/lib/flow_move.h": [*_TABLES, "bpf/lib/flow.h"], "bpf/lib/flow_port.h": [*_TABLES, "bpf/lib/flow.h"],
            "bpf/lib/affinity.h": _AFFINITY, "bpf/lib/affinity_move.h": _AFFINITY,
            **{f"bpf/lib/{name}.h": _ENGINE for name in ("decide", "direct", "onward", "portless")},
            "bpf/lib/fragment.h": _DATAGRAMS,
            **{f"bpf/lib/{name}.h": _TABLES for name in ("flow", "case", "event", "glance", "icmp", "reply")}}


FIRST_INCLUDE = re.compile(r'^#include\s+[<"](.*?)[>"]', re.M)


def shown_by_its_source(root, path):
    """Whether the source of the same name begins with the header."""
    source = os.path.join(root, path[:-2] + ".cc")
    if not os.path.exists(source):
        return False
    with open(source) as text:
        first = FIRST_INCLUDE.search(text.read())
    return first is not None and first.group(1) == path


def package_flags():
    """Include paths of PACKAGES."""
    return subprocess.run(["pkg-config", "--cflags", *PACKAGES], capture_output=True, text=True,
                          check=True).stdout.split()


def compile_header(root, build, scratch, flags, path):
    """A source that includes the header alone, through ccache where there is one: a repeat takes seconds."""
    name = path.replace("/", "_")
    source = os.path.join(scratch, name + ".cc")
    parts = [*PRELUDES.get(path, []), path]
    text = "".join(f'#include "{part}"\n' if part.endswith(".h") else part for part in parts)
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
               not p.startswith("bpf/progs/") and not shown_by_its_source(root, p)]
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
