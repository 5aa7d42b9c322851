"""Reads what a repository says of its skills, from a bare copy of one commit that lasts as long as the look.

git asks for it through a listener of ours that serves this look alone, and that speaks as the egress proxy does towards
a sandbox: to this repository only, with its token, following no redirect, to addresses that sandboxes may reach.
Nothing is ever checked out, so that no name in the repository becomes a path here.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from outrider import faults
from outrider.githosts import GitHost
from outrider.ports.repositories import (
    CLONE,
    READ_SECONDS,
    Reading,
    ReadRequest,
    RepositorySkill,
    error_of,
    message_of,
)
from outrider.proxy.egress.connection import Connection, Terms
from outrider.proxy.egress.policy import Policy
from outrider.proxy.git import process
from outrider.proxy.git.attached import Attached, attached
from outrider.proxy.git.process import Done
from outrider.proxy.git.skills import skill

AT_ONCE = 4
MARGIN_SECONDS = 2.0
MOST_SKILLS = 100
LARGEST_LIST = 4 * 1024**2
LARGEST_SKILLS = 8 * 1024**2
USER = "outrider"
DIRECTORY = "mirrors"
_ENTRY = re.compile(rb"100(?:644|755) blob ([0-9a-f]{40,64})\t(\.claude/skills/[A-Za-z0-9._-]{1,128}/SKILL\.md)")
_UNADVERTISED = "does not allow request for unadvertised object"

log = logging.getLogger("outrider.git")


class Mirrors:
    """One for the process. `place` is the vault's directory; what a killed process left there is removed."""

    def __init__(self, terms: Terms, certificate: str, hosts: Sequence[GitHost], place: Path) -> None:
        self._terms = terms
        self._hosts = hosts
        self._place = place / DIRECTORY
        self._room = asyncio.Semaphore(AT_ONCE)
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(mode=0o700)
        self._ca = self._place / "ca.pem"
        self._ca.write_text(certificate)

    async def read(self, request: ReadRequest) -> Reading:
        """Within a little less than the time that its caller has. What takes longer has no skills to tell of."""
        url = request.repository.url
        found = next(iter(attached((request.repository,), self._hosts)), None)
        git = process.find()
        if found is None or git is None:
            reason = "its host is not in the settings" if found is None else "git is not installed on the vault's host"
            return Reading(error=CLONE, message=f"{url}: it could not be cloned: {reason}.")
        try:
            async with asyncio.timeout(READ_SECONDS - MARGIN_SECONDS), self._room:
                faults.point("vault.mirror.before")
                reading = await self._look(git, found, request)
                faults.point("vault.mirror.after")
                return reading
        except TimeoutError:
            log.warning("session %s: %s could not be read in time for its skills", request.session, url)
            return Reading()

    async def _look(self, git: str, found: Attached, request: ReadRequest) -> Reading:
        policy = Policy(request.session, request.epoch, request.workspace, limited=True, repositories=(found,))
        place = self._place / secrets.token_hex(8)
        try:
            async with _listening(policy, self._terms) as proxy:
                _lay_out(place, process.settings(found.place.url, proxy, self._ca))
                return await self._read(git, place, request)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _read(self, git: str, place: Path, request: ReadRequest) -> Reading:
        got = await process.run(git, place, "fetch", "-q", "--depth=1", *_FETCH, "origin", _wanted(request))
        if got.code != 0:
            return _failed(got, request)
        listed = await process.run(git, place, "ls-tree", "-rz", "refs/look", ".claude/skills/", most=LARGEST_LIST)
        entries = [match for line in listed.out.split(b"\0") if (match := _ENTRY.fullmatch(line))][:MOST_SKILLS]
        if not entries:
            return Reading()
        ids = b"".join(entry[1] + b"\n" for entry in entries)
        await process.run(git, place, "fetch", "-q", *_FETCH, "--no-write-fetch-head", "--stdin", "origin", given=ids)
        read = await process.run(git, place, "cat-file", "--batch", given=ids, most=LARGEST_SKILLS)
        paths = [entry[2].decode() for entry in entries]
        return Reading(tuple(_skills(read.out, paths)))


_FETCH = ("--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--filter=blob:none")


def _wanted(request: ReadRequest) -> str:
    checkout = request.checkout or {}
    if checkout.get("type") == "commit":
        return f"+{checkout['sha']}:refs/look"
    return f"+refs/heads/{checkout['name']}:refs/look" if checkout else "+HEAD:refs/look"


def _failed(got: Done, request: ReadRequest) -> Reading:
    """What only this look can't do is no failure: the checkout itself may work."""
    url = request.repository.url
    if got.too_large or _UNADVERTISED in got.said:
        log.warning("session %s: %s is read without its skills: %s", request.session, url, got.said[-200:])
        return Reading()
    kind = error_of(got.said)
    return Reading(error=kind, message=message_of(kind, url, got.said))


def _skills(output: bytes, paths: list[str]) -> list[RepositorySkill]:
    """From what `git cat-file --batch` wrote, as far as it came."""
    found: list[RepositorySkill] = []
    for path in paths:
        head, line_end, rest = output.partition(b"\n")
        words = head.split()
        if len(words) != 3 or not line_end:
            output = rest
            continue
        size = int(words[2])
        one = skill(path, rest[:size]) if len(rest) > size else None
        output = rest[size + 1 :]
        if one is not None:
            found.append(one)
    return found


def _lay_out(place: Path, settings: str) -> None:
    """A bare repository, made by hand: no template of the machine's comes into it."""
    for directory in (place, place / "objects", place / "refs"):
        directory.mkdir(mode=0o700)
    (place / "HEAD").write_text("ref: refs/heads/none\n")
    fd = os.open(place / "config", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(settings)


@asynccontextmanager
async def _listening(policy: Policy, terms: Terms) -> AsyncGenerator[str]:
    """A proxy for one look, which others on this machine could reach: so it wants a password. Gives its address."""
    password = secrets.token_hex(16)
    proof = b"Basic " + base64.b64encode(f"{USER}:{password}".encode())
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        listener.setblocking(False)
        accepting = asyncio.create_task(_accept(listener, policy, terms, proof))
        try:
            yield f"http://{USER}:{password}@127.0.0.1:{listener.getsockname()[1]}"
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)


async def _accept(listener: socket.socket, policy: Policy, terms: Terms, proof: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        while True:
            client, _ = await loop.sock_accept(listener)
            client.setblocking(False)
            task = group.create_task(Connection(client, lambda: policy, terms, proof).run())
            task.add_done_callback(lambda _, client=client: client.close())
