# Shared by the scripts: messages, paths, and the few checks they have in common. Sourced, not run.
# shellcheck shell=bash

SLUICE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
BUILD="${SLUICE_BUILD:-$SLUICE_ROOT/build}"
BIN="$BUILD/bin"
# Installed by the package, in share/sluice/scripts: nothing is built, and the programs are in bin/ beside share/.
INSTALLED=0
if [ ! -f "$SLUICE_ROOT/CMakeLists.txt" ] && [ -z "${SLUICE_BUILD:-}" ]; then
    INSTALLED=1
    BIN="$(realpath "$SLUICE_ROOT/../../bin")"
fi

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}
usage_error() {
    printf '%s: %s (see -h)\n' "$(basename "$0")" "$*" >&2
    exit 2
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root: run it with sudo"
}

# seconds_since START: with one decimal; START is a value of `date +%s%N`.
seconds_since() {
    local ms=$((($(date +%s%N) - $1) / 1000000))
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds; fails after SECONDS.
wait_for() {
    local until=$(($(date +%s%N) + $1 * 1000000000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s%N)" -lt "$until" ] || return 1
        sleep 0.02
    done
}

# The mount point of the cgroup2 hierarchy; empty if there is none.
cgroup2_root() { awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts; }
# Where pins go. Another BPF file system may be mounted elsewhere, for somebody else.
BPFFS="${SLUICE_BPFFS:-/sys/fs/bpf}"
bpffs_mounted() { awk -v at="$BPFFS" '$3 == "bpf" && $2 == at { found = 1 } END { exit !found }' /proc/mounts; }
