"""What happens to a server in the long run: each kind of trouble, done to a fleet while its clients talk."""

import contextlib
import random
import resource
import signal
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import flood
from .clients import Clients, Result
from .command import say
from .ejabberd import Ejabberd
from .fleet import Fleet, FleetEcm
from .lab import Lab, run
from .program import LabError, Program, wait
from .swarm import Swarm

PATIENCE = 300
"""Seconds that anything may take on a busy machine. How long it takes is told, and proves nothing."""
_DROWNED = 32 * 2**20
"""Bytes that are sent to a client that reads none of them."""
_SPARE_FILES = 8
"""How many more files a program may open before it has used them up."""


@dataclass
class Scene:
    """What trouble is made with."""

    lab: Lab
    fleet: Fleet
    clients: Clients
    chance: random.Random
    spare: int
    """The number of the first user who is none of the clients."""
    crowd: int
    """How many users come and go at once."""
    stopped: float
    """Seconds that a program is stopped."""
    long_stopped: float
    """Seconds that it is stopped for so long that it counts as lost."""
    count: int = 0
    """So that each change of a configuration is another one."""

    def next(self) -> int:
        """A number that was not used before."""
        self.count += 1
        return self.count


@dataclass(frozen=True)
class Trouble:
    """One kind of it."""

    what: str
    make: Callable[[Scene, Result], None]
    disconnects: bool = False
    """Whether clients may lose their connections."""
    forgets: bool = False
    """Whether sessions with stream management may be lost."""


def cut_trunk(scene: Scene, result: Result) -> None:
    """The trunk with the most connections is cut."""
    result.figures["connections"] = scene.fleet.nodes[0].ejabberd.cut_trunk()
    _come_back(scene.clients, result)


def kill_ecm(scene: Scene, result: Result) -> None:
    """An ECM is killed, and started again at once or when its clients are at the other one."""
    ecm = scene.fleet.ecms[0]
    killed = time.monotonic()
    ecm.kill()
    is_awaited = scene.chance.random() < 0.5
    if not is_awaited:
        ecm.start_again()
    _come_back(scene.clients, result, killed)
    if is_awaited:
        ecm.start_again()
    ecm.wait_for_trunks()


def kill_ejabberd(scene: Scene, result: Result) -> None:
    """ejabberd is killed, and started again."""
    kill_and_start(scene.fleet.nodes[0].ejabberd, scene.clients, result)


def kill_and_start(ejabberd: Ejabberd, clients: Clients, result: Result) -> None:
    """The same to any ejabberd."""
    killed = time.monotonic()
    ejabberd.kill()
    ejabberd.start_again()
    ejabberd.ready()
    _come_back(clients, result, killed)


def stop_ecm(scene: Scene, result: Result) -> None:
    """An ECM is stopped for a moment."""
    _stop(scene.chance.choice(scene.fleet.ecms), scene.stopped)
    _come_back(scene.clients, result)


def stop_ejabberd(scene: Scene, result: Result) -> None:
    """ejabberd is stopped for a moment."""
    _stop(scene.fleet.nodes[0].ejabberd, scene.stopped)
    _come_back(scene.clients, result)


def stop_ecm_long(scene: Scene, result: Result) -> None:
    """An ECM is stopped until ejabberd has given it up."""
    _stop(scene.chance.choice(scene.fleet.ecms), scene.long_stopped)
    _come_back(scene.clients, result)


def stop_ejabberd_long(scene: Scene, result: Result) -> None:
    """ejabberd is stopped until the ECMs have given it up."""
    _stop(scene.fleet.nodes[0].ejabberd, scene.long_stopped)
    _come_back(scene.clients, result)


def reload_ecm(scene: Scene, result: Result) -> None:
    """The ECMs read their configurations again, in which nothing has changed."""
    scene.fleet.control("reload")


def change_ecm(scene: Scene, result: Result) -> None:
    """The ECMs read their configurations again, with another value, which they use."""
    url = f"https://localhost/bosh-{scene.next()}"
    table = "\n[host_meta]\nbosh_url = "
    for ecm in scene.fleet.ecms:
        ecm.config.edit(lambda text: f'{text.partition(table)[0]}{table}"{url}"\n')
        ecm.control("reload")
        wait("the changed configuration is used", lambda ecm=ecm: url in _get(ecm, "/.well-known/host-meta.json"), PATIENCE)


