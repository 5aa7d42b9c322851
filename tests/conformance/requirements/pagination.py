"""Lists: their envelope, cursors, orders and limits."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, not_yet

LEDGER = (
    not_yet(
        "pagination:envelope",
        "A list is `{data, next_page}`; `next_page` is null at the end.",
        SDK,
    ),
    not_yet(
        "pagination:page",
        "`page` with the cursor of an answer gives the items that follow it, none twice and none left out.",
        SDK,
    ),
    not_yet(
        "pagination:sdk-iterates",
        "The SDK's automatic iteration over a list ends and yields each item once.",
        SDK,
    ),
    not_yet(
        "pagination:prev-page",
        "The sessions list alone has `prev_page`, null on its first page; `page` takes it too.",
        SDK,
    ),
    not_yet(
        "pagination:no-prev-page",
        "Lists that only go forward leave `prev_page` out.",
        docs("Session operations"),
    ),
    not_yet(
        "pagination:cursor:order",
        "A cursor used with another `order` than its own is 400.",
        docs("Session operations"),
    ),
    not_yet(
        "pagination:cursor:outside-range",
        "A cursor whose position a narrowed `created_at` filter shuts out is 400.",
        docs("Session operations"),
    ),
    not_yet(
        "pagination:cursor:other-filters",
        "`limit` and all other filters may change from page to page.",
        docs("Session operations"),
    ),
    not_yet(
        "pagination:cursor:malformed",
        "A cursor that no list made is 400.",
        INFERRED,
    ),
    not_yet(
        "pagination:cursor:other-list",
        "A cursor of one list used on another list is 400.",
        INFERRED,
    ),
    not_yet(
        "pagination:limit:zero",
        "A limit below 1 or above the maximum is 400.",
        INFERRED,
    ),
    not_yet(
        "pagination:agents",
        "Agents come newest first, 20 a page unless asked, at most 100.",
        SDK,
    ),
    not_yet(
        "pagination:agent-versions",
        "Versions of an agent come newest first, 20 a page unless asked, at most 100.",
        SDK,
    ),
    not_yet(
        "pagination:environments",
        "Environments come newest first, 20 a page unless asked, at most 100.",
        INFERRED,
    ),
    not_yet(
        "pagination:sessions",
        "Sessions come newest first, 20 a page unless asked; `order=asc` turns them round.",
        SDK,
    ),
    not_yet(
        "pagination:events",
        "Events come oldest first, 1,000 a page unless asked; the SDK's helpers ask for 1,000.",
        docs("claude-api skill"),
    ),
    not_yet(
        "pagination:threads",
        "Threads come in the order of their creation, 1,000 a page unless asked.",
        SDK,
    ),
    not_yet(
        "pagination:resources",
        "Session resources come in the order of their creation, all at once unless limited.",
        SDK,
        "waits for session resources",
    ),
)
