"""Which skills the model is told of: those of its agent, and those that lie in its repositories. Pure.

Of each it sees the name, what it is for, and where its file is. Their words are strangers': kept to one line each.
"""

from __future__ import annotations

from collections.abc import Iterator

from outrider.harness.permissions import policy_of
from outrider.session.fold import SELF_HOSTED
from outrider.session.state import Context
from outrider.wire.skill_file import SKILL_FILE

PLACE = "/mnt/session/skills"
PLACE_OF_WORKERS = "skills"
"""Where the SDK's worker puts them, beneath its working directory."""
HEADING = "Skills. Before you do what one is for, read its file; what it names lies beside it:"


def announced(context: Context) -> list[str]:
    """Lines of the system prompt; none where the model could not read a file."""
    if not policy_of(context.agent, "read"):
        return []
    lines = [*_own(context), *_of_repositories(context)]
    return [HEADING, *lines] if lines else []


def _own(context: Context) -> Iterator[str]:
    at_worker = context.environment.get("config", {}).get("type") == SELF_HOSTED
    for one in context.skills:
        place = f"{PLACE_OF_WORKERS if at_worker else PLACE}/{one['directory']}"
        yield f"- {one['name']}: {one['description']} ({place}/{SKILL_FILE})"


def _of_repositories(context: Context) -> Iterator[str]:
    for mount in context.mounts:
        if not mount["error"]:
            for one in mount["skills"]:
                yield f"- {one['name']}: {one['description']} ({mount['mount_path']}/{one['path']})"
