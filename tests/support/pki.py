"""A deployment's authority and certificates for tests, made by the commands that operators use."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from outrider.cli.tls import tls
from outrider.links import peers
from outrider.links.peers import Identity


class Authority:
    """In `place`, which must not exist yet or be empty."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._run("init", str(place))

    def issue(self, name: str, *roles: str, address: str = "127.0.0.1", days: int = 30) -> Identity:
        words = [word for role in roles for word in ("--role", role)]
        self._run("issue", str(self.place), "--name", name, *words, "--address", address, "--days", str(days))
        return self.identity(name)

    def identity(self, name: str) -> Identity:
        return peers.load(self.place / "ca.pem", self.place / f"{name}.pem", self.place / f"{name}.key")

    def table(self, name: str) -> str:
        """The table [peers] of a config file."""
        files = {"ca": "ca.pem", "cert": f"{name}.pem", "key": f"{name}.key"}
        return "[peers]\n" + "".join(f'{key} = "{self.place / file}"\n' for key, file in files.items())

    def _run(self, *words: str) -> None:
        done = CliRunner().invoke(tls, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
