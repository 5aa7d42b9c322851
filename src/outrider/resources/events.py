"""What a client's events may hold on this server, beyond their types. What the session's state allows is session/'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outrider.errors import NotSupported


def check_offered(events: Sequence[Mapping[str, Any]], *, field: str = "events") -> None:
    """Raises NotSupported for outcomes and for content that lies in uploaded files."""
    for index, event in enumerate(events):
        if event["type"] == "user.define_outcome":
            raise NotSupported(f"{field}.{index}: user.define_outcome is not offered by this server yet")
        for place, block in enumerate(event.get("content", ())):
            source = block.get("source")
            if isinstance(source, dict) and source["type"] == "file":
                raise NotSupported(
                    f"{field}.{index}.content.{place}.source: uploaded files are not offered by this server yet"
                )
