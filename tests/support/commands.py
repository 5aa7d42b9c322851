"""`outrider ...` in processes of its own that need not import the SDK each time: they are forked from one that has."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import Timer

from outrider.cli import main

SECONDS = 50.0  # less than a test may take, so that who waits in vain says for what
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["anthropic", "rich.console", "outrider.models.client"])


def clean(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what would configure a server or a client, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    return kept | dict(more)


def _become(words: list[str], environment: dict[str, str], output: Connection) -> None:
    for fd in (1, 2):
        os.dup2(output.fileno(), fd)
    output.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["outrider", *words]
    main()


@contextmanager
def running(
    words: list[str], environment: Mapping[str, str], *, interrupt: bool, code: int
) -> Generator[Iterator[str]]:
    """The lines that it prints, as they come. At the end it is interrupted, as by Ctrl-C, or left to end by itself; it
    has to end with this code and without a traceback."""
    reader, writer = _FORKS.Pipe(duplex=False)
    child = _FORKS.Process(target=_become, args=(words, clean(environment), writer))
    child.start()
    writer.close()
    patience = Timer(SECONDS, child.kill)
    patience.start()
    try:
        with os.fdopen(os.dup(reader.fileno())) as lines:
            yield lines
            if interrupt and child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
            left = lines.read()
        child.join(SECONDS)
        assert (child.exitcode, "Traceback" in left) == (code, False), left
    finally:
        patience.cancel()
        child.kill()
        child.join(SECONDS)
        child.close()
        reader.close()


def printed(words: list[str], environment: Mapping[str, str], *, code: int = 0) -> str:
    """All that it prints; it has to end with this code."""
    with running(words, environment, interrupt=False, code=code) as lines:
        said = "".join(lines)
    assert "Traceback" not in said, said
    return said
