"""The conformance ledger: every behaviour that the API owes, one entry each, and the marker that ties tests to it.

Tests say `@requirement("events:interrupt:model-output")`; `test_ledger.py` keeps entries and tests in step.
"""

from __future__ import annotations

import pytest

from conformance.requirements import (
    absent,
    agents,
    budgets,
    builtins,
    checks,
    connectors,
    defaults,
    deployments,
    dreams,
    emitted,
    environments,
    errors,
    events,
    files,
    memory,
    models,
    ordering,
    outcomes,
    pagination,
    permissions,
    resources,
    sdk_recipes,
    sessions,
    skills,
    statuses,
    streaming,
    threads,
    tool_flows,
    toolsets,
    transport,
    vaults,
    webhooks,
    work,
)
from conformance.requirements.entry import Requirement

CHAPTERS: dict[str, tuple[Requirement, ...]] = {
    "End-to-end checks": checks.LEDGER,
    "Transport": transport.LEDGER,
    "Errors": errors.LEDGER,
    "Pagination": pagination.LEDGER,
    "Agents": agents.LEDGER,
    "Models": models.LEDGER,
    "Toolsets": toolsets.LEDGER,
    "Built-in tools": builtins.LEDGER,
    "Connectors and skills": connectors.LEDGER,
    "Permissions": permissions.LEDGER,
    "Environments": environments.LEDGER,
    "Work queues": work.LEDGER,
    "Sessions": sessions.LEDGER,
    "Session resources": resources.LEDGER,
    "Files": files.LEDGER,
    "Skills": skills.LEDGER,
    "Vaults and credentials": vaults.LEDGER,
    "Memory": memory.LEDGER,
    "Webhooks": webhooks.LEDGER,
    "Deployments": deployments.LEDGER,
    "Dreams": dreams.LEDGER,
    "Statuses": statuses.LEDGER,
    "Budgets": budgets.LEDGER,
    "Events from clients": events.LEDGER,
    "Events from the server": emitted.LEDGER,
    "Order and interrupts": ordering.LEDGER,
    "Tool flows": tool_flows.LEDGER,
    "Streaming": streaming.LEDGER,
    "Threads and delegation": threads.LEDGER,
    "Outcomes": outcomes.LEDGER,
    "The SDK's helpers": sdk_recipes.LEDGER,
    "What is not there": absent.LEDGER,
    "Chosen defaults": defaults.LEDGER,
}
ALL: dict[str, Requirement] = {entry.id: entry for chapter in CHAPTERS.values() for entry in chapter}


def requirement(*ids: str) -> pytest.MarkDecorator:
    """Mark a test as a witness of these entries. An id that the ledger doesn't have fails at import."""
    unknown = [id for id in ids if id not in ALL]
    if unknown or not ids:
        raise LookupError(f"not in the ledger: {', '.join(unknown) or 'no id given'}")
    return pytest.mark.requirement(*ids)
