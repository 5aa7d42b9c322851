"""The work queue of a self-hosted environment."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met

LEDGER = (
    met("work:poll", "`GET .../work/poll` gives an environment's key the item that waited longest, once.", SDK),
    met("work:poll:null", "Without work it answers 200 with JSON `null`.", SDK),
    met("work:poll:secret", "Only a poll fills `secret`, from which a worker takes its session token.", SDK),
    met("work:poll:block", "`block_ms`, 1 to 999, lets an empty poll wait for work.", SDK),
    met("work:poll:reclaim", "An item that was not acknowledged within `reclaim_older_than_ms` is given again.", SDK),
    met("work:ack", "`POST .../ack` takes an item off the queue; again, it changes nothing.", SDK),
    met("work:heartbeat", "`POST .../heartbeat` extends the lease and says how long it lasts.", SDK),
    met("work:heartbeat:precondition", "A heartbeat must expect the one before, or `NO_HEARTBEAT`.", SDK),
    met("work:stop:graceful", "A stop without `force` is told to the holder at its next heartbeat.", SDK),
    met("work:stop:force", "A stop with `force` ends the item at once; again, it changes nothing.", SDK),
    met("work:requeue", "A session that still needs a worker when its item ends gets another item.", INFERRED),
    met("work:lease", "An item whose holder sends no heartbeat for the lease's time is queued again.", SDK),
    met("work:token", "A token is good for its item and session until the item ends or is lost.", INFERRED),
    met("work:token:key", "A token ends with the environment's key that its item was taken with.", INFERRED),
    met("work:list", "`GET .../work` lists items, newest first.", SDK),
    met("work:retrieve", "`GET .../work/{id}` shows one.", SDK),
    met("work:update", "`POST .../work/{id}` changes its metadata.", SDK),
    met("work:update:metadata", "A string sets a key, null deletes it, the rest stays.", SDK),
    met("work:object:fields", "A work item has every field of the SDK's type.", SDK),
    met("work:stats", "`GET .../work/stats` counts what waits, what was polled, and who polls.", SDK),
    met("work:session:deleted", "A deleted session takes its work items with it.", INFERRED),
    met("work:twice", "Two workers share a queue without serving an item twice.", SDK),
    met(
        "work:server-restart", "A worker's call outlives its server: its result is taken once the server is back.", SDK
    ),
    met("work:lease:lost", "A worker that lost its item answers nothing twice, and goes on with other items.", SDK),
    met("work:none-left", "Twenty sessions in a row leave no work item behind.", SDK),
    met("work:rates", "Polls and heartbeats don't count against a workspace's rates.", INFERRED),
    met("work:sends", "An environment's key and a token may send results, and nothing else.", INFERRED),
    differs(
        "work:enqueued",
        "Items appear when a session is created on the environment.",
        SDK,
        "they appear when it begins to run, so that no worker sits on a session that nobody has spoken to",
    ),
    differs(
        "work:list:keys",
        "Listing rejects API keys, and retrieving and updating take nothing else.",
        docs("Self-hosted sandboxes"),
        "both kinds of key may list and retrieve; updating takes an API key",
    ),
)
