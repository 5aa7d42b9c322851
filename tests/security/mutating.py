"""Takes a listed defence away in a copy of the package and runs the test that must then fail.

The tests run in forks of one process that has imported the slow libraries and nothing of ours; a fork imports that from
the copy.
"""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import outrider

PLACE = Path(__file__).parent
ROOT = PLACE.parents[1]
PACKAGE = Path(outrider.__file__).parent
FAILED = 1  # pytest's exit code when tests ran and some failed; another one is a broken mutation
TEST_SECONDS = 100
OPTIONS = (
    "-q",
    "-x",
    "--assert=plain",
    "--tb=native",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-p",
    "no:schemathesis",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
"""Native tracebacks: before 3.11.5, Python fails to parse code for those of pytest where a test left much on its stack.
The warning is of plugins that were imported before the fork: as an error it would end every run before its test."""

SLOW = (
    "anthropic",
    "anyio._backends._asyncio",
    "asyncpg",
    "cryptography.x509",
    "hypothesis",
    "starlette.routing",
    "uvicorn",
    "uvloop",
)

Listed = dict[str, Any]


def listed(name: str) -> list[Listed]:
    return tomllib.loads((PLACE / name).read_text())["mutation"]


def name_of(one: Listed) -> str:
    return one["defence"].replace(" ", "-")


class Runner:
    """A copy of the package that every user may read, and the process whose forks import from it."""

    def __init__(self, copy: Path, process: subprocess.Popen[str]) -> None:
        self._copy = copy
        self._process = process

    def without(self, one: Listed) -> tuple[int, str]:
        """The exit code and output of the defence's test without the defence."""
        changed = self._copy / "outrider" / one["file"]
        text = changed.read_text()
        assert text.count(one["find"]) == 1, "the defence is not where the list says"
        changed.write_text(text.replace(one["find"], one["replace"]))
        try:
            return self._run(one["test"])
        finally:
            changed.write_text(text)

    def _run(self, test: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([test, TEST_SECONDS]) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], TEST_SECONDS + 10)
        assert ready, f"{test} did not end"
        code, said = json.loads(self._process.stdout.readline())
        return code, said


@contextmanager
def runner() -> Generator[Runner]:
    copy = Path(tempfile.mkdtemp(prefix="om", dir="/tmp"))
    shutil.copytree(PACKAGE, copy / "outrider", ignore=shutil.ignore_patterns("__pycache__"))  # which others write to
    for directory in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Runner(copy, process)
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(copy)


def must_fail(one: Listed, running: Runner) -> None:
    """Its test runs without the defence, and fails."""
    if one.get("root") and os.geteuid() != 0:
        pytest.skip("its test needs root")
    code, said = running.without(one)
    assert code == FAILED, said
    assert "\nFAILED " in said, f"the test did not come as far as to fail\n{said}"


def serve() -> None:
    """The process that forks: a test and its seconds on a line, its exit code and output on another."""
    for library in SLOW:
        import_module(library)
    gc.freeze()  # forks need not look through what these made
    for line in sys.stdin:
        test, seconds = json.loads(line)
        with open(os.memfd_create("said"), "r+b") as said:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                signal.alarm(seconds)
                os._exit(pytest.main([*OPTIONS, test]))
            _, status = os.waitpid(pid, 0)
            said.seek(0)
            text = said.read().decode(errors="replace")[-5000:]
        sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), text]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path[0] = os.environ["PYTHONPATH"]
    serve()
