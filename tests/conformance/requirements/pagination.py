"""Lists: their envelope, cursors, orders and limits."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    met(
        "pagination:envelope",
        "A list is `{data, next_page}`; `next_page` is null at the end.",
        SDK,
    ),
    met(
        "pagination:page",
        "`page` with the cursor of an answer gives the items that follow it, none twice and none left out.",
        SDK,
    ),
    met(
        "pagination:sdk-iterates",
        "The SDK's automatic iteration over a list ends and yields each item once.",
        SDK,
    ),
    met(
        "pagination:prev-page",
        "The sessions list alone has `prev_page`, null on its first page; `page` takes it too.",
        SDK,
    ),
    met(
        "pagination:no-prev-page",
        "Lists that only go forward leave `prev_page` out.",
        docs("Session operations"),
    ),
    met(
        "pagination:cursor:order",
        "A cursor used with another `order` than its own is 400.",
        docs("Session operations"),
    ),
    met(
        "pagination:cursor:outside-range",
        "A cursor whose position a narrowed `created_at` filter shuts out is 400.",
        docs("Session operations"),
    ),
    met(
        "pagination:cursor:other-filters",
        "`limit` and all other filters may change from page to page.",
        docs("Session operations"),
    ),
    met(
        "pagination:cursor:malformed",
        "A cursor that no list made is 400.",
        INFERRED,
    ),
    met(
        "pagination:cursor:other-list",
        "A cursor of one list used on another list is 400.",
        INFERRED,
    ),
    met(
        "pagination:limit:zero",
        "A limit below 1 or above the maximum is 400.",
        INFERRED,
    ),
    met(
        "pagination:agents",
        "Agents come newest first, 20 a page unless asked, at most 100.",
        SDK,
    ),
    met(
        "pagination:agent-versions",
        "Versions of an agent come newest first, 20 a page unless asked, at most 100.",
        SDK,
    ),
    met(
        "pagination:environments",
        "Environments come newest first, 20 a page unless asked, at most 100.",
        INFERRED,
    ),
    met(
        "pagination:sessions",
        "Sessions come newest first, 20 a page unless asked; `order=asc` turns them round.",
        SDK,
    ),
    met(
        "pagination:events",
        "Events come oldest first, 1,000 a page unless asked; the SDK's helpers ask for 1,000.",
        docs("claude-api skill"),
    ),
    not_yet(
        "pagination:threads",
        "Threads come in the order of their creation, 1,000 a page unless asked.",
        SDK,
        "a session has one thread until there are multiagent sessions",
    ),
    met(
        "pagination:resources",
        "Session resources come in the order of their creation, all at once unless limited.",
        SDK,
    ),
)
