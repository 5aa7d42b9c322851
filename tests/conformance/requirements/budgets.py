"""Cost caps of a session."""

from __future__ import annotations

from conformance.requirements.entry import docs, met

LEDGER = (
    met(
        "budgets:form",
        "A budget is whole cents as a string above zero, in USD, else 400.",
        docs("Session budgets"),
    ),
    met(
        "budgets:raise",
        "A new cap must lie above what is spent, else 400 `budget_not_raised`.",
        docs("Session budgets"),
    ),
    met(
        "budgets:remove",
        "Removing a cap is one-way; adding one later is 400 `budget_create_only`.",
        docs("Session budgets"),
    ),
    met(
        "budgets:priced-models",
        "Every model of the session must have a price, else 400 `model_not_budgetable`.",
        docs("Session budgets"),
    ),
    met(
        "budgets:counted",
        "Model tokens, web searches and running time are counted at list prices.",
        docs("Session budgets"),
    ),
    met(
        "budgets:checked-before-request",
        "The cap is checked before each model request; one in flight finishes.",
        docs("Session budgets"),
    ),
    met(
        "budgets:pause-order",
        "A pause is thread idle, usage, session idle, all with `budget_reached`.",
        docs("Session budgets"),
    ),
    met(
        "budgets:at-cap:accepted",
        "At the cap only answers and interrupts are accepted; the 400 lists them.",
        docs("Session budgets"),
    ),
    met(
        "budgets:at-cap:interrupt",
        "At the cap an interrupt of paused threads is accepted and not stored.",
        docs("Session budgets"),
    ),
    met(
        "budgets:resume",
        "A changed or removed cap resumes paused work without a further event.",
        docs("Session budgets"),
    ),
)
