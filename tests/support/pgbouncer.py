"""A PgBouncer before the tests' PostgreSQL: an installed one, else Debian's package, unpacked into a cache folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from outrider.testing.ports import free_port
from outrider.testing.postgres_server import PostgresServer, runner

SECONDS = 60.0
FETCH_SECONDS = 20.0  # a package index that does not answer is none
PACKAGES = ("pgbouncer", "libc-ares2", "libevent-2.1-7")


class NoPooler(RuntimeError):
    """This host has no PgBouncer and can't get one."""


def binary() -> tuple[Path, dict[str, str]]:
    """The program, and the environment that it needs. Raises NoPooler."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found:
        return Path(found), {}
    place = Path(tempfile.gettempdir()) / f"outrider-pgbouncer-{os.geteuid()}"
    if not (place / "whole").exists():
        _fetch(place)
    if place.stat().st_uid != os.geteuid():
        raise NoPooler(f"{place} belongs to somebody else")
    libraries = ":".join(str(one) for one in (place / "usr/lib").glob("*-linux-gnu"))
    return place / "usr/sbin/pgbouncer", {"LD_LIBRARY_PATH": libraries}


def _fetch(place: Path) -> None:
    place.mkdir(mode=0o755, exist_ok=True)
    try:
        subprocess.run(
            ["apt-get", "download", *PACKAGES], cwd=place, capture_output=True, timeout=FETCH_SECONDS, check=True
        )
        for package in place.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, place], capture_output=True, timeout=FETCH_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoPooler(f"no PgBouncer is installed, and Debian's package can't be had: {error}") from None
    (place / "whole").touch()


@dataclass
class Pooler:
    """One PgBouncer. It can be ended and started again at its address."""

    place: Path
    port: int
    program: tuple[Path, dict[str, str]]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str) -> str:
        return f"postgresql://outrider@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        file, more = self.program
        user = runner()
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen[bytes](
                [file, self.place / "pgbouncer.ini"], stdout=log, stderr=log, cwd="/",
                env={"PATH": "/usr/bin:/bin"} | more,
                user=None if user is None else user.pw_uid, group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
            )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.place / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("PgBouncer did not listen")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(SECONDS)
            self.process = None


@contextmanager
def pgbouncer(server: PostgresServer, mode: str) -> Generator[Pooler]:
    """A pooler before the server. Raises NoPooler."""
    program = binary()
    place = Path(tempfile.mkdtemp(prefix="opb"))
    place.chmod(0o755)
    port = free_port()
    (place / "users").write_text('"outrider" ""\n')
    (place / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={server.place} port={server.port} user=outrider\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {place}/users\npool_mode = {mode}\ndefault_pool_size = 20\n"
    )
    pooler = Pooler(place, port, program)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.kill()
        shutil.rmtree(place, ignore_errors=True)
