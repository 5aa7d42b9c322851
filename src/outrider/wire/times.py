"""Times as clients write them: RFC 3339 with an offset, and nothing else that ISO 8601 knows."""

from __future__ import annotations

import re
from datetime import datetime

from outrider.clock import rfc3339

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def read_time(given: str) -> str | None:
    """In the form of `Clock.now`, so that they compare as text; None for what is no time, or none of our years in
    UTC."""
    if not TIMESTAMP.fullmatch(given):
        return None
    try:
        return rfc3339(datetime.fromisoformat(given.upper()))
    except (ValueError, OverflowError):  # a 13th month, or a time before the year 1
        return None
