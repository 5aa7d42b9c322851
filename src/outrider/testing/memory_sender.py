"""Webhooks sent to nobody: answers as it is told, and remembers what was sent."""

from __future__ import annotations

from collections.abc import Sequence

from outrider.errors import Overloaded
from outrider.ports.vaults import SecretRef
from outrider.ports.webhooks import Sent


class MemorySender:
    """Implements `Sender`. `answers` are the statuses of the next sendings, None for a vault that does not answer; then
    it goes on with the last one."""

    def __init__(self, answers: Sequence[int | None] = (204,)) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str]] = []

    async def send(self, ref: SecretRef, event: str, payload: str) -> Sent:
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status is None:
            raise Overloaded("The vault does not answer.")
        self.sent.append((ref.credential, event))
        return Sent(status, None if status < 300 else "no 2xx")
