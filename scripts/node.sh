# One node on this machine: where its state is, and how its programs start and stop. Sourced by up and down.
# Several nodes on one kernel, each in a network namespace, differ by the variables below.
# shellcheck shell=bash

RUN="${SLUICE_RUN:-/run/sluice}"       # pid files, logs, sockets, what down has to undo
DATA="${SLUICE_DATA:-/var/lib/sluice}" # the control plane's objects, images, volumes
NODE_NAME="${SLUICE_NODE_NAME:-$(hostname | tr '[:upper:]' '[:lower:]')}"
CGROUP="${SLUICE_CGROUP:-sluice}"             # of all pods, below the root of each hierarchy
POD_LOGS="${SLUICE_POD_LOGS:-/var/log/pods}"  # where log collectors look
NODE_DATA="$DATA/node"                        # this node's kubeconfig and certificates, as `sluice join` writes them
KUBECONFIG_FILE="$DATA/control/admin.kubeconfig"
CLUSTER_CIDRS=10.244.0.0/16,fd00:10:244::/48
SERVICE_CIDRS=10.96.0.0/16,fd00:10:96::/112
DNS_SERVICE=10.96.0.10
DNS_SERVICE6=fd00:10:96::a
DNS_PORT=10053 # of the DNS server on the node's addresses; its Service has port 53
IMAGES="$BUILD/images"
[ "$INSTALLED" = 0 ] || IMAGES="$DATA/images"

# Read by containerd.sh.
# shellcheck disable=SC2034
CONTAINERD_RUN="$RUN/containerd" CONTAINERD_DATA="$DATA/containerd" CONTAINERD_CGROUP="$CGROUP"
# shellcheck disable=SC2034
CONTAINERD_CNI_DATA="$RUN/cni"
. "$SLUICE_ROOT/scripts/containerd.sh"

kube() { kubectl --kubeconfig "$KUBECONFIG_FILE" "$@"; }

# agent_cgroup: the cgroup2 folder whose processes the agent serves; with SLUICE_CGROUP that of this node alone.
agent_cgroup() {
    local root
    root=$(cgroup2_root)
    if [ -n "${SLUICE_CGROUP:-}" ]; then echo "$root/$CGROUP"; else echo "$root"; fi
}

# as_host COMMAND...: runs it where the agent's socket hooks see it, as a process of this node.
as_host() {
    [ -n "${SLUICE_CGROUP:-}" ] || { "$@"; return; }
    mkdir -p "$(agent_cgroup)/host"
    (echo "$BASHPID" >"$(agent_cgroup)/host/cgroup.procs" && exec "$@")
}

# pid_of NAME: the process that start_program NAME made, if it still runs that program.
pid_of() {
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$(cut -c1-15 <<<"$1")" ] && echo "$pid"
}

# start_program NAME ARGS...: build/bin/NAME in the background, its output in $RUN/NAME.log.
start_program() {
    local name=$1
    shift
    [ -x "$BIN/$name" ] || die "$BIN/$name is missing; scripts/setup builds it"
    setsid "$BIN/$name" "$@" >>"$RUN/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
}

# wait_program NAME SECONDS COMMAND...: until COMMAND succeeds; fails after SECONDS, and at once when NAME has ended.
wait_program() {
    local name=$1 until=$(($(date +%s%N) + $2 * 1000000000))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s%N)" -lt "$until" ] && pid_of "$name" >/dev/null || return 1
        sleep 0.05
    done
}

# program_failed NAME WHAT: ends with the program's last words.
program_failed() {
    tail -n 5 "$RUN/$1.log" >&2
    die "$2; see $RUN/$1.log"
}

# stop_program NAME: SIGTERM, SIGKILL after ten seconds.
stop_program() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill -TERM "$pid"
    wait_for 10 eval "! [ -d /proc/$pid ]" || kill -KILL "$pid" 2>/dev/null || true
    rm -f "$RUN/$1.pid"
}

# save_sysctl NAME: remembers the value, once, for restore_sysctls.
save_sysctl() {
    [ -e "/proc/sys/$1" ] || return 0
    grep -qs "^$1 " "$RUN/sysctls" || echo "$1 $(cat "/proc/sys/$1")" >>"$RUN/sysctls"
}
restore_sysctls() {
    [ -f "$RUN/sysctls" ] || return 0
    local name value
    while read -r name value; do
        [ ! -e "/proc/sys/$name" ] || echo "$value" >"/proc/sys/$name"
    done <"$RUN/sysctls"
}

