"""Values that no source gives and that this server chose."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, met

LEDGER = (
    met(
        "defaults:retries",
        "A model request is tried 5 times, from 1 s doubling to 60 s, `rescheduling` from the second try.",
        INFERRED,
    ),
    met(
        "defaults:tool-rounds",
        "A turn ends after 500 tool rounds.",
        INFERRED,
    ),
    met(
        "defaults:compactions",
        "A turn ends after 3 compactions in a row without progress.",
        INFERRED,
    ),
    met(
        "defaults:compaction-trigger",
        "A history is summarised at 80 % of the model's window.",
        INFERRED,
    ),
    met(
        "defaults:state-conflicts",
        "A state that forbids a request is 400; 409 is for version clashes and things in use.",
        INFERRED,
    ),
    met(
        "defaults:terminated-readable",
        "Everything of a terminated session is readable; only delete is accepted.",
        INFERRED,
    ),
)
