"""Sending and listing events: endpoints, rules, content blocks, and each kind a client can send."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, OBSERVED, SDK, docs, met, not_yet

LEDGER = (
    # Endpoints
    met(
        "events:send",
        "`POST /v1/sessions/{id}/events` takes `{events}` and answers `{data}`: the same events with ids.",
        SDK,
    ),
    met(
        "events:list",
        "`GET /v1/sessions/{id}/events` lists the public history in processing order.",
        SDK,
    ),
    met(
        "events:list:types",
        "The list can be narrowed to event types.",
        SDK,
    ),
    met(
        "events:list:created-at",
        "The list's time bounds are compared with `processed_at`.",
        SDK,
    ),
    met(
        "events:list:order",
        "`order=desc` turns the list round.",
        SDK,
    ),
    met(
        "events:stream",
        "`GET /v1/sessions/{id}/events/stream` streams what is emitted from now on.",
        SDK,
    ),
    # Sending
    met(
        "events:send:at-once",
        "The call returns when the events are stored; it doesn't wait for work.",
        docs("Session event stream"),
    ),
    met(
        "events:send:all-or-nothing",
        "One refused event refuses the whole request and stores nothing.",
        docs("claude-api skill"),
    ),
    met(
        "events:send:in-order",
        "Events are taken in the order of the request.",
        docs("Session event stream"),
    ),
    met(
        "events:send:empty",
        "An empty list is 400.",
        INFERRED,
    ),
    met(
        "events:send:limit",
        "More than 50 events in one request are 400.",
        INFERRED,
    ),
    met(
        "events:send:terminated",
        "A terminated session refuses events with 400.",
        docs("Session operations"),
    ),
    met(
        "events:send:unknown-session",
        "An unknown session is 404.",
        SDK,
    ),
    met(
        "events:send:unknown-type",
        "An event type that clients can't send is 400.",
        SDK,
    ),
    met(
        "events:send:echoed",
        "Sent events appear on the stream and in the history.",
        docs("Session event stream"),
    ),
    met(
        "events:send:while-running",
        "A running session accepts and queues what is sent.",
        INFERRED,
    ),
    met(
        "events:send:message-while-waiting",
        "A `user.message` while answers are outstanding is 400 and names the ids.",
        OBSERVED,
    ),
    met(
        "events:send:interrupt-then-message",
        "An interrupt in front of the message, in one request, clears the way.",
        INFERRED,
    ),
    met(
        "events:answer:unknown-id",
        "An answer to an id that no use event has is 400 and names the id.",
        OBSERVED,
    ),
    met(
        "events:answer:repeated",
        "A second answer to a call is 200 and changes nothing.",
        INFERRED,
    ),
    met(
        "events:answer:other-kind",
        "An answer of the wrong kind for its use event is 400.",
        INFERRED,
    ),
    # Content
    met(
        "events:content:text",
        "A text block reaches the model and the history unchanged.",
        SDK,
    ),
    met(
        "events:content:image",
        "An image block may be base64, an address or a file.",
        SDK,
    ),
    met(
        "events:content:image:base64",
        "A base64 image reaches the model unchanged.",
        SDK,
    ),
    met(
        "events:content:image:url",
        "An image by address reaches the model unchanged.",
        SDK,
    ),
    met(
        "events:content:image:file",
        "An image from a file reaches the model.",
        SDK,
    ),
    met(
        "events:content:source",
        "Base64 that is none, and an address that is not `http` or `https`, is 400.",
        INFERRED,
    ),
    met(
        "events:content:document",
        "A document block may be base64, plain text or an address, with title and context.",
        SDK,
    ),
    met(
        "events:content:document:file",
        "A document from a file reaches the model.",
        SDK,
    ),
    met(
        "events:content:search-result",
        "A search result block is accepted in tool results only.",
        SDK,
    ),
    met(
        "events:content:redacted",
        "A `redacted` block from a client is 400.",
        docs("Reference"),
    ),
    met(
        "events:content:bare-string",
        "Content as a bare string is 400.",
        INFERRED,
    ),
    # user.message
    met(
        "events:message:starts",
        "A `user.message` on an idle session starts a turn.",
        SDK,
    ),
    met(
        "events:message:queued",
        "A `user.message` on a running session waits for the next turn.",
        SDK,
    ),
    met(
        "events:message:several",
        "Several queued messages are taken in order and may be served by one turn.",
        docs("claude-api skill"),
    ),
    # user.interrupt
    met(
        "events:interrupt:thread",
        "A `user.interrupt` may name one thread with `session_thread_id`.",
        SDK,
    ),
    met(
        "events:interrupt:unknown-thread",
        "An interrupt that names an unknown thread is refused.",
        INFERRED,
    ),
    # user.tool_confirmation
    met(
        "events:confirmation:fields",
        "A `user.tool_confirmation` has the use event's id and `allow` or `deny`.",
        SDK,
    ),
    met(
        "events:confirmation:deny-message",
        "`deny_message` is accepted with `deny` only.",
        SDK,
    ),
    not_yet(
        "events:confirmation:thread-stored",
        "The stored form may name the thread; clients don't send it.",
        SDK,
        "waits for multiagent sessions; a confirmation is of the primary thread",
    ),
    # user.custom_tool_result
    met(
        "events:custom-result:content",
        "A `user.custom_tool_result` may carry text, images, documents and search results.",
        SDK,
    ),
    met(
        "events:custom-result:no-content",
        "A custom result without content is an empty result.",
        SDK,
    ),
    met(
        "events:custom-result:is-error",
        "`is_error` reaches the model.",
        SDK,
    ),
    met(
        "events:custom-result:processed-at-once",
        "A custom result has `processed_at` in the send answer.",
        SDK,
    ),
    met(
        "events:custom-result:before-idle",
        "A custom result may be sent as soon as the use event is seen.",
        SDK,
    ),
    # user.tool_result
    met(
        "events:tool-result:self-hosted",
        "A worker's `user.tool_result` settles a built-in call.",
        SDK,
    ),
    met(
        "events:tool-result:cloud",
        "A `user.tool_result` on a cloud session is 400.",
        INFERRED,
    ),
    # user.define_outcome
    not_yet(
        "events:outcome:fields",
        "An outcome has a description, a rubric as text or file, and `max_iterations`.",
        SDK,
        "waits for outcomes",
    ),
    met(
        "events:outcome:refused",
        "Until outcomes are offered, `user.define_outcome` is a clear 400.",
        INFERRED,
    ),
    # system.message
    met(
        "events:system:form",
        "A `system.message` has 1 to 1,000 text blocks.",
        SDK,
    ),
    met(
        "events:system:role",
        "It adds a system turn for this turn and later ones, beside the agent's own `system`.",
        docs("Session event stream"),
    ),
    met(
        "events:system:last",
        "At most one a request, last, directly behind the message or result it belongs to.",
        SDK,
    ),
    met(
        "events:system:alone",
        "Alone on an idle session it is accepted and starts no turn.",
        docs("Session event stream"),
    ),
    met(
        "events:system:while-waiting",
        "While answers are outstanding it is accepted only directly behind a result.",
        docs("Session event stream"),
    ),
    met(
        "events:system:unsupported",
        "A model that can't take it: 400 `model_does_not_support_mid_conversation_system`.",
        docs("Session event stream"),
    ),
)