def reload_ejabberd(scene: Scene, result: Result) -> None:
    """ejabberd reads its configuration again, in which nothing has changed."""
    scene.fleet.nodes[0].ejabberd.reload()


def change_ejabberd(scene: Scene, result: Result) -> None:
    """ejabberd reads its configuration again, with another request handler of the trunks' listener."""
    handler = f"      /changed-{scene.next()}: mod_http_api\n"
    before, after = "      /files: mod_http_fileserver\n", "      /ws: ejabberd_http_ws\n\napi_permissions"

    def change(text: str) -> str:
        head, found, rest = text.rpartition(after)
        if not found:
            raise LabError("ejabberd.yml is not as it was")
        return head.rpartition(before)[0] + before + handler + found + rest

    scene.fleet.nodes[0].ejabberd.reload(change)
    path = f"{handler.partition(':')[0].strip()}/status"
    for ecm in scene.fleet.ecms:
        wait("the changed configuration is used", lambda ecm=ecm: "is running" in _get(ecm, path), PATIENCE)


def replace_certificates(scene: Scene, result: Result) -> None:
    """The ECMs' certificate and its key are replaced, and the keys that they share have a new one."""
    scene.lab.renew_certificate()
    cert, _ = scene.lab.certificate()
    for ecm in scene.fleet.ecms:
        ecm.control("reload")
        shown = ssl.get_server_certificate(("127.0.0.1", ecm.entrances.https), timeout=60)
        if ssl.PEM_cert_to_DER_cert(shown) != ssl.PEM_cert_to_DER_cert(cert.read_text()):
            raise LabError("an ECM shows its old certificate after it was told to read the new one")
    # A new key goes to the second place first, so that all know it before one of them uses it.
    keys = scene.fleet.ecms[0].config.keys
    first, *others = keys.read_text().split()
    new = run("openssl", "rand", "-base64", "48").strip()
    lines = [others[0], new, first, *others[1:]] if others else [first, new]
    _replace(keys, "".join(f"{line}\n" for line in lines))


def flood_ports(scene: Scene, result: Result) -> None:
    """Strangers write anything at all to every port, that of the trunks too."""
    fleet = scene.fleet
    ports = [port for ecm in fleet.ecms for port in (ecm.entrances.http, ecm.entrances.https, ecm.entrances.xmpp)]
    ports.append(fleet.nodes[0].ejabberd.entrances.trunk)
    flood.babble(scene.chance, ports, 5)
    _come_back(scene.clients, result)


def flood_reader(scene: Scene, result: Result) -> None:
    """A client is sent more than it reads."""
    port = scene.chance.choice(scene.fleet.ecms).entrances.xmpp
    names = f"user{scene.spare}", f"user{scene.spare + 1}"
    result.figures["taken"] = flood.drown(port, *names, _DROWNED)
    _come_back(scene.clients, result)


def flood_messages(scene: Scene, result: Result) -> None:
    """Some clients write as fast as they can."""
    swarm = Swarm(scene.lab, _transport(scene), scene.fleet.ecms, 20, first=scene.spare)
    swarm.all_online(PATIENCE)
    # More than any server takes: they are all sent at once.
    swarm.begin_traffic(5000, 2)
    traffic = swarm.end_traffic(PATIENCE)
    wrong = traffic["lost"] + traffic["doubled"] + traffic["reordered"]
    result.promise(not wrong, f"of a flood of {traffic['sent']} messages {wrong} were lost, doubled or out of order")
    _dismiss(scene, swarm)


def crowd_leaves(scene: Scene, result: Result) -> None:
    """A crowd comes and leaves, half of it without a word."""
    more = ("--stream-management",) if scene.chance.random() < 0.5 else ()
    half = scene.crowd // 4 * 2
    crowds = [
        Swarm(scene.lab, _transport(scene), scene.fleet.ecms, half, first=scene.spare + number * half, rate=100, more=more)
        for number in range(2)
    ]
    for one in crowds:
        one.all_online(PATIENCE)
    for one in crowds:
        one.begin_traffic(50, 1)
    for one in crowds:
        one.end_traffic(PATIENCE)
    _dismiss(scene, crowds[0])
    # Killed, it says nothing; the kernel closes its connections.
    scene.lab.end(crowds[1])
    _come_back(scene.clients, result)


def use_up_files_ecm(scene: Scene, result: Result) -> None:
    """An ECM has no file left for a while, as others come."""
    ecm = scene.chance.choice(scene.fleet.ecms)
    _use_up_files(ecm, ecm.entrances.http, 0)
    wait("it serves again", lambda: "XRD" in _get(ecm, "/.well-known/host-meta"), PATIENCE)
    _come_back(scene.clients, result)


