"""The ECM in front of an ejabberd."""

import urllib.request
from enum import Enum

from . import ports
from .ejabberd import Ejabberd
from .lab import Lab
from .server import Entrances, Server


class Mode(Enum):
    """Where BOSH, WebSocket and XML streams end."""

    SESSIONS = "sessions"
    """In the ECM; ejabberd gets stanzas."""
    HTTP = "http"
    """In ejabberd, which gets what the clients send as it comes."""


LISTENERS = """\
[[certificate]]
cert = "{cert}"
key = "{key}"

[[listener]]
address = "127.0.0.1:{http}"
kind = "http"

[[listener]]
address = "127.0.0.1:{https}"
kind = "https"

[[listener]]
address = "127.0.0.1:{xmpp}"
kind = "xmpp"
{xmpp_is}
"""
"""Where clients connect, of each ECM; xmpp_is says what XML streams are."""

_CONFIG = (
    """\
[trunk]
address = "127.0.0.1:{trunk}"
trunks = {trunks}

[limits]
max_connections = 1000000

[metrics]
address = "127.0.0.1:{metrics}"

[websocket]
enabled = {ends_here}
{silence}

[bosh]
enabled = {ends_here}

[log]
level = "warn"

"""
    + LISTENERS
)


_SILENCE = 'ping_interval = "1h"\ntimeout = "1h"'
"""Clients that say nothing get no ping in a run."""


class Ecm(Server):
    """A running megaphone-ecm."""

    def __init__(
        self,
        lab: Lab,
        ejabberd: Ejabberd,
        mode: Mode = Mode.SESSIONS,
        trunks: int = 0,
        *,
        is_silence_fine: bool = False,
    ) -> None:
        """Returns when it takes connections and its trunks are up; 0 leaves their number to it.

        If silence is fine, clients by WebSocket get no pings of it.
        """
        self.entrances = Entrances(http=ports.free(), https=ports.free(), xmpp=ports.free())
        self._metrics_port = ports.free()
        folder = lab.folder("ecm")
        cert, key = lab.certificate()
        config = folder / "ecm.toml"
        config.write_text(
            _CONFIG.format(
                trunk=ejabberd.entrances.trunk,
                metrics=self._metrics_port,
                trunks=trunks,
                ends_here="true" if mode is Mode.SESSIONS else "false",
                silence=_SILENCE if is_silence_fine else "",
                cert=cert,
                key=key,
                http=self.entrances.http,
                https=self.entrances.https,
                xmpp=self.entrances.xmpp,
                xmpp_is='starttls = "optional"' if mode is Mode.SESSIONS else "relay = true",
            )
        )
        super().__init__("megaphone-ecm", [lab.built.ecm, "--config", config], folder)
        lab.keep(self)
        self.wait_until("its trunks are up", lambda: self.metrics().get("trunks_up", 0) >= max(trunks, 1))

    def metrics(self) -> dict[str, float]:
        """What it counts, without `megaphone_ecm_` before the names; nothing while it starts."""
        try:
            return read_metrics(self._metrics_port)
        except OSError:
            return {}


def read_metrics(port: int) -> dict[str, float]:
    """What an ECM counts, without `megaphone_ecm_` before the names. An ECM that does not answer is an OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.removeprefix("megaphone_ecm_").rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def settings() -> str:
    """How each ECM of the laboratory is set up, for the report."""
    names = {name: name.upper() for name in ("trunk", "cert", "key", "http", "https", "xmpp", "metrics")}
    return _CONFIG.format(**names, trunks=0, ends_here="true", silence="", xmpp_is='starttls = "optional"')
