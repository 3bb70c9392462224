"""An ejabberd with users, plain listeners and one for trunks."""

import glob
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from . import ports
from .lab import ROOT, Lab, run
from .program import LabError
from .server import Entrances, Server

BACKLOG = 4096
"""The listen backlog of a fair comparison; ejabberd's own default is 5."""

EMULATOR = (
    *("+K", "true", "+P", "4194304", "+Bi"),
    # Schedulers that wait in a loop would count as CPU.
    *("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"),
)
"""Arguments of each ejabberd's emulator."""

_CONFIG = """\
hosts: [localhost]
loglevel: warning
auth_method: internal{table}

listen:
  -
    port: {http}
    ip: "127.0.0.1"
    module: ejabberd_http{backlog}
    request_handlers:
      /api: mod_http_api
      /bosh: mod_bosh
      /files: mod_http_fileserver
      /ws: ejabberd_http_ws
  -
    port: {xmpp}
    ip: "127.0.0.1"
    module: ejabberd_c2s{backlog}
  -
    port: {trunk}
    ip: "127.0.0.1"
    module: megaphone_listener
    request_handlers:
      /api: mod_http_api
      /bosh: mod_bosh
      /files: mod_http_fileserver
      /ws: ejabberd_http_ws

api_permissions:
  "from this machine":
    from: [mod_http_api]
    who: {{ip: 127.0.0.0/8}}
    what: [status]

modules:
  mod_bosh: {{}}
  mod_carboncopy: {{}}
  mod_client_state: {{}}
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_http_fileserver:
    docroot: "{files}"
  mod_ping: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{}}
"""


MODULES = re.findall(r"mod_\w+", _CONFIG.partition("\nmodules:")[2])
"""The modules of each ejabberd."""


