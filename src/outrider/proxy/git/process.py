"""One git command on the vault's side: bounded in time, size and what it may do, and without any secret.

It gets no hooks, helpers, submodules, prompts or settings of the machine's, and no other protocol than HTTPS. What it
asks of the network goes through a proxy of ours, which adds the token; git never holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

LARGEST_FILE = 256 * 1024**2
CPU_SECONDS = 60
LONGEST_COMPLAINT = 64 * 1024
_TOO_LARGE = re.compile(r"File too large|died of signal (?:9|24|25)\b|invalid index-pack output")
PATH = "/usr/local/bin:/usr/bin:/bin"
_BOUNDED = f'ulimit -f {LARGEST_FILE // 512} && ulimit -t {CPU_SECONDS} && exec "$@"'


@dataclass(frozen=True, slots=True)
class Done:
    """`out` is cut off at what was asked for."""

    code: int
    out: bytes
    said: str

    @property
    def too_large(self) -> bool:
        return bool(_TOO_LARGE.search(self.said))


def find() -> str | None:
    return shutil.which("git", path=PATH)


def settings(url: str, proxy: str, ca: Path) -> str:
    """The whole configuration of a bare repository that is made for one look. `proxy` holds the proxy's password."""
    return f"""\
[core]
	repositoryformatversion = 1
	bare = true
	hooksPath = /dev/null
	fsmonitor = false
	askPass =
	symlinks = false
[extensions]
	partialClone = origin
[remote "origin"]
	url = "{url}"
	promisor = true
	partialclonefilter = blob:none
	tagOpt = --no-tags
[http]
	proxy = "{proxy}"
	proxyAuthMethod = basic
	sslCAInfo = "{ca}"
	sslVerify = true
	followRedirects = false
[credential]
	helper =
[protocol]
	allow = never
[protocol "https"]
	allow = always
[fetch]
	recurseSubmodules = false
	unpackLimit = 1
	negotiationAlgorithm = noop
[transfer]
	bundleURI = false
[gc]
	auto = 0
[maintenance]
	auto = false
"""


def environment(place: Path) -> dict[str, str]:
    return {
        "PATH": PATH,
        "HOME": str(place),
        "GIT_DIR": str(place),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_PROTOCOL_FROM_USER": "0",
        "LC_ALL": "C",
    }


async def run(git: str, place: Path, *words: str, given: bytes = b"", most: int = 1024**2) -> Done:
    """Killed, with all that it has started, when the wait is cancelled or it writes more than `most`."""
    fd = os.memfd_create("given", os.MFD_CLOEXEC)
    try:
        os.write(fd, given)
        os.lseek(fd, 0, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _BOUNDED, "git", git, *words, cwd=place, env=environment(place), start_new_session=True,
            stdin=fd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        out, said = await asyncio.gather(_taken(process.stdout, most), _tail(process.stderr))
        if len(out) >= most:
            _kill(process.pid)
        return Done(await process.wait(), out, said.decode("utf-8", "replace"))
    finally:
        _kill(process.pid)
        await asyncio.gather(process.wait(), _emptied(process.stdout), _emptied(process.stderr))


async def _taken(pipe: asyncio.StreamReader, most: int) -> bytes:
    found = bytearray()
    while len(found) < most and (chunk := await pipe.read(min(65536, most - len(found)))):
        found += chunk
    return bytes(found)


async def _tail(pipe: asyncio.StreamReader) -> bytes:
    """The end of what it complains of: the cause comes last."""
    found = b""
    while chunk := await pipe.read(65536):
        found = (found + chunk)[-LONGEST_COMPLAINT:]
    return found


async def _emptied(pipe: asyncio.StreamReader) -> None:
    """What the dead have left, so that the pipe is closed."""
    while await pipe.read(65536):
        pass


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
