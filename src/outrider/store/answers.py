"""Answers that are kept for retries, on every store: each goes with whatever it is about.

An answer may hold what its thing holds (a name, a memory's text), so it is stored only while all that it is about is
there, and erased in the transaction that deletes one of these. Answers that are committed together with a session's
events are the stores' own; they are found by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from outrider.errors import AlreadyAnswered
from outrider.ports.log import KeptAnswer, SessionKey
from outrider.store.steps import Recorded, Steps, erase, first, run

KEEPS: Mapping[str, str] = {
    "sesn": "keep_session",
    "env": "keep_environment",
    "vlt": "keep_vault",
    "vcrd": "keep_credential",
    "memstore": "keep_memory_store",
    "mem": "keep_memory",
    "memver": "keep_memory_version",
    "whk": "keep_webhook",
    "work": "keep_work",
}
"""By what a thing's id begins with: how it is kept from being deleted. Things of other kinds are never deleted, or
their answers are stored in the transaction that makes them."""

WHOLES: Mapping[str, None] = dict.fromkeys(("env", "vlt", "memstore"))
"""What parts are found in, beside their ids."""


class StoredAnswers(Recorded):
    """Implements a part of `Records`."""

    async def put_answer(self, workspace: str, keep: KeptAnswer) -> None:
        await self._walks.walk(partial(_put, workspace, keep))

    async def forget_answers(self, before: str) -> None:
        await self._walks.walk(partial(_forget, {"before": before}))


def check_unanswered(workspace: str, keep: KeptAnswer | None) -> Steps[None]:
    """Raises AlreadyAnswered when another attempt of the request was taken meanwhile."""
    if keep is None or (keep.if_none_since is None and keep.if_retries is None):
        return
    names = {"workspace": workspace, "idempotency": keep.name}
    if (yield from first("answered", {**names, "since": keep.if_none_since, "retries": keep.if_retries})) is not None:
        raise AlreadyAnswered("The request was answered meanwhile.")


def keep_answer(workspace: str, keep: KeptAnswer | None) -> Steps[None]:
    """For retries of the request that this transaction answers."""
    if keep is None:
        return
    names = {"workspace": workspace, "idempotency": keep.name, "at": keep.at}
    said = {"status": keep.answer.status, "body": keep.answer.body, "retries": int(keep.retry)}
    yield from run("put_answer", names | said)
    for thing in keep.about:
        yield from run("put_answer_about", names | {"thing": thing})


def erase_about(workspace: str, thing: str) -> Steps[None]:
    """Once the thing is gone, or what it held: whoever would store an answer about it has stored it, or never will."""
    names = {"workspace": workspace, "thing": thing}
    yield from erase("erase_answers_about", names)
    yield from run("untie_answers", names)


def erase_about_work(key: SessionKey) -> Steps[None]:
    """The same of all work items of a session, which are held, however many there are."""
    names = {"workspace": key.workspace, "session": key.session}
    yield from erase("erase_answers_about_work", names)
    yield from run("untie_answers_about_work", names)


def _put(workspace: str, keep: KeptAnswer) -> Steps[None]:
    if (yield from _all_there(workspace, keep.about)):
        yield from keep_answer(workspace, keep)


def _all_there(workspace: str, about: tuple[str, ...]) -> Steps[bool]:
    """Held, each in the order of the path, which goes from the whole to the part."""
    names: dict[str, Any] = {"workspace": workspace, **WHOLES, **{_kind(thing): thing for thing in about}}
    for thing in about:
        query = KEEPS.get(_kind(thing))
        if query is not None and (yield from run(query, names | {"thing": thing})) != 1:
            return False
    return True


def _kind(thing: str) -> str:
    return thing.partition("_")[0]


def _forget(values: dict[str, str]) -> Steps[None]:
    yield from run("forget_answers", values)
    yield from run("forget_answers_about", values)
