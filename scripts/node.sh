# One node on this machine: where its state is, how its programs start and stop, and the demo's pods.
# Sourced by up and down.
# shellcheck shell=bash

RUN="${SLUICE_RUN:-/run/sluice}"       # pid files, logs, what down has to undo
DATA="${SLUICE_DATA:-/var/lib/sluice}" # the control plane's data
KUBECONFIG_FILE="$DATA/control/admin.kubeconfig"
API=127.0.0.1:6443
NODE_NAME="$(hostname | tr '[:upper:]' '[:lower:]')"
POD_CIDR4=10.244.0
POD_CIDR6=fd00:10:244:
SERVICE_CIDRS=10.96.0.0/16,fd00:10:96::/112
DEMO_PODS="1 2"

kube() { kubectl --kubeconfig "$KUBECONFIG_FILE" "$@"; }

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
    setsid "$BIN/$name" "$@" >>"$RUN/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN/$name.pid"
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

demo_pod_up() { # NUMBER
    local ns="sluice-demo-$1" link="sluice-demo$1" v4="$POD_CIDR4.1$1" v6="$POD_CIDR6:1$1"
    if ! ip netns pids "$ns" 2>/dev/null | grep -q .; then
        demo_pod_down "$1"
        ip netns add "$ns"
        ip link add "$link" type veth peer name eth0 netns "$ns"
        ip link set "$link" up
        ip -n "$ns" link set lo up
        ip -n "$ns" link set eth0 up
        # The pod's gateway is a link-local address that the host's end answers for.
        ip addr add 169.254.1.1/32 dev "$link" scope link
        ip -6 addr add fe80::1/64 dev "$link" nodad
        ip -n "$ns" addr add "$v4/32" dev eth0
        ip -n "$ns" -6 addr add "$v6/128" dev eth0 nodad
        ip -n "$ns" route add 169.254.1.1 dev eth0 scope link
        ip -n "$ns" route add default via 169.254.1.1
        ip -n "$ns" -6 route add default via fe80::1 dev eth0
        ip route replace "$v4/32" dev "$link"
        ip -6 route replace "$v6/128" dev "$link"
        mkdir -p "$RUN/demo-$1"
        echo "hello from pod web-$1" >"$RUN/demo-$1/index.html"
        setsid nsenter --net="/run/netns/$ns" busybox httpd -f -p 8080 -h "$RUN/demo-$1" \
            >>"$RUN/demo-$1.log" 2>&1 </dev/null &
    fi
}
demo_pod_down() { # NUMBER
    local ns="sluice-demo-$1" pid
    [ -e "/run/netns/$ns" ] || return 0
    for pid in $(ip netns pids "$ns"); do kill -KILL "$pid" 2>/dev/null || true; done
    ip link del "sluice-demo$1" 2>/dev/null || true
    ip netns del "$ns"
}

# What a kubelet and the controllers would say of the demo's pods, until there are some.
demo_objects() {
    local i family
    for i in $DEMO_PODS; do
        cat <<EOF
---
apiVersion: v1
kind: Pod
metadata: {name: web-$i, labels: {app: web}}
spec:
  nodeName: $NODE_NAME
  containers: [{name: httpd, image: busybox, ports: [{containerPort: 8080}]}]
EOF
    done
    for family in 4 6; do
        cat <<EOF
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-ipv$family, labels: {kubernetes.io/service-name: web}}
addressType: IPv$family
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
EOF
        for i in $DEMO_PODS; do
            local address="$POD_CIDR4.1$i"
            [ $family = 4 ] || address="$POD_CIDR6:1$i"
            cat <<EOF
- addresses: ["$address"]
  nodeName: $NODE_NAME
  targetRef: {kind: Pod, namespace: default, name: web-$i}
EOF
        done
    done
}

demo_pod_status() { # NUMBER: what a kubelet would write to the status subresource
    kube get pod "web-$1" -o json | jq --arg v4 "$POD_CIDR4.1$1" --arg v6 "$POD_CIDR6:1$1" \
        --arg host "$NODE_ADDRESS" --arg now "$(date -u +%Y-%m-%dT%H:%M:%SZ)" '
        .status = {phase: "Running", hostIP: $host, podIP: $v4, podIPs: [{ip: $v4}, {ip: $v6}],
            startTime: $now, conditions: [{type: "Ready", status: "True", lastTransitionTime: $now},
            {type: "ContainersReady", status: "True", lastTransitionTime: $now}],
            containerStatuses: [{name: "httpd", image: "busybox", imageID: "", ready: true,
            restartCount: 0, state: {running: {startedAt: $now}}}]}' |
        kube replace --raw "/api/v1/namespaces/default/pods/web-$1/status" -f - >/dev/null
}

# The node as a kubelet would register it; NODE_ADDRESS and NODE_ADDRESS6 (may be empty) are its addresses.
register_node() {
    kube apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Node
metadata: {name: $NODE_NAME, labels: {kubernetes.io/hostname: $NODE_NAME, kubernetes.io/os: linux}}
spec: {podCIDR: $POD_CIDR4.0/24, podCIDRs: [$POD_CIDR4.0/24, "$POD_CIDR6:/64"]}
EOF
    kube get node "$NODE_NAME" -o json | jq --arg v4 "$NODE_ADDRESS" --arg v6 "$NODE_ADDRESS6" \
        --arg name "$NODE_NAME" --arg now "$(date -u +%Y-%m-%dT%H:%M:%SZ)" '
        .status = {addresses: ([$v4, $v6] | map(select(. != "") | {type: "InternalIP", address: .}) +
            [{type: "Hostname", address: $name}]),
            conditions: [{type: "Ready", status: "True", reason: "Demo", lastHeartbeatTime: $now,
            lastTransitionTime: $now}]}' |
        kube replace --raw "/api/v1/nodes/$NODE_NAME/status" -f - >/dev/null
}
