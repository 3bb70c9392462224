"""A cluster of ejabberd nodes, and ECMs in front of all of them."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ports
from .ecm import LISTENERS, read_metrics
from .ejabberd import Ejabberd
from .lab import Lab, run
from .program import LabError
from .server import Entrances, Server

_MOVES_AT_ONCE = 150
"""Sessions that are on their way at once, of all ECMs: a client waits for as long as it takes to move so many."""

_CONFIG = (
    """\
[trunk]
trunks = 1
backoff_max = "1s"
{nodes}
[nodes]
slow_start = "{slow_start}s"
ping_interval = "1s"
ping_timeout = "2s"
eject_min = "2s"
moves_at_once = {moves}

[limits]
max_connections = 1000000
close_spread = "10s"

[metrics]
address = "127.0.0.1:{metrics}"

[control]
socket = "control.sock"

[tls]
ticket_keys = "{keys}"

[fleet]
name = "ecm{number}"
key = "{keys}"
address = "127.0.0.1:{peer}"
peers = {{ {peers} }}

[log]
level = "info"

"""
    + LISTENERS
)

_NODE = """
[[node]]
name = "{name}"
address = "127.0.0.1:{trunk}"
"""


@dataclass
class Node:
    """A node as the ECMs call it."""

    name: str
    ejabberd: Ejabberd


class FleetEcm(Server):
    """A running megaphone-ecm with trunks to all nodes."""

    def __init__(self, lab: Lab, config: "Config", replaces: "FleetEcm | None" = None) -> None:
        """Returns when its trunks are up."""
        self.config = config
        self.entrances = config.entrances
        options = ["--replaces", str(replaces.pid)] if replaces else []
        folder = lab.folder("ecm")
        super().__init__("megaphone-ecm", [lab.built.ecm, "--config", config.file, *options], folder)
        lab.keep(self)
        self.wait_for_trunks()

    def wait_for_trunks(self) -> None:
        """Waits until it has trunks to all nodes."""
        self.wait_until("all its trunks are up", lambda: all(one["trunks"] > 0 for one in self.nodes()))

    def control(self, *command: str) -> Any:
        """What `megaphone-ecm ctl` answers; null where that is nothing."""
        # The path of a socket can't be long, so it is that in the program's folder.
        said = run(self.config.program, "--config", self.config.file, "ctl", "--json", *command, folder=self.folder)
        return json.loads(said) if said.strip() else None

    def nodes(self) -> list[dict[str, Any]]:
        """What it says of each node; nothing has a trunk while it starts."""
        try:
            nodes: list[dict[str, Any]] = self.control("nodes")["nodes"]
        except LabError:
            return [{"trunks": 0, "sessions": 0}]
        return nodes

    def sessions(self) -> dict[str, int]:
        """How many sessions each node has of its clients."""
        return {str(one["name"]): int(one["sessions"]) for one in self.nodes() if "name" in one}

    def histogram(self, name: str) -> dict[float, float]:
        """The buckets of a histogram, by their upper bounds in seconds."""
        pattern = re.compile(rf'{name}_bucket{{.*le="([^"]+)".*}}')
        found = ((pattern.fullmatch(one), count) for one, count in self.metrics().items())
        return {float(one[1]): count for one, count in found if one}

    def metrics(self) -> dict[str, float]:
        """What it counts, without `megaphone_ecm_` before the names."""
        return read_metrics(self.config.metrics)


@dataclass
class Config:
    """The file of an ECM, which its successors use too."""

    program: Path
    file: Path
    entrances: Entrances
    metrics: int
    keys: Path
    """The keys that all ECMs share, of TLS tickets and of BOSH sessions."""

    def edit(self, change: Callable[[str], str]) -> None:
        """Changes the file."""
        self.file.write_text(change(self.file.read_text()))


@dataclass
class Fleet:
    """All of it."""

    nodes: list[Node] = field(default_factory=list)
    ecms: list[FleetEcm] = field(default_factory=list)

    def sessions(self) -> dict[str, int]:
        """How many sessions each node has of all ECMs' clients."""
        sums = {node.name: 0 for node in self.nodes}
        for ecm in self.ecms:
            for name, count in ecm.sessions().items():
                sums[name] += count
        return sums

    def control(self, *command: str) -> None:
        """Tells all ECMs."""
        for ecm in self.ecms:
            ecm.control(*command)

    def addresses(self, transport: str, tls: bool) -> list[str]:
        """Where clients connect, one for each ECM."""
        return [ecm.entrances.address(transport, tls) for ecm in self.ecms]


def start(lab: Lab, members: Sequence[Ejabberd], ecms: int, slow_start: int) -> Fleet:
    """Makes a cluster of ejabberds that begin to start, and starts ECMs. `slow_start` is in seconds."""
    fleet = Fleet()
    nodes = len(members)
    for number, member in enumerate(members):
        member.ready()
        if number:
            member.join(members[0])
        fleet.nodes.append(Node("abcdefgh"[number], member))
    for member in members:
        member.wait_until("its cluster is whole", lambda member=member: member.cluster() == nodes)
    folder = lab.folder("fleet")
    fleet.ecms = [FleetEcm(lab, one) for one in _configs(lab, folder, fleet, ecms, slow_start)]
    return fleet


def _configs(lab: Lab, folder: Path, fleet: Fleet, count: int, slow_start: int) -> list[Config]:
    keys = folder / "secret.keys"
    keys.write_text(run("openssl", "rand", "-base64", "48"))
    peers = [ports.free() for _ in range(count)]
    cert, key = lab.certificate()
    nodes = "".join(_NODE.format(name=one.name, trunk=one.ejabberd.entrances.trunk) for one in fleet.nodes)
    configs = []
    for number in range(count):
        entrances = Entrances(http=ports.free(), https=ports.free(), xmpp=ports.free())
        config = Config(lab.built.ecm, folder / f"ecm{number}.toml", entrances, ports.free(), keys)
        text = _CONFIG.format(
            nodes=nodes,
            slow_start=slow_start,
            moves=_MOVES_AT_ONCE // count,
            metrics=config.metrics,
            keys=keys,
            number=number,
            peer=peers[number],
            peers=", ".join(f'ecm{other} = "127.0.0.1:{port}"' for other, port in enumerate(peers)),
            cert=cert,
            xmpp_is='starttls = "optional"',
            key=key,
            http=entrances.http,
            https=entrances.https,
            xmpp=entrances.xmpp,
        )
        config.file.write_text(text)
        configs.append(config)
    return configs
