"""Rules of metadata bags: merging a patch, and the limits of the bag that results."""

from __future__ import annotations

from collections.abc import Mapping

from outrider.errors import InvalidRequest
from outrider.wire.limits import METADATA_KEY, METADATA_PAIRS, METADATA_VALUE


def merged(
    bag: Mapping[str, str],
    patch: Mapping[str, str | None] | None,
    *,
    empty_deletes: bool = False,
    error_code: str | None = None,
) -> dict[str, str]:
    """The bag after a patch: a string sets, null deletes (with `empty_deletes`, an empty string too), the rest stays.

    A patch of None changes nothing. Raises InvalidRequest with `error_code` when the result breaks the limits.
    """
    result = dict(bag)
    for key, value in (patch or {}).items():
        if value is None or (empty_deletes and value == ""):
            result.pop(key, None)
        else:
            result[key] = value
    return checked(result, error_code=error_code)


def checked(bag: Mapping[str, str], *, error_code: str | None = None) -> dict[str, str]:
    """The bag itself. Raises InvalidRequest that names every broken limit."""
    problems = [problem for key, value in bag.items() for problem in _problems(key, value)]
    if len(bag) > METADATA_PAIRS:
        problems.append(f"at most {METADATA_PAIRS} pairs are allowed, not {len(bag)}")
    if problems:
        raise InvalidRequest(f"metadata: {'; '.join(problems[:METADATA_PAIRS])}", error_code=error_code)
    return dict(bag)


def _problems(key: str, value: str) -> list[str]:
    found: list[str] = []
    if not 1 <= len(key) <= METADATA_KEY:
        found.append(f"key {key[:METADATA_KEY]!r} must have 1 to {METADATA_KEY} characters")
    if len(value) > METADATA_VALUE:
        found.append(f"the value of {key[:METADATA_KEY]!r} must have at most {METADATA_VALUE} characters")
    return found
