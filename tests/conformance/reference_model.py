"""A session as the API's rules describe it, small enough to be checked by eye: what is accepted, what happens then.

Written from the rules alone (statuses, the queue, pending calls, interrupts, archiving), with nothing of the server's
own code. It knows no time: after each request the session works until it rests.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Literal

CUSTOM, ASKED, ALLOWED = "c", "a", "r"
Kind = Literal["c", "a", "r"]
Fate = Literal["pending", "allowed", "ran", "refused"]


@dataclass(frozen=True)
class Stage:
    """One answer of the model: it may stand still first (`hold`), and calls a tool for each letter of `uses`."""

    hold: bool
    uses: str


@dataclass(frozen=True)
class Prompt:
    """A user's message. The model works its stages off, one after the other, and ends with words."""

    number: int
    stages: tuple[Stage, ...]


@dataclass
class Use:
    """One tool call and what became of it: it waits for the client, may run (and does when the session works again),
    gave a result, or gave an error."""

    kind: Kind
    fate: Fate

    @property
    def open(self) -> bool:
        return self.fate in ("pending", "allowed")


@dataclass(frozen=True)
class Message:
    prompt: Prompt


@dataclass(frozen=True)
class Interrupt:
    pass


@dataclass(frozen=True)
class Confirm:
    """An answer to an asked call; `use` counts all calls of the session, None names one that doesn't exist."""

    use: int | None
    allow: bool


@dataclass(frozen=True)
class Result:
    """A custom tool's result."""

    use: int | None


Event = Message | Interrupt | Confirm | Result


class Refused(Exception):
    """The API answers 400."""


@dataclass
class Session:
    """`at` is the prompt that is worked at, with its next stage; `held` says that the model stands still there."""

    terminated: bool = False
    working: bool = False
    held: bool = False
    at: tuple[Prompt, int] | None = None
    queue: list[Prompt] = field(default_factory=list[Prompt])
    taken: list[int] = field(default_factory=list[int])
    uses: list[Use] = field(default_factory=list[Use])

    @property
    def status(self) -> str:
        return "terminated" if self.terminated else "running" if self.working else "idle"

    @property
    def pending(self) -> list[int]:
        return [number for number, use in enumerate(self.uses) if use.fate == "pending"]

    @property
    def stop_reason(self) -> str:
        return "requires_action" if self.pending else "end_turn"

    # -- requests

    def send(self, *events: Event) -> Session:
        """The session after this request: all of it or, with Refused, nothing."""
        after = copy.deepcopy(self)
        for event in events:
            if after.terminated:
                raise Refused
            after._take(event)
        after._work()
        return after

    def archive(self) -> Session:
        """Only at rest; a second time changes nothing. Calls that wait are never answered any more."""
        if self.working:
            raise Refused
        after = copy.deepcopy(self)
        after.terminated = True
        return after

    def release(self) -> Session:
        """The model goes on."""
        after = copy.deepcopy(self)
        after._reply()
        after._work()
        return after

    def _take(self, event: Event) -> None:
        match event:
            case Message(prompt):
                if self.pending and not self.working:
                    raise Refused
                self.queue.append(prompt)
                self.working = True
            case Interrupt():
                for use in self.uses:
                    use.fate = "refused" if use.open else use.fate
                self.at, self.held = None, False
                self.working = self.working or bool(self.queue)
            case Confirm(use, allow):
                self._answer(use, ASKED, "allowed" if allow else "refused")
            case Result(use):
                self._answer(use, CUSTOM, "ran")

    def _answer(self, number: int | None, kind: Kind, fate: Fate) -> None:
        if number is None or self.uses[number].kind != kind:
            raise Refused
        if self.uses[number].fate == "pending":  # else a repeat, which is harmless
            self.uses[number].fate = fate
            self.working = not self.pending

    # -- work

    def _work(self) -> None:
        """On to the next rest: nothing to do, calls that wait for the client, or a model that stands still."""
        while self.working and not self.held:
            for use in self.uses:
                use.fate = "ran" if use.fate == "allowed" else use.fate
            if self.at is None:
                self._next_turn()
            elif self.at[1] == len(self.at[0].stages):
                self.at = None
            elif self.at[0].stages[self.at[1]].hold:
                self.held = True
            else:
                self._reply()

    def _next_turn(self) -> None:
        """All messages that wait are served by one turn; the model goes by the last."""
        self.working = bool(self.queue)
        if self.queue:
            self.taken += [prompt.number for prompt in self.queue]
            self.at = (self.queue[-1], 0)
            self.queue = []

    def _reply(self) -> None:
        """The model's answer at this stage; without calls it ends the turn."""
        assert self.at is not None
        prompt, number = self.at
        self.held = False
        uses = prompt.stages[number].uses
        self.at = (prompt, number + 1) if uses else None
        self.uses += [Use(kind, "ran" if kind == ALLOWED else "pending") for kind in kinds(uses)]
        self.working = not self.pending


def kinds(uses: str) -> list[Kind]:
    known: dict[str, Kind] = {CUSTOM: CUSTOM, ASKED: ASKED, ALLOWED: ALLOWED}
    return [known[letter] for letter in uses]
