"""Cron schedules: which expressions and zones are taken, and which moments they come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.requirements import requirement
from outrider.errors import InvalidRequest
from outrider.resources.schedules import after, checked, following, latest_due, upcoming

HOUR = timedelta(hours=1)


def cron(expression: str, timezone: str = "UTC") -> dict[str, Any]:
    return {"type": "cron", "expression": expression, "timezone": timezone}


def moments(schedule: dict[str, Any], start: str, count: int) -> list[str]:
    found = islice(after(schedule, datetime.fromisoformat(start)), count)
    return [moment.strftime("%m-%d %H:%M") for moment in found]


@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "*/15 0-6,20 1,15 JAN-MAR mon-fri", "0 9 * * 7", "0 0 29 2 *", "  5   4 * * * ", "0 0 31 1-12/2 0"],
)
def test_five_fields_are_taken(expression: str) -> None:
    assert checked(cron(expression))["expression"] == expression


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * *", "0 0 0 1 1 * 2030", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *"),
        *("* * 32 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "0 0 L * *", "0 0 15W * *"),
        *("0 0 * * 5#2", "0 0 * * 5L", "0 0 ? * *", "0 0 30 2 *", "0 0 31 4,6 *", "a * * * *", "1,,2 * * * *"),
        *("0 0 * * MONDAY", "\u0661 * * * *", "-1 * * * *", "1/2/3 * * * *", "0 0 1 MON *"),
    ],
)
def test_what_is_no_posix_cron_expression_or_never_comes_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequest, match=r"schedule\.expression"):
        checked(cron(expression))


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "europe/berlin", "../etc/passwd", "Europe", "/etc/localtime",
                                  "Factory", "localtime"])  # fmt: skip
def test_a_zone_that_iana_does_not_know_is_refused(zone: str) -> None:
    with pytest.raises(InvalidRequest, match=r"schedule\.timezone"):
        checked(cron("* * * * *", zone))


def test_fields_are_wall_clock_time_of_the_zone() -> None:
    assert moments(cron("0 9 * * 1-5", "America/Los_Angeles"), "2026-01-02T20:00:00Z", 2) == [
        "01-05 17:00",  # over the weekend
        "01-06 17:00",
    ]


def test_day_of_month_and_day_of_week_are_either_where_both_are_given() -> None:
    assert moments(cron("0 0 13 * 5"), "2026-02-01T00:00:00Z", 4) == [
        *("02-06 00:00", "02-13 00:00", "02-20 00:00", "02-27 00:00"),
    ]


@requirement("deployments:schedule:clocks")
def test_a_local_time_that_is_skipped_comes_to_no_moment() -> None:
    berlin = cron("30 2 * * *", "Europe/Berlin")  # on 29 March 2026 two o'clock is followed by three
    assert moments(berlin, "2026-03-27T12:00:00Z", 3) == ["03-28 01:30", "03-30 00:30", "03-31 00:30"]


def test_a_local_time_that_is_repeated_comes_to_two() -> None:
    berlin = cron("30 2 * * *", "Europe/Berlin")  # on 25 October 2026 the hour from two comes twice
    assert moments(berlin, "2026-10-24T12:00:00Z", 3) == ["10-25 00:30", "10-25 01:30", "10-26 01:30"]


@pytest.mark.parametrize("start", ["00:29", "00:30", "00:45", "01:10", "01:29"])
def test_within_a_repeated_hour_nothing_is_left_out_or_doubled(start: str) -> None:
    quarterly = cron("*/15 * * * *", "Europe/Berlin")
    begun = datetime.fromisoformat(f"2026-10-25T{start}:00Z")
    found = [moment.timestamp() for moment in islice(after(quarterly, begun), 8)]
    first = (begun.timestamp() // 900 + 1) * 900
    assert found == [first + 900 * number for number in range(8)]


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"]


@given(
    minute=st.sampled_from(["*", "*/7", "0", "30", "15,45"]),
    hour=st.sampled_from(["*", "1", "2", "1-3", "*/2"]),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
)
def test_the_moments_are_just_those_whose_local_time_matches(
    minute: str, hour: str, zone: str, start: datetime
) -> None:
    start = start.replace(tzinfo=UTC)
    found = list(islice(after(cron(f"{minute} {hour} * * *", zone), start), 6))
    place = ZoneInfo(zone)
    expected: list[datetime] = []
    moment = datetime.fromtimestamp(start.timestamp() // 60 * 60 + 60, UTC)
    while moment <= found[-1]:
        local = moment.astimezone(place)
        if _matches(minute, local.minute) and _matches(hour, local.hour):
            expected.append(moment)
        moment = datetime.fromtimestamp(moment.timestamp() + 60, UTC)
    assert found == expected


def _matches(field: str, value: int) -> bool:
    if field.startswith("*"):
        return value % int(field[2:] or 1) == 0
    if "-" in field:
        first, last = field.split("-")
        return int(first) <= value <= int(last)
    return str(value) in field.split(",")


def test_of_several_moments_that_went_by_the_last_is_due() -> None:
    due, now = "2026-01-01T10:00:00.000000Z", "2026-01-01T10:03:30.000000Z"
    assert latest_due(cron("* * * * *"), due, now, late=HOUR) == "2026-01-01T10:03:00.000000Z"
    assert latest_due(cron("0 0 1 1 *"), due, now, late=HOUR) == due


def test_what_went_by_too_long_ago_is_not_due() -> None:
    due, now = "2026-01-01T10:00:00.000000Z", "2026-01-01T13:30:30.000000Z"
    assert latest_due(cron("0 10 * * *"), due, now, late=HOUR) is None
    assert latest_due(cron("0 10,13 * * *"), due, now, late=HOUR) == "2026-01-01T13:00:00.000000Z"


def test_the_next_five_are_shown() -> None:
    now = "2026-01-01T10:03:30.000000Z"
    assert following(cron("5 * * * *"), now) == "2026-01-01T10:05:00.000000Z"
    assert [one[11:16] for one in upcoming(cron("5 * * * *"), now)] == ["10:05", "11:05", "12:05", "13:05", "14:05"]
