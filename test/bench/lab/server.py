"""A program that clients connect to: an ejabberd, or what stands in front of it."""

from dataclasses import dataclass

from .program import Program


@dataclass(frozen=True)
class Entrances:
    """The ports of a server on the loopback address; 0 is none."""

    http: int
    xmpp: int
    https: int = 0
    trunk: int = 0

    def address(self, transport: str, tls: bool = False) -> str:
        """HOST:PORT for clients of one of the swarm's transports."""
        web = self.https if tls else self.http
        port = {"tcp": self.xmpp, "trunk": self.trunk}.get(transport, web)
        return f"127.0.0.1:{port}"


class Server(Program):
    """A running server."""

    entrances: Entrances
