"""Webhooks: what is told, how it is signed and delivered. Endpoints are managed by an API of our own."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met

HOOKS = docs("Subscribe to webhooks")

LEDGER = (
    met("webhooks:signature", "Webhooks are signed as the SDK's `unwrap` verifies (Standard Webhooks).", SDK),
    met("webhooks:id", "`webhook-id` is the event's id, the same at each attempt and at each endpoint.", HOOKS),
    met("webhooks:thin", "An event names what changed and says nothing of its content.", HOOKS),
    met("webhooks:attempts", "What is not answered with a 2xx is tried up to three times, with pauses.", HOOKS),
    met("webhooks:attempts:dropped", "After three attempts an event is dropped.", HOOKS),
    met("webhooks:resend", "A dropped or delivered event can be sent again by hand.", INFERRED, "our own extra"),
    met("webhooks:redirect", "A redirect is not followed, and disables the endpoint at once.", HOOKS),
    met(
        "webhooks:private",
        "An address that is not public disables the endpoint, but where the operator allows it.",
        HOOKS,
    ),
    met("webhooks:sustained", "Failure for long, without any 2xx, disables the endpoint.", HOOKS),
    met("webhooks:backfill", "Only endpoints that are subscribed when something happens are told of it.", HOOKS),
    met("webhooks:lost", "No death of a process loses an event.", INFERRED),
    met(
        "webhooks:endpoint", "Endpoints are created, listed, read, changed and deleted by an API of our own.", INFERRED
    ),
    met("webhooks:secret", "The signing secret is shown when it is made, and can be replaced.", SDK),
    met("webhooks:key", "The signing secret lies in the vault process alone.", INFERRED),
    met(
        "webhooks:url",
        "An endpoint's URL is https on port 443 with a public name, unless the operator allows more.",
        HOOKS,
    ),
    differs(
        "webhooks:never",
        "An endpoint may subscribe to every event type of the SDK.",
        SDK,
        "Those that never happen on this server are refused, with the reason: pending sessions, outcomes,"
        " threads of multiagent sessions, user profiles, external keys, deleted agents and deployments",
    ),
    differs(
        "webhooks:organization",
        "Organization endpoints (`/v1/organizations/webhooks`) carry user profiles' and external keys' events.",
        SDK,
        "there are no organizations, user profiles or external keys here: 404; `organization_id` is always `outrider`",
    ),
    met("webhooks:events:session", "A session's statuses and its life are told.", HOOKS),
    met("webhooks:events:thread", "A thread's end of turn and its end are told, with its id.", HOOKS),
    met("webhooks:events:vault", "Vaults and credentials are told, each credential of a vault for itself.", HOOKS),
    met("webhooks:events:agent", "Agents are told: made, changed to another version, archived once.", HOOKS),
    met("webhooks:events:environment", "Environments are told: made, changed, archived, deleted.", HOOKS),
    met("webhooks:events:memory", "Memory stores are told: made, archived, deleted.", HOOKS),
    met("webhooks:events:deployment", "Deployments and their scheduled runs are told.", HOOKS),
    met("webhooks:events:budget", "A session that reached its budget is told.", HOOKS),
)
