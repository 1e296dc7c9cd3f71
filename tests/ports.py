"""Ports for the servers of the tests."""

import random
import socket

PORTS = range(20_000, 30_000)
"""Neither the kernel (from 32768) nor Ray (10002 to 19999, 30000 and up) assigns ports of this range.

A port from their ranges could be taken between the check and the server's start."""
_given: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 on which no process listens, and that was not given before.

    A server asks for several ports before it listens on one.
    """
    for port in random.sample(PORTS, len(PORTS)):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise AssertionError("no port is free")
