# Debian's containerd as this node's container runtime: its own root, state and socket, beside any other on the machine.
# Sourced after lib.sh. Containers' cgroups belong under CONTAINERD_CGROUP, so that containerd_stop knows its own.
# shellcheck shell=bash

CONTAINERD_RUN="${CONTAINERD_RUN:-/run/sluice/containerd}"       # socket, log, state, CNI configuration
CONTAINERD_DATA="${CONTAINERD_DATA:-/var/lib/sluice/containerd}" # images and snapshots
CONTAINERD_CGROUP="${CONTAINERD_CGROUP:-sluice}"                 # below the root of each hierarchy
CONTAINERD_CNI_DATA="${CONTAINERD_CNI_DATA:-/run/sluice/cni}"    # the addresses given to pods
CONTAINERD_SOCKET="$CONTAINERD_RUN/containerd.sock"
CONTAINERD_CNI_CONF="$CONTAINERD_RUN/cni"
CONTAINERD_CNI_BIN="$CONTAINERD_RUN/cni-bin"
CONTAINERD_CNI_NAME=sluice
# Where the library of CNI, inside containerd, keeps what plugins answered; it has no setting for it.
CONTAINERD_CNI_CACHE=/var/lib/cni
# The longest path that a unix socket may have, less what shims append below the state folder.
CONTAINERD_MAX_PATH=80
CONTAINERD_STATE_SIZE=256m # of the tmpfs for what lives only as long as containers do; one needs about 30 kB
# Hosts whose images come over plain HTTP or from elsewhere: NAME/hosts.toml, read for every pull.
CONTAINERD_REGISTRIES="$CONTAINERD_RUN/registries"

# containerd_ctr ARGS...: ctr on this containerd, in the namespace that CRI uses.
containerd_ctr() { ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io "$@"; }

# containerd_pid: the process that containerd_start made, if it still runs.
containerd_pid() {
    local pid
    pid=$(cat "$CONTAINERD_RUN/pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = containerd ] && echo "$pid"
}

# containerd_ready: the CRI answers.
containerd_ready() {
    containerd_ctr plugins ls 2>/dev/null | awk '$2 == "cri" && $NF == "ok" { found = 1 } END { exit !found }'
}

# containerd_runtime: crun where it works, runc elsewhere; CONTAINERD_RUNTIME decides otherwise (docs/adr/0005).
containerd_runtime() {
    case "${CONTAINERD_RUNTIME:-}" in
        runc | crun) echo "$CONTAINERD_RUNTIME" ;;
        "")
            if command -v crun >/dev/null && [ -z "$(cgroup2_leftovers)" ]; then echo crun; else echo runc; fi
            ;;
        *) die "CONTAINERD_RUNTIME is runc or crun, not $CONTAINERD_RUNTIME" ;;
    esac
}

# cgroup2_leftovers: the controllers that a machine with cgroup v1 left on cgroup2. crun refuses such a machine.
cgroup2_leftovers() {
    awk '$3 == "cgroup" { found = 1 } END { exit !found }' /proc/mounts || return 0
    local root
    root=$(cgroup2_root)
    [ -z "$root" ] || cat "$root/cgroup.controllers"
}

# cgroup2_clear: gives these controllers v1 hierarchies, as systemd does, unless some cgroup2 group uses them. Such a
# mount is told by its source.
CGROUP_SOURCE=sluice-v1
cgroup2_clear() {
    local controller folder
    for controller in $(cgroup2_leftovers); do
        folder="/sys/fs/cgroup/$controller"
        mkdir -p "$folder" 2>/dev/null &&
            mount -t cgroup -o "$controller" "$CGROUP_SOURCE" "$folder" 2>/dev/null ||
            note "controller $controller stays on cgroup2; containers are run by runc"
    done
    # A group of this node's, which containerd_stop removes: another node that ends meanwhile finds the mount in use.
    while read -r folder; do
        mkdir -p "$folder/$CONTAINERD_CGROUP"
    done < <(awk -v source="$CGROUP_SOURCE" '$1 == source && $3 == "cgroup" { print $2 }' /proc/mounts)
}

# cgroup2_restore: takes the mounts of cgroup2_clear back once nobody has a group there.
cgroup2_restore() {
    local folder
    while read -r folder; do
        ! find "$folder" -mindepth 1 -maxdepth 1 -type d | grep -q . || continue
        umount "$folder" 2>/dev/null && { rmdir "$folder" 2>/dev/null || true; }
    done < <(awk -v source="$CGROUP_SOURCE" '$1 == source && $3 == "cgroup" { print $2 }' /proc/mounts)
    return 0
}

