"""The package managers' clients that `outrider doctor` tries in a sandbox, to see which hosts they ask.

No host is named here: what a client asks is in its own configuration, as the sandbox has it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SECONDS = 120
LEARNED = "the client is content"
MISSING = "there is no such client"
PLACE = "/tmp/learn"


@dataclass(frozen=True, slots=True)
class Client:
    """`found` succeeds where the client is installed; `fetch` gets `package`, which any example will do for."""

    found: str
    fetch: str
    package: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Which managers to try, what they fetch in place of the usual packages, and variables that their clients get."""

    managers: Sequence[str]
    examples: Mapping[str, str]
    variables: Sequence[tuple[str, str]]


_APT = " ".join(
    f"-o {option}"
    for option in (
        f"Dir::State={PLACE}/state",
        f"Dir::Cache={PLACE}/cache",
        "Dir::State::status=/var/lib/dpkg/status",
        "APT::Get::List-Cleanup=0",
        "APT::Update::Error-Mode=any",
    )
)
CLIENTS: Mapping[str, Client] = {
    "apt": Client(
        "command -v apt-get && test -e /etc/apt",
        f"mkdir -p state/lists/partial cache/archives/partial && apt-get {_APT} update && apt-get {_APT} download {{}}",
        "hello",
    ),
    "cargo": Client(
        "command -v cargo",
        f"export CARGO_HOME={PLACE}/home; cargo init --name learn . && cargo add {{}} && cargo fetch",
        "cfg-if",
    ),
    "gem": Client("command -v gem", "gem fetch {}", "rake"),
    "go": Client(
        "command -v go",
        f"export GOPATH={PLACE}/path GOCACHE={PLACE}/cache; go mod init learn && go get {{}}",
        "rsc.io/quote",
    ),
    "npm": Client("command -v npm", "npm install --ignore-scripts --cache ./cache --prefix . {}", "is-number"),
    "pip": Client(
        "python3 -m pip --version",
        "python3 -m pip download --no-cache-dir --no-deps --dest . {}",
        "six",
    ),
}


def command(manager: str, asked: Asked) -> str:
    """For bash in a sandbox: says `LEARNED` at its end, or `MISSING`, or what went wrong."""
    client = CLIENTS[manager]
    given = "".join(f"export {name}={shlex.quote(text)}\n" for name, text in asked.variables)
    fetch = client.fetch.format(shlex.quote(asked.examples.get(manager, client.package)))
    return (
        f"{given}{{ {client.found}; }} >/dev/null 2>&1 || {{ echo '{MISSING}'; exit 0; }}\n"
        f"rm -rf {PLACE} && mkdir {PLACE} && cd {PLACE} || exit\n"
        f"timeout {SECONDS} bash -c {shlex.quote(fetch)} 2>&1 && echo '{LEARNED}'"
    )
