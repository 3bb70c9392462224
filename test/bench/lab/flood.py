"""What clients do that should not be there: strangers who write anything at all, and clients that read nothing."""

import base64
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

_HTTP = b"GET /ws HTTP/1.1\r\nHost: localhost\r\n"
_UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
)
_STREAM = (
    b"<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)
_PING, _SYN, _ACK = 2, 1, 2
"""Of yamux: a type, and flags."""
_ROOM = 65_536
"""Bytes that one stranger writes, about."""

WORDS: Sequence[Callable[[random.Random], bytes]] = (
    lambda chance: chance.randbytes(_ROOM),
    lambda chance: chance.randbytes(8),
    # HTTP: a head that does not end, one that is too long, lengths that disagree, chunks that are none.
    lambda chance: _HTTP + b"X-Name: " + b"x" * chance.randrange(1000),
    lambda _: _HTTP + b"X-Name: x\r\n" * (_ROOM // 8),
    lambda _: b"POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    lambda _: b"POST /api/status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    lambda _: (_HTTP + b"\r\n") * (_ROOM // len(_HTTP)),
    # WebSocket: frames that are not masked, or say that they are larger than anything.
    lambda chance: _HTTP + _UPGRADE + b"\x81\x05hello" + chance.randbytes(100),
    lambda _: _HTTP + _UPGRADE + b"\x81\xff" + b"\xff" * 12,
    # BOSH: a body of another namespace, one with an entity, one that is nested without end.
    lambda _: _post(b"<body/>"),
    lambda _: _post(b"<!DOCTYPE body [<!ENTITY a 'aaaa'>]><body xmlns='http://jabber.org/protocol/httpbind'>&a;</body>"),
    lambda _: _post(b"<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='localhost'>" + b"<a>" * 10_000),
    # XMPP: stanzas before the login, one that does not end, what is not XML.
    lambda _: _STREAM + b"<message to='user0@localhost'><body>hello</body></message>",
    lambda _: _STREAM + b"<message><body>" + b"x" * _ROOM,
    lambda _: _STREAM + b"<a>" * 10_000,
    lambda chance: _STREAM + chance.randbytes(1000),
    # TLS: the beginning of a handshake, and one that is none.
    lambda chance: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(32),
    lambda chance: b"\x16\x03\x01\xff\xff" + chance.randbytes(2000),
    # Trunks: of version 1 frames without end and of a length that is none; of version 2 pings, streams that are opened
    # and never used, data for streams that are not there, a PROXY header that is none.
    lambda _: b"9999999999|aaaaaaaaaaaaaaaaaaaa|",
    lambda _: b"".join(b"0000000033|%020d|x" % number for number in range(1000)),
    lambda _: b"00000000ab|aaaaaaaaaaaaaaaaaaaa|",
    lambda _: b"".join(_yamux(_PING, _SYN, 0, number) for number in range(5000)),
    lambda _: b"".join(_yamux(1, _SYN, 2 * number + 1, 0) for number in range(5000)),
    lambda _: b"".join(_yamux(0, _ACK, 2 * number + 1, 8) + b"whatever" for number in range(3000)),
    lambda chance: _yamux(0, _SYN, 1, 100) + chance.randbytes(100),
)
"""What strangers write."""


def _post(body: bytes) -> bytes:
    return b"POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _yamux(kind: int, flags: int, stream: int, length: int) -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length)


@contextlib.contextmanager
def connections(ports: Sequence[int], count: int) -> Iterator[list[socket.socket]]:
    """So many connections to each port, that say nothing and are closed in the end."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for port in ports
            for _ in range(count)
        ]


def babble(chance: random.Random, ports: Sequence[int], count: int) -> None:
    """Strangers come to each port, so many for each of the words, say them, and hang up."""
    for words in WORDS:
        with connections(ports, count) as strangers:
            for one in strangers:
                one.settimeout(1)
                # Whoever is spoken to may hang up first, or not listen to the end.
                with contextlib.suppress(OSError):
                    one.sendall(words(chance))


class RawClient:
    """A client by TCP that does only what it is told."""

    def __init__(self, port: int, user: str) -> None:
        """Logs in."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._read = b""
        self._ask(_STREAM, b"</stream:features>")
        plain = base64.b64encode(f"\0{user}\0megaphone".encode())
        self._ask(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>" % plain, b"<success")
        self._ask(_STREAM, b"</stream:features>")
        self._ask(b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", b"</bind>")
        self._socket.sendall(b"<presence/>")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Waits until all of it is on its way; an OSError if the connection is lost, or that takes a minute."""
        self._socket.sendall(data)

    def _ask(self, words: bytes, answer: bytes) -> None:
        self._socket.sendall(words)
        while answer not in self._read:
            if not (read := self._socket.recv(65_536)):
                raise ConnectionError(f"the connection ended before {answer.decode()}")
            self._read += read
        self._read = self._read.partition(answer)[2]


def drown(port: int, sender: str, reader: str, size: int) -> int:
    """One client sends messages of so many bytes together to another one that reads none of them.

    Says how many bytes were taken: the server may hang up on the one as on the other.
    """
    body = b"x" * 32_768
    message = b"<message to='%s@localhost'><body>%s</body></message>" % (reader.encode(), body)
    sent = 0
    with RawClient(port, reader), RawClient(port, sender) as client, contextlib.suppress(OSError):
        while sent < size:
            client.send(message)
            sent += len(message)
    return sent
