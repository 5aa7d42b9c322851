"""Rules of an environment's packages: a name as its manager knows it, with a version if need be; no option, no address,
no path. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from outrider.errors import InvalidRequest
from outrider.ports.packages import MANAGERS

MOST = 100
LONGEST = 200

_VERSION = r"[A-Za-z0-9][A-Za-z0-9.*+!_-]*"
_PIP_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PIP_CLAUSE = rf"(?:===|==|~=|!=|<=|>=|<|>) ?{_VERSION}"
_NPM_NAME = r"[A-Za-z0-9][A-Za-z0-9._~-]*"


class Form(NamedTuple):
    """How a manager's packages are written, and an example."""

    pattern: re.Pattern[str]
    example: str


FORMS: Mapping[str, Form] = {
    "apt": Form(
        re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+](?::[a-z0-9-]*[a-z0-9])?(?:=[A-Za-z0-9.+:~-]*[A-Za-z0-9.+:~])?"),
        "jq or jq=1.6-2.1",
    ),
    "cargo": Form(re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:@[=^~]?[0-9][A-Za-z0-9.+-]*)?"), "ripgrep@14.1.0"),
    "gem": Form(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9][A-Za-z0-9.-]*)?"), "rake:13.2.1"),
    "go": Form(
        re.compile(
            r"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)+(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*(?:@[A-Za-z0-9][A-Za-z0-9._+-]*)?"
        ),
        "example.com/tool/cmd/tool@v1.2.3",
    ),
    "npm": Form(
        re.compile(rf"(?:@{_NPM_NAME}/)?{_NPM_NAME}(?:@(?:[~^=]|[<>]=?)?{_VERSION})?"),
        "typescript@5.6.3 or @types/node",
    ),
    "pip": Form(
        re.compile(
            rf"{_PIP_NAME}(?:\[{_PIP_NAME}(?:, ?{_PIP_NAME})*\])? ?(?:{_PIP_CLAUSE}(?: ?, ?{_PIP_CLAUSE})*)?(?<! )"
        ),
        "pandas==2.1 or httpx[http2]>=0.27,<1",
    ),
}


def no_packages() -> dict[str, Any]:
    return {"type": "packages", **{manager: list[str]() for manager in MANAGERS}}


def merged(given: Mapping[str, Any] | None, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a request makes of an environment's packages: a manager's list not given stays. Raises InvalidRequest."""
    made = dict(before)
    for manager in MANAGERS:
        listed = None if given is None else given.get(manager)
        if listed is not None:
            made[manager] = _checked(manager, listed)
    return made


def _checked(manager: str, listed: Sequence[str]) -> list[str]:
    place = f"config.packages.{manager}"
    if len(listed) > MOST:
        raise InvalidRequest(f"{place}: List should have at most {MOST} items after validation, not {len(listed)}")
    for index, package in enumerate(listed):
        form = FORMS[manager]
        if len(package) > LONGEST or not form.pattern.fullmatch(package):
            raise InvalidRequest(
                f"{place}.{index}: Input should be a package of {manager} such as {form.example}, at most {LONGEST}"
                f" characters; no option, address or path; not {package[:LONGEST]!r}"
            )
    return list(listed)


def check_reachable(config: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for packages that the environment's own networking would not let in."""
    networking = config["networking"]
    wanted = [manager for manager in MANAGERS if config["packages"][manager]]
    if wanted and networking["type"] == "limited" and not networking["allow_package_managers"]:
        raise InvalidRequest(
            f"config.packages.{wanted[0]}: with limited networking, packages need"
            " config.networking.allow_package_managers to be true"
        )