# node_addresses: sets NODE_ADDRESS and NODE_ADDRESS6 (may be empty): SLUICE_NODE_IP, or the sources that the kernel
# would choose for the default routes.
node_addresses() {
    local address
    NODE_ADDRESS="" NODE_ADDRESS6=""
    if [ -n "${SLUICE_NODE_IP:-}" ]; then
        for address in ${SLUICE_NODE_IP//,/ }; do
            case "$address" in *:*) NODE_ADDRESS6=$address ;; *) NODE_ADDRESS=$address ;; esac
        done
    else
        NODE_ADDRESS=$(source_towards -4 198.51.100.1)
        NODE_ADDRESS6=$(source_towards -6 2001:db8::1)
        [ -n "$NODE_ADDRESS" ] || NODE_ADDRESS=$(hostname -I | tr ' ' '\n' | grep -m1 '\.' || true)
    fi
    [ -n "$NODE_ADDRESS" ] || die "this machine has no IPv4 address but loopback; the node needs one"
}
source_towards() { ip "$1" route get "$2" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p' || true; }

# prepare_node: folders, file systems, and what of the machine will be put back.
prepare_node() {
    mkdir -p "$RUN" "$DATA"
    chmod 700 "$DATA"
    # What the agent changes so that this machine forwards; down puts it back.
    local name path
    for name in net/ipv4/ip_forward net/ipv6/conf/all/forwarding; do save_sysctl $name; done
    for path in /proc/sys/net/ipv6/conf/*/accept_ra; do save_sysctl "${path#/proc/sys/}"; done
    if ! bpffs_mounted; then
        mkdir -p "$BPFFS"
        mount -t bpf bpf "$BPFFS"
        touch "$RUN/mounted-bpffs"
    fi
    if [ -z "$(cgroup2_root)" ]; then
        mkdir -p "$RUN/cgroup2"
        mount -t cgroup2 cgroup2 "$RUN/cgroup2"
    fi
    mkdir -p "$(agent_cgroup)"
    [ -d "$POD_LOGS" ] || { mkdir -p "$POD_LOGS" && touch "$RUN/made-pod-logs"; }
}

# start_runtime: containerd with the images that examples and tests use.
start_runtime() {
    local image missing=0
    containerd_start
    for image in pause-1 busybox-1 web-1 web-2; do
        [ "$IMAGES/$image.tar" -nt "$SLUICE_ROOT/scripts/images/build.py" ] || missing=1
    done
    if [ $missing = 1 ]; then
        "$SLUICE_ROOT/scripts/images/build.py" "$IMAGES" >/dev/null || die "the images could not be built"
        touch "$IMAGES"/*.tar
    fi
    containerd_import "$IMAGES"/*.tar
}

# start_kubelet and start_agent NODE_DATA: with the node's credentials of that folder.
start_kubelet() {
    if pid_of sluice-kubelet >/dev/null; then
        say "kubelet is running"
        return
    fi
    say "starting the kubelet"
    # shellcheck disable=SC2086
    start_program sluice-kubelet --kubeconfig "$1/kubelet.kubeconfig" --hostname-override "$NODE_NAME" \
        --node-ip "$NODE_ADDRESS${NODE_ADDRESS6:+,$NODE_ADDRESS6}" --address "$NODE_ADDRESS" \
        --container-runtime-endpoint "unix://$CONTAINERD_SOCKET" --root-dir "$DATA/kubelet" \
        --pod-logs-dir "$POD_LOGS" --cgroup-root "/$CGROUP" --cluster-dns "$DNS_SERVICE" \
        --cluster-domain cluster.local --tls-cert-file "$1/kubelet-serving.crt" \
        --tls-private-key-file "$1/kubelet-serving.key" --client-ca-file "$1/ca.crt" ${SLUICE_KUBELET_ARGS:-}
}
start_agent() {
    if pid_of sluice-agent >/dev/null; then
        say "agent is running"
        return
    fi
    say "starting the agent"
    # shellcheck disable=SC2086
    start_program sluice-agent --kubeconfig "$1/kubelet.kubeconfig" --node-name "$NODE_NAME" \
        --cgroup-root "$(agent_cgroup)" --bpffs "$BPFFS" --cluster-cidr "$CLUSTER_CIDRS" \
        --service-cluster-ip-range "$SERVICE_CIDRS" --cni-conf-dir "$CONTAINERD_CNI_CONF" \
        --cni-data-dir "$CONTAINERD_CNI_DATA" --route-pods --masquerade-pods "$CLUSTER_CIDRS" \
        "${devices[@]}" ${SLUICE_AGENT_ARGS:-}
}

# wait_node NODE_DATA: until the API says that the node is ready and the agent is healthy.
wait_node() {
    wait_program sluice-kubelet 20 curl -fsS http://127.0.0.1:10248/healthz ||
        program_failed sluice-kubelet "the kubelet is not healthy"
    wait_program sluice-agent 20 curl -fsS http://127.0.0.1:10256/healthz ||
        program_failed sluice-agent "the agent is not healthy"
    wait_program sluice-kubelet 20 kubectl --kubeconfig "$1/kubelet.kubeconfig" get node "$NODE_NAME" ||
        program_failed sluice-kubelet "node $NODE_NAME is not registered"
    kubectl --kubeconfig "$1/kubelet.kubeconfig" wait --for=condition=Ready "node/$NODE_NAME" \
        --timeout=30s >/dev/null || program_failed sluice-kubelet "node $NODE_NAME is not ready"
}

# remove_volumes: what the kubelet mounted and wrote for pods, and their logs.
remove_volumes() {
    local pod target
    for target in $(awk '{ print $2 }' /proc/mounts | tac); do
        case "$target" in "$DATA/kubelet"/*) umount "$target" 2>/dev/null || umount -l "$target" ;; esac
    done
    for pod in "$DATA/kubelet/pods"/*; do
        [ ! -d "$pod" ] || rm -rf "$POD_LOGS"/*_"${pod##*/}"
    done
    rm -rf "$DATA/kubelet"
    [ ! -f "$RUN/made-pod-logs" ] || rm -rf "$POD_LOGS"
}

