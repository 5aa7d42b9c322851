"""One server tree of the kill matrix: with a data directory and a port of its own, started again when it ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from outrider.testing.ports import free_port
from outrider.testing.server_process import ServerProcess, end_sandboxes, running_server
from outrider.testing.stops import Stops

DEADLINE = 40.0
CONFIG = "[limits]\nbackoff_first = 0.1\nbackoff_most = 0.5\n"


class Tree:
    """One server tree with a data directory and a port of its own. Started again when its supervisor is gone."""

    def __init__(
        self, data: Path, environment: Mapping[str, str], stops: Stops, config: str = CONFIG, role: str | None = None
    ) -> None:
        self.data = data
        self.data.mkdir(mode=0o711)
        (self.data / "config.toml").write_text(config)
        self.url = f"http://127.0.0.1:{free_port()}"
        self._plain = role is None or "api" in role  # others answer to their peers alone
        self._role = () if role is None else ("--role", role)
        self._environment = environment
        self._stops = stops
        self._running = ExitStack()
        self._mending = threading.Lock()
        self._server: ServerProcess | None = None

    def start(self) -> None:
        self._server = self._running.enter_context(
            running_server(
                self.data,
                options=("--port", self.url.rpartition(":")[2], *self._role),
                environment=self._environment,
                faults=self._stops.theirs,
                keep_sandboxes=True,
            )
        )

    def until_up(self) -> None:
        assert self._server is not None
        if self._plain:
            self._server.until_up()
        else:
            self._server.children()

    def until_settled(self) -> None:
        """No number of deaths ends it from now on."""
        assert self._server is not None
        self._server.until_settled()

    def stop(self) -> None:
        self._running.close()
        end_sandboxes(self.data)

    def mend(self) -> None:
        """Start the tree again if it is gone, as a host's service would: it was killed, or gave up because a child was
        killed six times in a row before it had lived for a second."""
        with self._mending:
            if self._server is None or self._server.process.poll() is not None:
                self._running.close()
                self.start()
                self.until_up()

    def pids(self) -> list[int]:
        """The supervisor and its children, as far as they are known now."""
        assert self._server is not None
        facts = self._server.facts()
        return [self._server.process.pid, *(facts["children"].values() if facts else ())]

    def ended(self, pid: int) -> bool:
        """Whether the end of this process was the end of the tree."""
        assert self._server is not None
        if pid != self._server.process.pid:
            return False
        self._server.process.wait(DEADLINE)
        return True

    def until_said(self, words: Sequence[str]) -> None:
        assert self._server is not None
        server = self._server
        before = len(server.said())
        server.until(lambda: any(word in server.said()[max(0, before - 2000) :] for word in words), " or ".join(words))

    def said(self) -> str:
        return "" if self._server is None else self._server.said()[-3000:]
