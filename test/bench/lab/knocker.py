"""New clients that come to a server all the time, each for a moment: whether one of them is refused."""

import socket
import threading
import time

from .server import Entrances

_PAUSE = 0.005
_TIMEOUT = 10
_REQUEST = b"GET /no-such-page HTTP/1.0\r\nHost: localhost\r\n\r\n"
_STREAM = (
    b"<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Knocker:
    """Connects by HTTP and XMPP in turn, says something, and waits for an answer."""

    def __init__(self, entrances: Entrances) -> None:
        """Begins."""
        self.knocked = 0
        self.refused: list[str] = []
        """What befell those that got no answer."""
        self._doors = ((entrances.http, _REQUEST), (entrances.xmpp, _STREAM))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._knock_on, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Waits for the last one."""
        self._is_over.set()
        self._thread.join()

    def _knock_on(self) -> None:
        while not self._is_over.wait(_PAUSE):
            port, words = self._doors[self.knocked % len(self._doors)]
            self.knocked += 1
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as client:
                    client.sendall(words)
                    if not client.recv(1):
                        self.refused.append(f"port {port} closed a connection without an answer")
            except OSError as error:
                self.refused.append(f"port {port}: {error}")
                time.sleep(_PAUSE)
