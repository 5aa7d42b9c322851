"""Live streams: framing, connections, previews."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met, not_yet

LEDGER = (
    # Framing
    met(
        "streaming:content-type",
        "A stream is `text/event-stream` with one JSON object in each event's data.",
        docs("Session event stream"),
    ),
    met(
        "streaming:event-name",
        "Every frame has an `event:` line, by default the event's type.",
        SDK,
    ),
    met(
        "streaming:event-name:message",
        "A setting names every frame `message` for older clients.",
        INFERRED,
    ),
    met(
        "streaming:no-resume",
        "No `id:` and no `retry:` lines are sent.",
        docs("Session event stream"),
    ),
    met(
        "streaming:heartbeat",
        "An idle connection gets a ping every 20 seconds.",
        INFERRED,
    ),
    met(
        "streaming:headers-first",
        "Headers are sent at once, before any event.",
        docs("Session event stream"),
    ),
    # Connections
    differs(
        "streaming:no-replay",
        "Only events after the opening are delivered, without the present status.",
        docs("Session event stream"),
        (
            "the first stream opened within 2 s of a client's event that no open stream saw starts from that event, so "
            "that a client that posts first and streams next misses nothing"
        ),
    ),
    met(
        "streaming:after-idle",
        "A stream opened after idle gets nothing until the next turn.",
        docs("Session event stream"),
    ),
    met(
        "streaming:reconnect",
        "Open the stream, list the history, follow the stream: no event is lost, by id.",
        docs("Session event stream"),
    ),
    met(
        "streaming:stays-open",
        "A stream stays open over idle.",
        docs("Reference"),
    ),
    met(
        "streaming:ends:deleted",
        "A stream ends after `session.deleted`.",
        docs("Reference"),
    ),
    met(
        "streaming:ends:terminated",
        "A stream ends after `session.status_terminated`.",
        INFERRED,
    ),
    met(
        "streaming:on-terminated",
        "A stream opened on a terminated session repeats the stored end and closes.",
        INFERRED,
    ),
    met(
        "streaming:several",
        "Several streams of a session see the same events.",
        INFERRED,
    ),
    met(
        "streaming:unknown",
        "An unknown session or thread is 404.",
        docs("Session event stream"),
    ),
    not_yet(
        "streaming:threads-apart",
        "A thread's stream shows that thread only.",
        docs("Session threads"),
        "waits for multiagent sessions",
    ),
    met(
        "streaming:primary-thread",
        "The primary thread can be streamed and listed by its id.",
        INFERRED,
    ),
    differs(
        "streaming:slow-reader",
        "A reader that is too slow is cut off and can reconnect without loss.",
        INFERRED,
        "it is not cut off: it gets every event from the log, at its own pace, and hinders nobody",
    ),
    # Previews
    met(
        "streaming:previews:opt-in",
        "Previews come only on connections that ask for them with `event_deltas[]`.",
        docs("Session event stream"),
    ),
    differs(
        "streaming:previews:any-server",
        "Previews come whichever server takes the connection.",
        INFERRED,
        "among several servers on one database they come from another one only where NATS joins them; the events"
        " themselves come always",
    ),
    met(
        "streaming:previews:bad-value",
        "Another value of `event_deltas[]`, or more than 100, is 400.",
        docs("Session event stream"),
    ),
    met(
        "streaming:previews:start",
        "`event_start` announces the id that the stored event will have, once a connection.",
        docs("Session event stream"),
    ),
    met(
        "streaming:previews:thinking",
        "`agent.thinking` gets a start and no deltas.",
        docs("Session event stream"),
    ),
    met(
        "streaming:previews:prefix",
        "Joined deltas are a prefix of the stored text, without a gap.",
        docs("Session event stream"),
    ),
    met(
        "streaming:previews:last",
        "The stored event is the last thing for its id.",
        docs("Session event stream"),
    ),
    met(
        "streaming:previews:early-end",
        "An ended request without a message is closed by its model request end.",
        SDK,
    ),
    differs(
        "streaming:previews:late",
        "A connection opened after a request began gets no previews of it.",
        docs("Session event stream"),
        "one that is opened before the first piece of a text has come gets its previews whole; a later one gets none",
    ),
    met(
        "streaming:previews:not-stored",
        "Previews are never in the history.",
        docs("Session event stream"),
    ),
    met(
        "streaming:previews:accumulate",
        "The SDK's accumulation helper rebuilds the text from the deltas.",
        SDK,
    ),
)
