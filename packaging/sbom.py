#!/usr/bin/env python3
"""Prints what a crate of the workspace is built with, in the form of CycloneDX 1.5: sbom.py CRATE VERSION [NAME=VERSION]...

That are the crates of Cargo.lock that become a part of it, with their checksums and licenses, the compiler, and what is
named beside them. The same sources and compilers give the same text.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prints it."""
    crate, version, *others = sys.argv[1:]
    rustc = printed("rustc", "--version").split()[1]
    components = [component("rustc", rustc, kind="application")]
    components += [component(*other.split("=", 1), kind="platform") for other in others]
    components += crates(crate)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": crate, "version": version}},
        "components": components,
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


def printed(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def component(name: str, version: str, kind: str = "library", **more: object) -> dict[str, object]:
    """A part."""
    return {"type": kind, "name": name, "version": version, **more}


def crates(crate: str) -> list[dict[str, object]]:
    """The crates that become a part of this one."""
    host = next(line.removeprefix("host: ") for line in printed("rustc", "-vV").splitlines() if line.startswith("host: "))
    metadata = json.loads(printed("cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={host}"))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [identity for identity, package in packages.items() if package["name"] == crate]
    found = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            is_part = any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
            if is_part and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock}
    parts = sorted((packages[identity] for identity in found), key=lambda it: (it["name"], it["version"]))
    return [of_crate(part, checksums[part["name"], part["version"]]) for part in parts if part["name"] != crate]


def of_crate(package: dict[str, str], checksum: str | None) -> dict[str, object]:
    """A crate as a part."""
    more: dict[str, object] = {"purl": f"pkg:cargo/{package['name']}@{package['version']}"}
    if package.get("license"):
        more["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        more["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component(package["name"], package["version"], **more)


if __name__ == "__main__":
    main()
