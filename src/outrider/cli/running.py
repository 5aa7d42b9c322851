"""The server that runs on a data directory: its address and first key, as the supervisor wrote them down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from outrider import config
from outrider.errors import NotFound

if TYPE_CHECKING:
    from anthropic import APIError


@dataclass(frozen=True, slots=True)
class Address:
    url: str
    key: str


def address(environment: Mapping[str, str], data: Path | None) -> Address:
    """Raises NotFound when no server has been started on this data, or its key may not be read."""
    settings = config.load(environment, data=data)
    place = settings.data / "server.json"
    try:
        url = json.loads(place.read_text())["url"]
    except OSError as error:
        raise NotFound(
            f"No server has been started on {settings.data} ({error.strerror}); run `outrider serve`."
        ) from None
    key = environment.get("OUTRIDER_API_KEY") or _key(settings.data / "api-key")
    return Address(url, key)


def _key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise NotFound(
            f"The first API key can't be read from {path}: {error.strerror}. If the server was started with a key in"
            " OUTRIDER_API_KEY, set it here, too."
        ) from None


def reason(error: APIError, at: Address) -> str:
    """What the server said, or that it said nothing, in a sentence."""
    body = error.body
    if isinstance(body, dict):
        said = cast("dict[str, Any]", body)
        return f"{said.get('error', {}).get('message', error.message)} (request {said.get('request_id')})"
    return f"{at.url}: {error.message} {error.__cause__ or ''}".rstrip()