# node_credentials SERVER: of the node that has the control plane, signed by the authority on its disk; as those that
# `sluice join` gets for other nodes. Made anew when they are about to end or an address is not among them.
node_credentials() {
    local pki="$DATA/control/pki" crt="$NODE_DATA/kubelet-serving.crt" names address
    mkdir -p "$NODE_DATA"
    chmod 700 "$NODE_DATA"
    cp "$pki/ca.crt" "$NODE_DATA/ca.crt"
    "$BIN/sluice-control" --data-dir "$DATA/control" kubeconfig --user "system:node:$NODE_NAME" \
        --group system:nodes --server "https://$1" |
        install -m 600 /dev/stdin "$NODE_DATA/.kubeconfig" ||
        die "the kubelet's kubeconfig could not be made"
    mv "$NODE_DATA/.kubeconfig" "$NODE_DATA/kubelet.kubeconfig"
    names="DNS:$NODE_NAME"
    local valid=1
    openssl x509 -in "$crt" -noout -checkend 2592000 >/dev/null 2>&1 || valid=0
    for address in $NODE_ADDRESS $NODE_ADDRESS6; do
        names="$names,IP:$address"
        openssl x509 -in "$crt" -noout -checkip "$address" 2>/dev/null | grep -q ' does match' || valid=0
    done
    openssl verify -CAfile "$pki/ca.crt" "$crt" >/dev/null 2>&1 || valid=0
    [ $valid = 0 ] || return 0
    (
        umask 077
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \
            "/O=system:nodes/CN=system:node:$NODE_NAME" -keyout "$NODE_DATA/.key" -out "$NODE_DATA/.csr"
        printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName=%s\n' \
            "$names" >"$NODE_DATA/.ext"
        openssl x509 -req -in "$NODE_DATA/.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -days 365 \
            -set_serial "0x$(openssl rand -hex 16)" -extfile "$NODE_DATA/.ext" -out "$NODE_DATA/.crt"
    ) >"$RUN/openssl.log" 2>&1 || die "the kubelet's certificate could not be made; see $RUN/openssl.log"
    mv "$NODE_DATA/.key" "$NODE_DATA/kubelet-serving.key"
    mv "$NODE_DATA/.crt" "$crt"
    rm -f "$NODE_DATA/.csr" "$NODE_DATA/.ext"
}

# dns_objects: the Service of the cluster DNS, whose endpoints are this node's addresses.
dns_objects() {
    cat <<EOT
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {k8s-app: kube-dns, kubernetes.io/cluster-service: "true", kubernetes.io/name: CoreDNS}
spec:
  clusterIP: $DNS_SERVICE
  clusterIPs: [$DNS_SERVICE, "$DNS_SERVICE6"]
  ipFamilyPolicy: PreferDualStack
  ports:
  - {name: dns, port: 53, protocol: UDP, targetPort: $DNS_PORT}
  - {name: dns-tcp, port: 53, protocol: TCP, targetPort: $DNS_PORT}
EOT
    local address family
    for address in $NODE_ADDRESS $NODE_ADDRESS6; do
        case "$address" in *:*) family=IPv6 ;; *) family=IPv4 ;; esac
        cat <<EOT
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns-$(tr '[:upper:]' '[:lower:]' <<<"$family")
  namespace: kube-system
  labels: {kubernetes.io/service-name: kube-dns, endpointslice.kubernetes.io/managed-by: sluice-up}
addressType: $family
ports:
- {name: dns, port: $DNS_PORT, protocol: UDP}
- {name: dns-tcp, port: $DNS_PORT, protocol: TCP}
endpoints:
- addresses: ["$address"]
EOT
    done
}
