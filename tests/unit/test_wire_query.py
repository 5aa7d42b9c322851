"""How query strings are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.clock import rfc3339
from outrider.errors import InvalidRequest
from outrider.wire.query import Query

STATUSES = ("idle", "running")


def test_arrays_come_bracketed_or_plain_and_keep_their_order() -> None:
    assert Query("statuses[]=running&statuses[]=idle").choices("statuses", STATUSES) == ("running", "idle")
    assert Query("statuses%5B%5D=idle").choices("statuses", STATUSES) == ("idle",)
    assert Query("statuses=idle&statuses=idle").choices("statuses", STATUSES) == ("idle",)
    assert Query("").choices("statuses", STATUSES) == ()


def test_a_value_outside_the_list_names_the_parameter_and_the_choices() -> None:
    with pytest.raises(InvalidRequest, match=r"statuses: Input should be one of 'idle', 'running'"):
        Query("statuses[]=busy").choices("statuses", STATUSES)


def test_an_array_may_not_be_longer_than_its_limit() -> None:
    with pytest.raises(InvalidRequest, match="event_deltas: List should have at most 100 items"):
        Query("&".join(["event_deltas[]=idle"] * 101)).choices("event_deltas", STATUSES)


def test_unknown_keys_are_ignored() -> None:
    assert Query("beta=true&x=%ff&limit=3").limit(default=20, most=100) == 3


def test_a_limit_has_a_default_and_bounds() -> None:
    assert Query("").limit(default=20, most=100) == 20
    assert Query("limit=100").limit(default=20, most=100) == 100
    assert Query("limit=1000").limit(default=20, most=100, clamp=True) == 100
    for given_limit, rule in (("0", "greater"), ("-1", "greater"), ("101", "less")):
        with pytest.raises(InvalidRequest, match=f"limit: Input should be {rule} than or equal"):
            Query(f"limit={given_limit}").limit(default=20, most=100)


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e3", "%2B1", "٣", "1_000", "9" * 19])
def test_only_plain_digits_are_an_integer(text: str) -> None:
    with pytest.raises(InvalidRequest, match="version: Input should be a valid integer"):
        Query(f"version={text}").integer("version", least=1)


def test_booleans_are_true_or_false_in_small_letters() -> None:
    assert Query("include_archived=true").boolean("include_archived") is True
    assert Query("include_archived=false").boolean("include_archived", default=True) is False
    assert Query("").boolean("include_archived") is False
    for wrong in ("1", "True", ""):
        with pytest.raises(InvalidRequest, match="include_archived: Input should be 'true' or 'false'"):
            Query(f"include_archived={wrong}").boolean("include_archived")


def test_an_order_defaults_and_is_checked() -> None:
    assert Query("").choice("order", ("asc", "desc"), default="desc") == "desc"
    with pytest.raises(InvalidRequest, match="order: Input should be one of 'asc', 'desc'"):
        Query("order=up").choice("order", ("asc", "desc"), default="desc")


def test_null_characters_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="agent_id: Input should not contain null characters"):
        Query("agent_id=a%00b")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31T10:00:00.5Z", "2026-01-31T10:00:00.500000Z"),
        ("2026-01-31t10:00:00z", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31T10:00:00%2B02:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00.000000Z"),
        ("2026-01-31T10:00:00-02:00", "2026-01-31T12:00:00.000000Z"),
        ("0999-01-31T10:00:00Z", "0999-01-31T10:00:00.000000Z"),
    ],
)
def test_times_are_read_with_their_zone(text: str, read: str) -> None:
    assert Query(f"created_at[gte]={text}").range("created_at") == {"gte": read}


@pytest.mark.parametrize("text", ["", "now", "2026-01-31", "2026-01-31T10:00:00", "2026-13-01T00:00:00Z", "1767225600"])
def test_a_time_without_zone_or_date_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"created_at\[lt\]: Input should be a valid RFC 3339 timestamp"):
        Query(f"created_at[lt]={text}").range("created_at")


def test_a_range_reads_only_the_ends_that_its_list_has() -> None:
    query = Query(urlencode({"created_at[gt]": "2026-01-01T00:00:00Z", "created_at[lte]": "2026-01-02T00:00:00Z"}))
    assert set(query.range("created_at")) == {"gt", "lte"}
    assert set(query.range("created_at", ("gte", "lte"))) == {"lte"}


@settings(deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)),
    st.integers(-23 * 60, 23 * 60),
)
def test_times_read_from_a_query_compare_as_text_like_the_clock_s(moment: datetime, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    read = Query(urlencode({"created_at[gt]": zoned.isoformat()})).range("created_at")["gt"]
    assert read == rfc3339(zoned.astimezone(UTC))
