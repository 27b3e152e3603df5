"""When a Service begins to answer, or to refuse, as a client sees it."""

import errno
import socket
import struct
import time


def time_of_change(client, address, want_up, within, attempt_s):
    """When (monotonic) connects from a pod to port 80 of address began to succeed, or to be refused.

    Tries again and again for `within` seconds, each time for attempt_s; then TimeoutError.
    """
    def poll():
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            with socket.socket() as attempt:
                # Reset on close: thousands of connects would use up the ports in TIME_WAIT.
                attempt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                attempt.settimeout(attempt_s)
                outcome = attempt.connect_ex((address, 80))
                if outcome == (0 if want_up else errno.ECONNREFUSED):
                    return time.monotonic()
            time.sleep(0.0002)
        raise TimeoutError(f"{address} did not change")
    return client.ns.call(poll, cgroup=client.cgroup)
