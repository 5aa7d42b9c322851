"""Who may ask, how often and from where: rates of workspaces, names of the server, origins of web pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from outrider.config.settings import HOSTED_RATES, RateLimits
from outrider.errors import InvalidRequest

_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?|[a-z]+://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
RATE_KEYS = ("hosted", *RateLimits.__dataclass_fields__)


def rate_limits(values: Mapping[str, Any], path: Path) -> RateLimits:
    """`hosted = true` gives the hosted service's figures; a figure of one's own goes before it."""
    hosted = values.get("hosted", False)
    if not isinstance(hosted, bool):
        raise InvalidRequest(f"Config file {path}: rate_limits.hosted must be true or false, not {hosted!r}")
    figures = {name: value for name, value in values.items() if name != "hosted"}
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidRequest(f"Config file {path}: rate_limits.{name} must be a whole number above 0")
    start = HOSTED_RATES if hosted else RateLimits()
    return RateLimits(**{name: figures.get(name, getattr(start, name)) for name in RateLimits.__dataclass_fields__})


def allowed_hosts(value: Any, path: Path) -> tuple[str, ...]:
    """Names, without a port: those by which clients know this server."""
    said = "a list of host names in lower case, without port"
    return _listed(value, _NAME, f"Config file {path}: server.allowed_hosts must be {said}")


def cors_origins(value: Any, path: Path) -> tuple[str, ...]:
    """Exact origins, as browsers send them; there is no wildcard."""
    said = "a list of origins such as https://app.example.com, in lower case, without a path"
    return _listed(value, _ORIGIN, f"Config file {path}: server.cors_origins must be {said}")


def _listed(value: Any, pattern: re.Pattern[str], rule: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{rule}, not {value!r}")
    for one in cast("list[Any]", value):
        if not isinstance(one, str) or not pattern.fullmatch(one):
            raise InvalidRequest(f"{rule}, not {one!r}")
    return tuple(cast("list[str]", value))
