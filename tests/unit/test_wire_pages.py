"""Cursors and pages, walked over a list that is kept in memory."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.errors import InvalidRequest
from outrider.wire.pages import Cursor, Order, Slice, cut, page_bytes, read_cursor, two_way_page_bytes

Item = tuple[str, str]  # (created_at, id)
AT = "2026-01-01T00:00:00.000000Z"


def fetch(items: list[Item], limit: int, order: Order, cursor: Cursor | None) -> list[Item]:
    """What a store gives: items after the cursor, against the list's order when it goes back."""
    descending = (order == "desc") != (cursor is not None and cursor.back)
    found = sorted(items, reverse=descending)
    if cursor is not None:
        place = cursor.position
        assert isinstance(place, tuple)
        found = [item for item in found if (item < place if descending else item > place)]
    return found[:limit]


def page(items: list[Item], limit: int, order: Order, text: str | None) -> Slice[Item]:
    cursor = read_cursor(text, "sessions", order)
    fetched = fetch(items, limit + 1, order, cursor)
    return cut(fetched, limit, kind="sessions", order=order, cursor=cursor, mark=lambda item: (item, item[0]))


ITEMS = st.tuples(st.sampled_from(["2026-01-01", "2026-01-02"]), st.uuids().map(str))
LISTS = st.lists(ITEMS, unique=True, max_size=12)


@settings(deadline=None)
@given(LISTS, st.integers(1, 5), st.sampled_from(["asc", "desc"]))
def test_walking_forward_shows_each_item_once_and_ends_with_null(items: list[Item], limit: int, order: Order) -> None:
    seen: list[Item] = []
    text: str | None = None
    for _ in range(len(items) + 1):
        shown = page(items, limit, order, text)
        seen += shown.items
        text = shown.next_page
        if text is None:
            break
    assert text is None
    assert seen == sorted(items, reverse=order == "desc")


@settings(deadline=None)
@given(LISTS, st.integers(1, 5), st.sampled_from(["asc", "desc"]))
def test_walking_back_shows_the_same_pages_in_reverse(items: list[Item], limit: int, order: Order) -> None:
    forward = [page(items, limit, order, None)]
    while (text := forward[-1].next_page) is not None:
        forward.append(page(items, limit, order, text))
    for earlier, later in reversed(list(pairwise(forward))):
        assert later.prev_page is not None
        back = page(items, limit, order, later.prev_page)
        assert back.items == earlier.items
        assert (back.prev_page is None) == (earlier is forward[0])
        assert back.next_page is not None
        assert page(items, limit, order, back.next_page).items == later.items
    assert forward[0].prev_page is None


@settings(deadline=None)
@given(
    st.tuples(st.just(AT), st.from_regex(r"[a-z]{4}_[0-9A-Z]{26}", fullmatch=True)) | st.integers(0, 2**63 - 1),
    st.booleans(),
)
def test_a_cursor_reads_back_as_it_was_made(position: tuple[str, str] | int, back: bool) -> None:
    cursor = Cursor("events", "asc", position, AT, back)
    assert read_cursor(cursor.encode(), "events", "asc", shape=type(position)) == cursor


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_the_reading_of_cursors(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert read_cursor(text, "sessions", "desc") is None
        assert text == ""


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "!!!",
        "A" * 5000,
        Cursor("agents", "desc", (AT, "agent_1")).encode(),
        Cursor("sessions", "desc", 4).encode(),
        Cursor("sessions", "desc", (AT, "a\x00b")).encode(),
        Cursor("sessions", "desc", (AT, "sesn_1\n")).encode(),
        Cursor("sessions", "desc", (AT, "sesn_1")).encode()[:-4],
    ],
)
def test_a_cursor_that_this_list_did_not_make_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="page: Input should be a cursor from an earlier page of this list"):
        read_cursor(text, "sessions", "desc")


@pytest.mark.parametrize("position", [-1, 2**63, 2**80])
def test_a_position_that_no_store_can_hold_is_refused(position: int) -> None:
    with pytest.raises(InvalidRequest):
        read_cursor(Cursor("events", "asc", position).encode(), "events", "asc", shape=int)


def test_a_cursor_works_only_with_the_order_that_made_it() -> None:
    text = Cursor("sessions", "asc", (AT, "sesn_1"), AT).encode()
    with pytest.raises(InvalidRequest, match="page: this cursor was made with order=asc"):
        read_cursor(text, "sessions", "desc")


def test_a_filter_that_leaves_the_position_out_is_refused() -> None:
    text = Cursor("sessions", "desc", (AT, "sesn_1"), AT).encode()
    for bounds in ({"gt": AT}, {"lt": AT}, {"gte": "2026-01-02"}, {"lte": "2025-12-31"}, {"gte": AT, "lt": AT}):
        with pytest.raises(InvalidRequest, match="created_at filter leaves this cursor's position out"):
            read_cursor(text, "sessions", "desc", created=bounds)
    assert read_cursor(text, "sessions", "desc", created={"gte": AT, "lte": AT}) is not None
    waiting = Cursor("events", "asc", 7, None).encode()
    with pytest.raises(InvalidRequest):
        read_cursor(waiting, "events", "asc", shape=int, created={"gte": AT})


def test_only_two_way_pages_have_a_prev_page() -> None:
    assert json.loads(page_bytes([{"id": "a"}, msgspec.Raw(b'{"id":"b"}')], None)) == {
        "data": [{"id": "a"}, {"id": "b"}],
        "next_page": None,
    }
    assert json.loads(two_way_page_bytes([], None, "x")) == {"data": [], "next_page": None, "prev_page": "x"}
