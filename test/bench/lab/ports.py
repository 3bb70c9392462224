"""Ports of the loopback address."""

import random
import socket

_given: set[int] = set()


def free() -> int:
    """A port where nobody listens, another one each time.

    It is below those that the kernel hands out to clients.
    """
    while True:
        port = random.randrange(12000, 32000)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