class Ejabberd(Server):
    """A running ejabberd with user0, user1 ... whose password is `megaphone`."""

    def __init__(
        self,
        lab: Lab,
        users: int,
        backlog: int | None = BACKLOG,
        environment: Mapping[str, str] | None = None,
        emulator: tuple[str, ...] = (),
        *,
        in_cluster: bool = False,
        own_table: bool = False,
        edit: Callable[[str], str] = lambda text: text,
    ) -> None:
        """Begins to start it; `ready` waits for the end of that.

        Without `backlog` ejabberd's default holds. `emulator` are more arguments of erl. One that is to be `in_cluster`
        can be found by others. With `own_table` the table of sessions is Megaphone's (`sm_db_type`). `edit` changes its
        ejabberd.yml.
        """
        self.entrances = Entrances(http=ports.free(), xmpp=ports.free(), trunk=ports.free())
        folder = lab.folder("ejabberd")
        config = _CONFIG.format(
            http=self.entrances.http,
            xmpp=self.entrances.xmpp,
            trunk=self.entrances.trunk,
            table="\nsm_db_type: megaphone" if own_table else "",
            backlog=f"\n    backlog: {backlog}" if backlog else "",
            files=folder / "files",
        )
        self.config = folder / "ejabberd.yml"
        self.config.write_text(edit(config))
        (folder / "files").mkdir()
        (folder / "files/kilobyte").write_text("x" * 1024)
        # Names are looked up without a helper process.
        (folder / "inetrc").write_text('{lookup, [file, dns]}. {host, {127,0,0,1}, ["localhost"]}.\n')
        super().__init__(
            "ejabberd",
            [
                *("erl", *EMULATOR, *emulator, "-noinput"),
                *("-pa", _debian_ejabberd(), lab.built.application, _compiled(lab)),
                *self._distribution(in_cluster),
                *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
                *("-mnesia", "dir", f'"{folder}/db"', "-mnesia", "dump_log_write_threshold", "50000"),
                *("-ejabberd", "quiet", "true", "-s", "ejabberd"),
                *("-run", "megaphone_bench_lab", "main", str(users)),
            ],
            folder,
            {
                "HOME": str(folder),
                "EJABBERD_CONFIG_PATH": str(self.config),
                "EJABBERD_LOG_PATH": str(folder / "output.log"),
                "ERL_CRASH_DUMP_SECONDS": "0",
                "ERL_INETRC": str(folder / "inetrc"),
                "ERL_AFLAGS": "",
                "ERL_FLAGS": "",
                "ERL_ZFLAGS": "",
                **(environment or {}),
            },
        )
        lab.keep(self)

    def ready(self, tell: Callable[[int], None] = lambda users: None) -> Self:
        """Waits until it takes connections and the users exist; `tell` hears how many there are already."""
        while (line := self.line(within=300)) != "users-ready":
            match (line or "").split():
                case ["users", count, _]:
                    tell(int(count))
                case []:
                    raise LabError(f"ejabberd starts for more than five minutes; see {self.log}")
        return self

    def _distribution(self, in_cluster: bool) -> list[str]:
        port = ports.free()
        if in_cluster:
            # The name tells the port.
            self.node = f"megaphone-{port}@127.0.0.1"
            names = ["-name", self.node, "-setcookie", "megaphone", "-epmd_module", "megaphone_test_epmd"]
        else:
            self.node = "bench@localhost"
            names = ["-sname", self.node, "-erl_epmd_port", str(port)]
        return [*names, "-start_epmd", "false"]

    def join(self, other: "Ejabberd") -> None:
        """Becomes one cluster with another, as by `ejabberdctl join_cluster`."""
        if (answer := self._ask(f"join {other.node}")) != "ok":
            raise LabError(f"{self.node} does not join {other.node}: {answer}; see {self.log}")

    def cluster(self) -> int:
        """How many nodes of its cluster run."""
        return int(self._ask("cluster"))

    def stop_in_order(self) -> None:
        """As `ejabberdctl stop`."""
        self.tell("stop")
        self.wait_for_end(60)

    def memory(self) -> dict[str, int]:
        """erlang:memory/0 in bytes, `sessions` (users online) and `process_count`."""
        memory: dict[str, int] = json.loads(self._ask("memory"))
        return memory

    def cut_trunk(self) -> int:
        """Cuts the trunk with the most connections, and says how many those were."""
        return int(self._ask("cut"))

    def make_contacts(self, first: int, groups: int, size: int) -> None:
        """Makes the users of each group, who follow each other from the first on, each other's contacts."""
        self._ask(f"contacts {first} {groups} {size}")

    def census(self) -> dict[str, int]:
        """How many it has of each kind of process, row, port and timer, and what the NIF holds."""
        return dict(json.loads(self._ask("census")))

    def reload(self, edit: Callable[[str], str] = lambda text: text) -> None:
        """Changes its ejabberd.yml and makes it read that again, as `ejabberdctl reload_config`."""
        self.config.write_text(edit(self.config.read_text()))
        if (answer := self._ask("reload")) != "ok":
            raise LabError(f"ejabberd does not take its configuration again: {answer}; see {self.log}")

    def collect_garbage(self) -> None:
        """In all of its processes."""
        self._ask("collect")

    def disconnect_all(self) -> None:
        """Ends all sessions."""
        self._ask("disconnect")

    def versions(self) -> dict[str, str]:
        """`otp`, `erts` and `ejabberd`."""
        versions: dict[str, str] = json.loads(self._ask("versions"))
        return versions

    def _ask(self, question: str) -> str:
        self.tell(question)
        answer = self.line(within=120)
        if answer is None:
            raise LabError(f"ejabberd does not answer {question!r} within two minutes")
        return answer


def settings() -> dict[str, str]:
    """How every ejabberd of the laboratory is set up, for the report."""
    return {
        "emulator": " ".join(EMULATOR),
        "tables": "all in memory with a log on disk (disc_copies), where ejabberd's default is a file",
        "ejabberd.yml": _CONFIG.format_map(_Placeholders()),
        "sm_db_type": "megaphone where Megaphone is measured in session mode, or the variant says so",
    }


class _Placeholders(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return {"backlog": f"\n    backlog: {BACKLOG}", "table": ""}.get(name, name.upper())


def _debian_ejabberd() -> Path:
    if not (found := glob.glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")):
        raise LabError("Debian's ejabberd isn't installed. Try: make deps")
    return Path(max(found)).parent


def _compiled(lab: Lab) -> Path:
    """What runs inside ejabberd, compiled once."""
    ebin = lab.directory / "ebin"
    if not ebin.exists():
        ebin.mkdir()
        here = ROOT / "test/bench"
        sources = (
            ROOT / "test/demo/megaphone_run.erl",
            ROOT / "test/support/megaphone_test_epmd.erl",
            here / "megaphone_bench_json.erl",
        )
        run("erlc", "-o", ebin, *sources, *(here / "lab").glob("*.erl"))
    return ebin
