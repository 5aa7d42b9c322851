"""A real sandbox host for tests: a zygote in a child process, directories of its own, drivers that speak to it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from outrider.config import Limits
from outrider.ports.sandbox import Living
from outrider.sandbox import cgroups, zygote
from outrider.sandbox.driver import BubblewrapSandboxes
from outrider.sandbox.options import ZygoteOptions
from outrider.sandbox.plan import Hold, zygote_options

ROOMY = Limits(reserve_share=0.0, reserve_bytes=0)
_BOOT = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv[3]);"
    "from outrider.sandbox import zygote; zygote.main(sys.argv[1], json.loads(sys.argv[2]))"
)


def living(*sessions: str) -> Living:
    """These are stored, and no others."""

    async def which(asked: Collection[str]) -> set[str]:
        return set(sessions).intersection(asked)

    return which


class SandboxHost:
    """`start` before use, `close` after. `fork` makes the zygote by a fork of this process in place of a new one, for
    a user who can't reach the interpreter. `workspaces`: a directory that several hosts share."""

    def __init__(
        self,
        *,
        limits: Limits = ROOMY,
        hold: Hold | None = None,
        strict: bool = False,
        watch: float = 0.1,
        fork: bool = False,
        workspaces: Path | None = None,
        egress: bool = False,
        build_environment: Mapping[str, str] | None = None,
        layer_days: float = 30.0,
    ) -> None:
        # Not in pytest's own directory: its parents can't be entered by the sandboxes' users.
        self.place = Path(tempfile.mkdtemp(prefix="outrider-", dir="/tmp"))
        self.place.chmod(0o711)
        self.limits = limits
        if workspaces is not None:
            (self.place / "sandboxes").symlink_to(workspaces)
        self.root, self.run = self.place / "sandboxes", self.place / "run" / "s"  # as in the server's settings
        self.control = self.place / "run" / "zygote.sock"
        self.egress = self.place / "egress.sock"
        self.options: ZygoteOptions = zygote_options(
            self.root,
            self.run,
            limits,
            hold=hold,
            strict=strict,
            watch=watch,
            egress=self.egress if egress else None,
            build_environment=build_environment,
            layer_days=layer_days,
        )
        self.pid = 0
        self._fork = fork
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.options["parent"] = os.getpid()
        if self._fork:
            self.pid = os.fork()
            if self.pid == 0:
                zygote.main(str(self.control), self.options)
            return
        words = [sys.executable, "-c", _BOOT, str(self.control), json.dumps(self.options), json.dumps(sys.path)]
        self._child = subprocess.Popen(words)
        self.pid = self._child.pid

    def kill_zygote(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
        else:
            os.waitpid(self.pid, 0)

    def driver(self, limits: Limits | None = None) -> BubblewrapSandboxes:
        return BubblewrapSandboxes(self.root, self.control, self.run, limits or self.limits)

    def own(self, session: str) -> Path:
        """The session's directory on the host's side."""
        return self.root / "sessions" / session / "own"

    def shim_pid(self, session: str) -> int:
        return int(json.loads((self.own(session) / "state.json").read_text())["pid"])

    async def status(self, session: str) -> dict[str, Any]:
        """What its shim says of itself."""
        reader, writer = await asyncio.open_unix_connection(str(self.run / session))
        writer.write(b'{"op": "status"}\n')
        said = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return said

    async def close(self) -> None:
        """Erase every session, end the zygote, remove the directories."""
        try:
            async with asyncio.timeout(30):
                await self.driver().sweep(living())
        finally:
            self.end()
            shutil.rmtree(self.place)

    def end(self) -> None:
        """End the zygote and what it made outside of its directories."""
        self.kill_zygote()
        root = os.geteuid() == 0
        cgroups.discard(cgroups.find(root=root, group=cgroups.group_name(str(self.root))))
