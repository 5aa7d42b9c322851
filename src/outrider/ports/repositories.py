"""The seam to whoever reads repositories on a session's behalf, with a token that only the vault has; and what git's
words mean as a `session.error`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from outrider.ports.egress import EgressRepository

LONGEST_DETAIL = 300

CLONE = "repository_clone_error"
CHECKOUT = "repository_checkout_error"
SENTENCES: Mapping[str, str] = {
    "repository_authentication_error": "the host did not accept the token, or wants one and got none",
    "repository_forbidden_error": "the host refuses access to it",
    "repository_not_found_error": "the host does not know it, or does not show it with this token",
    CHECKOUT: "it has no such branch or commit",
    CLONE: "it could not be cloned",
}
_WORDS = (
    (CLONE, re.compile(r"after CONNECT|CONNECT tunnel failed|Could not resolve")),
    (
        "repository_authentication_error",
        re.compile(r"could not read Username|Authentication failed|returned error: 401"),
    ),
    ("repository_forbidden_error", re.compile(r"returned error: 403")),
    ("repository_not_found_error", re.compile(r"repository '[^']*' not found|returned error: (?:404|410)")),
    (
        CHECKOUT,
        re.compile(r"Remote branch .* not found|ouldn't find remote ref|not our ref|no such commit|no such branch"),
    ),
)
_LINE = re.compile(r"^(?:fatal|error|remote): ?(.*)$", re.MULTILINE)
_NOT_PLAIN = re.compile(r"[^ -~]+")

READ_SECONDS = 30.0
"""The longest that a first model request waits for what a session's repositories say of themselves."""


@dataclass(frozen=True, slots=True)
class RepositorySkill:
    """A skill that lies in a repository; `path` is that of its SKILL.md, from the repository's root."""

    name: str
    description: str
    path: str


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """`checkout` is the resource's own object; None is the default branch."""

    session: str
    epoch: int
    workspace: str
    repository: EgressRepository
    checkout: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found, or why nothing was: `error` is the type of a `session.error`, `message` its text."""

    skills: tuple[RepositorySkill, ...] = ()
    error: str | None = None
    message: str = ""


class Repositories(Protocol):
    async def of(self, workspace: str, session: str) -> tuple[EgressRepository, ...]:
        """The session's repositories, with the versions of their tokens as they are now."""
        ...

    async def read(self, request: ReadRequest) -> Reading:
        """Bounded at `READ_SECONDS`. Raises Fenced."""
        ...


class NoRepositories:
    """For where there is no vault to ask."""

    async def of(self, workspace: str, session: str) -> tuple[EgressRepository, ...]:
        del workspace, session
        return ()

    async def read(self, request: ReadRequest) -> Reading:
        del request
        return Reading(error=CLONE, message="This server has no way to repositories.")


def error_of(said: str) -> str:
    """The type of error that git's messages speak of."""
    return next((kind for kind, words in _WORDS if words.search(said)), CLONE)


def message_of(kind: str, url: str, said: str = "") -> str:
    """The error's text; `said` is what git said, of which the last complaint is shown where nothing better is known."""
    complaints = _LINE.findall(said)
    detail = _NOT_PLAIN.sub(" ", complaints[-1])[:LONGEST_DETAIL].strip() if complaints and kind == CLONE else ""
    return f"{url}: {SENTENCES[kind]}" + (f": {detail}." if detail else ".")
