"""Dreams: sessions that write a memory store anew from what other sessions did."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met

DREAMS = docs("Dreams")

LEDGER = (
    met("dreams:beta", "Requests name the beta `dreaming-2026-04-21`.", SDK),
    met("dreams:create", "A dream reads one memory store and sessions, and is pending at first.", SDK),
    met("dreams:retrieve", "A dream is shown with its model as an object and its sessions' ids sorted.", SDK),
    met("dreams:inputs", "Exactly one memory store and 1 to 100 distinct sessions of the workspace.", SDK),
    met("dreams:references", "What it reads must be there, and the store not archived.", SDK),
    met("dreams:model", "`model` is a string or an object, and its speed is standard.", SDK),
    met("dreams:instructions", "Instructions of 1 to 4,096 characters guide what the dream does.", SDK),
    met("dreams:create-new", "By default a new store is made as a copy, and the input stays as it is.", SDK),
    met("dreams:update-existing", "`update_existing` names the input store, and writes there.", SDK),
    met("dreams:update-existing:conflict", "Another such dream on a store that has not fully stopped: 409.", SDK),
    met("dreams:permission", "A key that may not write memory stores is refused: 403.", SDK),
    met("dreams:session", "It works in an ordinary session, which is archived at the end.", DREAMS),
    met("dreams:transcripts", "The sessions' transcripts are read-only files, which go when the dream ends.", INFERRED),
    met("dreams:outputs", "`outputs` is empty at first, whole when completed, and stays after failure or cancel.", SDK),
    met("dreams:usage", "`usage` counts the session's tokens, and stands still at the end.", SDK),
    met("dreams:list", "The list is newest first, by status and time, 20 a page and 100 at most.", SDK),
    met("dreams:cancel", "A pending or running dream is canceled at once; twice is once; an ended one is 400.", SDK),
    met("dreams:archive", "Only what has ended can be archived; twice is once; it stays readable.", SDK),
    met("dreams:inputs:removed", "Removing an input while it runs fails it, and says which.", DREAMS),
    met("dreams:error", "A failed dream has an error of a type; others have none.", SDK),
    met("dreams:timeout", "A dream that takes too long fails with `timeout`.", DREAMS),
    met("dreams:too-large", "A store that is too large to be copied fails it.", DREAMS),
    met("dreams:once", "It begins once and makes one session, whoever tries and dies.", INFERRED),
    met("dreams:webhooks", "The new store is told of as `memory_store.created`.", docs("Subscribe to webhooks")),
    differs(
        "dreams:org-limit",
        "`memory_store_org_limit_exceeded` fails a dream that can make no more stores.",
        DREAMS,
        "this server sets no limit to the number of memory stores",
    ),
)
