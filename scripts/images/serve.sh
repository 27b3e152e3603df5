#!/bin/sh
# Serves /www over HTTP. PORT: where (8080). PAGE: the text of index.html; without it, what is mounted at /www.
# DRAIN: seconds that open connections have after SIGTERM (5).
[ -z "${PAGE:-}" ] || printf '%s\n' "$PAGE" >/www/index.html
# The first process of a container gets no signal without a handler. On SIGTERM no connection is accepted any more, and
# those that are open are served to their end.
stop() {
    kill "$server" 2>/dev/null
    # Bounded, for in a pod that shares its processes another container's server is seen here too.
    left=$((${DRAIN:-5} * 20))
    while [ "$left" -gt 0 ] && pidof httpd >/dev/null; do
        sleep 0.05
        left=$((left - 1))
    done
    exit 0
}
trap stop TERM INT
httpd -f -p "${PORT:-8080}" -h /www &
server=$!
wait "$server"
