"""Deployments and their runs."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met

SCHEDULED = docs("Scheduled deployments")

LEDGER = (
    met("deployments:create", "A deployment binds an agent to an environment, first events and more.", SDK),
    met("deployments:agent", "An agent named by its id alone is pinned to the version that is latest then.", SDK),
    met("deployments:references", "Whatever it refers to must be there and not archived.", SDK),
    met("deployments:events", "One to fifty first events, of which one at least starts work.", SCHEDULED),
    met("deployments:events:system", "A `system.message` may be among them, behind the event that it belongs to.", SDK),
    met("deployments:resources", "Resources are shown as they were given, without their tokens.", SDK),
    met("deployments:tokens", "Tokens lie with the vault, and each run's session gets them there.", INFERRED),
    met("deployments:update", "An update replaces what it names; null clears what can be cleared.", SDK),
    met("deployments:update:metadata", "Metadata is merged: a string sets a key, null deletes it.", SDK),
    met("deployments:update:nothing", "An update that changes nothing leaves all as it was.", SCHEDULED),
    met("deployments:list", "The list is newest first, by agent, status and time, 20 a page and 100 at most.", SDK),
    met("deployments:list:status", "`status` and `include_archived` can't be combined: 400.", SDK),
    met("deployments:schedule", "A schedule is five POSIX cron fields in an IANA time zone, both checked.", SDK),
    met("deployments:schedule:clocks", "Local times that are skipped don't fire; repeated ones fire twice.", SCHEDULED),
    met("deployments:schedule:upcoming", "Up to five coming times are shown, none once it is archived.", SDK),
    met("deployments:schedule:fires", "A scheduled time makes one session, whoever tries and dies.", SDK),
    met("deployments:schedule:last-run", "`last_run_at` moves with scheduled runs alone.", SDK),
    differs(
        "deployments:schedule:jitter",
        "Each fire is offset by a small jitter.",
        SDK,
        "it fires at its listed time: one server's schedules need no spreading",
    ),
    met(
        "deployments:schedule:missed",
        "Of times that went by while no server ran, the latest fires if it is less than five minutes old.",
        INFERRED,
    ),
    met("deployments:schedule:most", "A workspace has at most 1,000 deployments that fire by themselves.", SCHEDULED),
    met("deployments:pause", "A paused deployment doesn't fire, and can be run by hand; twice is once.", SCHEDULED),
    met("deployments:unpause", "Unpaused, it waits for the next time to come, and has no reason any more.", SCHEDULED),
    met("deployments:auto-pause", "A scheduled run that can't work until something changes pauses it.", SCHEDULED),
    met("deployments:archive", "Archiving is final: no runs, no changes; a second time is the same.", SCHEDULED),
    met("deployments:archive:agent", "An agent's archiving archives its deployments, without a run.", SCHEDULED),
    met("deployments:run", "A manual run makes a session at once, which names its deployment.", SDK),
    met("deployments:run:error", "A run that made no session says why; exactly one of the two is set.", SDK),
    met("deployments:run:retry", "A repeated request for a run goes on with the run of the first.", INFERRED),
    met("deployments:runs:list", "Runs are listed newest first, by deployment, trigger, error and time.", SDK),
    met("deployments:runs:unknown", "Runs of a deployment that nobody knows are an empty list.", SDK),
    met("deployments:budget", "A budget is copied to each session; its model must have a price.", SDK),
    met("deployments:webhooks", "Changes of deployments, and scheduled runs, are noted for webhooks.", SCHEDULED),
)