# containerd_config: the configuration, on standard output.
containerd_config() {
    local runtime
    runtime=$(containerd_runtime)
    cat <<EOT
version = 2
root = "$CONTAINERD_DATA/root"
state = "$CONTAINERD_RUN/state"
disabled_plugins = [
    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
address = "$CONTAINERD_SOCKET"

[plugins."io.containerd.internal.v1.opt"]
path = "$CONTAINERD_DATA/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
# Without CAP_SYS_RESOURCE a lower score than the runtime's own cannot be set, and no sandbox would start.
restrict_oom_score_adj = true
disable_apparmor = true
# Namespaces are then found and unmounted with the rest of the state.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$CONTAINERD_CNI_BIN"
conf_dir = "$CONTAINERD_CNI_CONF"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "$CONTAINERD_REGISTRIES"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "$runtime"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$runtime]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.$runtime.options]
BinaryName = "$runtime"
SystemdCgroup = false
EOT
}

# containerd_start: starts it in the caller's network namespace and waits for the CRI. Harmless when it runs.
containerd_start() {
    containerd_pid >/dev/null && containerd_ready && return 0
    command -v containerd >/dev/null || die "containerd is missing; scripts/setup installs it"
    command -v runc >/dev/null || command -v crun >/dev/null || die "crun is missing; scripts/setup installs it"
    [ ${#CONTAINERD_RUN} -le $CONTAINERD_MAX_PATH ] ||
        die "CONTAINERD_RUN is longer than $CONTAINERD_MAX_PATH characters: $CONTAINERD_RUN"
    [ -x "$BIN/sluice-cni" ] || die "$BIN/sluice-cni is missing; scripts/setup builds it"
    mkdir -p "$CONTAINERD_RUN/state" "$CONTAINERD_DATA" "$CONTAINERD_CNI_CONF" "$CONTAINERD_CNI_BIN" \
        "$CONTAINERD_REGISTRIES"
    # containerd wants a plugin for lo; the program knows by the type in its configuration which one it is to be.
    ln -sfn "$BIN/sluice-cni" "$CONTAINERD_CNI_BIN/sluice-cni"
    ln -sfn "$BIN/sluice-cni" "$CONTAINERD_CNI_BIN/loopback"
    chmod 700 "$CONTAINERD_RUN" "$CONTAINERD_DATA"
    if ! containerd_pid >/dev/null; then
        # Files that come and go with each container: on a disk they are a tenth of what a container costs.
        if [ "$(stat -f -c %T "$CONTAINERD_RUN/state")" != tmpfs ]; then
            mount -t tmpfs -o "mode=711,size=$CONTAINERD_STATE_SIZE" tmpfs "$CONTAINERD_RUN/state"
        fi
        [ "${CONTAINERD_RUNTIME:-}" = runc ] || ! command -v crun >/dev/null || cgroup2_clear
        containerd_config >"$CONTAINERD_RUN/config.toml"
        setsid containerd --config "$CONTAINERD_RUN/config.toml" >>"$CONTAINERD_RUN/log" 2>&1 </dev/null &
        echo $! >"$CONTAINERD_RUN/pid"
    fi
    wait_for 20 containerd_ready || {
        tail -n 5 "$CONTAINERD_RUN/log" >&2
        die "containerd is not ready; see $CONTAINERD_RUN/log"
    }
}

# containerd_network MTU CIDR...: the network of pods, read by containerd at once. MTU 0: the kernel's.
containerd_network() {
    local mtu=$1
    shift
    mkdir -p "$CONTAINERD_CNI_CONF"
    # Made whole under a name that containerd does not read.
    jq -n --arg name "$CONTAINERD_CNI_NAME" --arg data "$CONTAINERD_CNI_DATA" --argjson mtu "$mtu" '
        {cniVersion: "1.0.0", name: $name, plugins: [{type: "sluice-cni", dataDir: $data,
         podCIDRs: $ARGS.positional} + (if $mtu > 0 then {mtu: $mtu} else {} end)]}' --args "$@" \
        >"$CONTAINERD_CNI_CONF/.new" || die "cannot write the network configuration"
    mv "$CONTAINERD_CNI_CONF/.new" "$CONTAINERD_CNI_CONF/10-sluice.conflist"
}

# containerd_import ARCHIVE...: images from OCI archives; those that are there with the same content are passed over.
containerd_import() {
    local archive child children=()
    # Beside each other: an import waits for the disk most of the time.
    for archive in "$@"; do
        containerd_import_one "$archive" &
        children+=($!)
    done
    for child in "${children[@]}"; do wait "$child" || die "not all images could be imported"; done
}
containerd_import_one() {
    local name digest index
    index=$(tar -xOf "$1" index.json) || die "$1 is not an OCI archive"
    name=$(jq -r '.manifests[0].annotations["io.containerd.image.name"]' <<<"$index")
    digest=$(jq -r '.manifests[0].digest' <<<"$index")
    if ! containerd_ctr images ls "name==$name" | grep -F " $digest " >/dev/null; then
        containerd_ctr images import "$1" >/dev/null || die "cannot import $1"
    fi
}

# containerd_shims: the processes of containers' shims that belong to this containerd.
containerd_shims() {
    local folder
    for folder in /proc/[0-9]*; do
        { tr '\0' ' ' <"$folder/cmdline"; } 2>/dev/null |
            grep -E "containerd-shim.* -address $CONTAINERD_SOCKET( |\$)" >/dev/null &&
            basename "$folder"
    done
    return 0
}

# cgroup_remove PATH: kills what is in the cgroup of that path in any hierarchy, and removes it with those below.
cgroup_remove() {
    local mount folder pid
    while read -r mount; do
        [ -d "$mount/$1" ] || continue
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            while read -r folder; do
                while read -r pid; do
                    [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null || true
                done <"$folder/cgroup.procs"
            done < <(find "$mount/$1" -depth -type d)
            # A cgroup can be removed when the last of its processes is reaped.
            find "$mount/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [ -d "$mount/$1" ] || break
            sleep 0.1
        done
    done < <(awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts)
}

# containerd_stop [--keep-data]: no process, mount, cgroup, link, address or namespace of its containers is left.
# Call it in the network namespace of containerd_start. Works also when containerd was killed.
containerd_stop() {
    local id pid target cgroups="" shims
    [ -d "$CONTAINERD_RUN" ] || [ -d "$CONTAINERD_DATA" ] || return 0
    if containerd_pid >/dev/null && wait_for 5 containerd_ctr version; then
        for id in $(containerd_ctr containers ls -q); do
            target=$(containerd_ctr containers info "$id" | jq -r '.Spec.linux.cgroupsPath // empty' || true)
            cgroups="$cgroups $target"
            containerd_ctr tasks kill --all --signal SIGKILL "$id" >/dev/null 2>&1 || true
            containerd_ctr tasks delete --force "$id" >/dev/null 2>&1 || true
            containerd_ctr containers delete "$id" >/dev/null 2>&1 || true
        done
    fi
    if pid=$(containerd_pid); then
        kill -TERM "$pid"
        wait_for 10 eval "! [ -d /proc/$pid ]" || kill -KILL "$pid" 2>/dev/null || true
    fi
    # What a killed containerd left: the containers of each shim are its children.
    shims=$(containerd_shims)
    for pid in $shims; do
        for target in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
            kill -KILL "$target" 2>/dev/null || true
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    for target in $cgroups "$CONTAINERD_CGROUP"; do
        # Only paths of our own containers, never a hierarchy's root.
        case "$target" in */../* | ../* | */.. | / | "") ;; *) cgroup_remove "${target#/}" ;; esac
    done
    for target in $(awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts); do
        [ ! -d "$target/k8s.io" ] || rmdir "$target/k8s.io" 2>/dev/null || true
    done
    # The answers kept for sandboxes that were never told to stop: those whose namespace was under our state folder.
    for target in "$CONTAINERD_CNI_CACHE"/results/*; do
        ! grep -sqF "\"sandbox\":\"$CONTAINERD_RUN/" "$target" || rm -f "$target"
    done
    rmdir "$CONTAINERD_CNI_CACHE/results" "$CONTAINERD_CNI_CACHE" 2>/dev/null || true
    # All attachments of the network, also those whose containers vanished without a word.
    if [ -x "$BIN/sluice-cni" ] && [ -d "$CONTAINERD_CNI_DATA/$CONTAINERD_CNI_NAME" ]; then
        jq -n --arg name "$CONTAINERD_CNI_NAME" --arg data "$CONTAINERD_CNI_DATA" '{cniVersion: "1.1.0",
            name: $name, type: "sluice-cni", dataDir: $data, "cni.dev/valid-attachments": []}' |
            CNI_COMMAND=GC "$BIN/sluice-cni" || note "addresses in $CONTAINERD_CNI_DATA could not be released"
    fi
    # Innermost first. A container's end may take a moment to let go of its root.
    for _ in 1 2 3 4 5; do
        for target in $(awk '{ print $2 }' /proc/mounts | tac); do
            case "$target" in
                "$CONTAINERD_RUN"/* | "$CONTAINERD_DATA"/*) umount "$target" 2>/dev/null || umount -l "$target" ;;
            esac
        done
        awk '{ print $2 }' /proc/mounts |
            grep -E "^($CONTAINERD_RUN|$CONTAINERD_DATA)/" >/dev/null || break
        sleep 0.1
    done
    cgroup2_restore
    rm -rf "${CONTAINERD_CNI_DATA:?}/$CONTAINERD_CNI_NAME" "$CONTAINERD_RUN"
    rmdir "$CONTAINERD_CNI_DATA" 2>/dev/null || true
    [ "${1:-}" = --keep-data ] || rm -rf "$CONTAINERD_DATA"
}
