"""Stored answers in memory, for tests and trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from outrider.errors import AlreadyAnswered
from outrider.ports.log import KeptAnswer, SessionKey, StoredAnswer


class MemoryAnswers(ABC):
    """Implements the part of `Records` that keeps answers. Who deletes something says so by `_erase_about`."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[tuple[str, str], tuple[str, StoredAnswer]] = {}
        self._about: dict[tuple[str, str], tuple[str, ...]] = {}

    async def answer(self, workspace: str, idempotency: str, *, not_before: str) -> StoredAnswer | None:
        at, answer = self._answers.get((workspace, idempotency), ("", None))
        return answer if at >= not_before else None

    async def put_answer(self, workspace: str, keep: KeptAnswer) -> None:
        if all(self._is_there(workspace, thing) for thing in keep.about):
            self._keep(workspace, keep)

    @abstractmethod
    def _is_there(self, workspace: str, thing: str) -> bool:
        """Also said of kinds that are never deleted."""

    def _keep(self, workspace: str, keep: KeptAnswer) -> None:
        before = self._answers.get((workspace, keep.name))
        retries = (before[1].retries if before else 0) + keep.retry
        self._answers[workspace, keep.name] = (keep.at, replace(keep.answer, retries=retries))
        self._about[workspace, keep.name] = keep.about

    def _check_unanswered(self, workspace: str, keep: KeptAnswer | None) -> None:
        at, answer = self._answers.get((workspace, keep.name if keep else ""), ("", None))
        if keep is None or answer is None:
            return
        since = keep.if_none_since is not None and at >= keep.if_none_since
        if since or (keep.if_retries is not None and answer.retries > keep.if_retries):
            raise AlreadyAnswered("The request was answered meanwhile.")

    def _erase_about(self, workspace: str, thing: str) -> None:
        for place, about in list(self._about.items()):
            if place[0] == workspace and thing in about:
                self._answers.pop(place, None)
                del self._about[place]

    def _erase_answers(self, key: SessionKey, opened_by: str) -> None:
        self._erase_about(key.workspace, key.session)
        for workspace, name in list(self._answers):
            if workspace == key.workspace and (name == opened_by or name.startswith(f"{key.session}/")):
                del self._answers[workspace, name]

    async def forget_answers(self, before: str) -> None:
        for place, (at, _) in list(self._answers.items()):
            if at < before:
                del self._answers[place]
                self._about.pop(place, None)
