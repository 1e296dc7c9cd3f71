"""Ports for the servers of the tests."""

import random
import socket

PORTS = range(20_000, 30_000)
"""Neither the kernel (from 32768) nor Ray (10002 to 19999, 30000 and up) takes one of these by itself.

A port from their ranges can be taken between the look and the start.
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