def use_up_files_ejabberd(scene: Scene, result: Result) -> None:
    """ejabberd has no file left for a while, as others come to the port of the trunks."""
    # Mnesia dies where it can't write its log, so it has a few.
    ejabberd = scene.fleet.nodes[0].ejabberd
    _use_up_files(ejabberd, ejabberd.entrances.trunk, 16)
    wait("it serves again", lambda: "is running" in _get(scene.fleet.ecms[0], "/api/status"), PATIENCE)
    _come_back(scene.clients, result)


TROUBLES: dict[str, Trouble] = {
    "cut-trunk": Trouble("a trunk is cut", cut_trunk, disconnects=True),
    "kill-ecm": Trouble("an ECM is killed", kill_ecm, disconnects=True),
    "kill-ejabberd": Trouble("ejabberd is killed", kill_ejabberd, disconnects=True, forgets=True),
    "stop-ecm": Trouble("an ECM is stopped for a moment", stop_ecm),
    "stop-ejabberd": Trouble("ejabberd is stopped for a moment", stop_ejabberd),
    "stop-ecm-long": Trouble("an ECM is stopped for long", stop_ecm_long, disconnects=True),
    "stop-ejabberd-long": Trouble("ejabberd is stopped for long", stop_ejabberd_long, disconnects=True),
    "reload-ecm": Trouble("the ECMs reload, unchanged", reload_ecm),
    "change-ecm": Trouble("the ECMs reload, changed", change_ecm),
    "reload-ejabberd": Trouble("ejabberd reloads, unchanged", reload_ejabberd),
    "change-ejabberd": Trouble("ejabberd reloads, its listener changed", change_ejabberd),
    "certificates": Trouble("certificate and keys are replaced", replace_certificates),
    "flood-ports": Trouble("strangers write to all ports", flood_ports),
    "flood-reader": Trouble("a client reads nothing of 32 MiB", flood_reader),
    "flood-messages": Trouble("clients write as fast as they can", flood_messages),
    "crowd": Trouble("a crowd comes and leaves", crowd_leaves),
    "files-ecm": Trouble("an ECM's files are used up", use_up_files_ecm),
    "files-ejabberd": Trouble("ejabberd's files are used up", use_up_files_ejabberd),
}


def _come_back(clients: Clients, result: Result, since: float | None = None) -> None:
    """Those that don't talk tell, and how long it took since then."""
    started = since or time.monotonic()
    # It is noticed within a moment.
    time.sleep(1)
    wait("all clients are back", lambda: not clients.missing(), PATIENCE)
    result.figures["back"] = time.monotonic() - started


def _stop(program: Program, seconds: float) -> None:
    program.signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        program.signal(signal.SIGCONT)
    say(f"{program.name} goes on")


def _use_up_files(program: Program, port: int, spare: int) -> None:
    """Its limit becomes what it has open and few more, until connections have used these up."""
    before = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    limit = _files(program) + _SPARE_FILES + spare
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    with contextlib.ExitStack() as stack:

        def is_full() -> bool:
            # Others close theirs meanwhile, so it is not known how many it takes.
            stack.enter_context(flood.connections([port], 2))
            time.sleep(0.1)
            # One may be open for a moment only, as a program looks whether there is one.
            return _files(program) >= limit - 1

        try:
            wait(f"{program.name} has used up its files", is_full, PATIENCE)
            time.sleep(2)
        finally:
            resource.prlimit(program.pid, resource.RLIMIT_NOFILE, before)


def _files(program: Program) -> int:
    return sum(1 for _ in Path(f"/proc/{program.pid}/fd").iterdir())


def _dismiss(scene: Scene, swarm: Swarm) -> None:
    if not (end := swarm.leave()) or end["stuck"]:
        raise LabError(f"{swarm.description}: some did not get out")
    scene.lab.end(swarm)


def _transport(scene: Scene) -> str:
    return scene.chance.choice(("tcp", "websocket", "bosh"))


def _replace(file: Path, text: str) -> None:
    """At once, as who reads it may do so any time."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def _get(ecm: FleetEcm, path: str) -> str:
    """A page through an ECM; empty if there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ecm.entrances.http}{path}", timeout=60) as answer:
            text: str = answer.read().decode()
    except OSError:
        return ""
    return text
