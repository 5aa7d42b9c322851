"""Model settings of an agent, and which models a server takes."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    met(
        "models:bare-string",
        "A bare string reads back as an object with that `id`.",
        SDK,
    ),
    met(
        "models:effort:string",
        "`effort` takes a level as a string or as `{type}`, and reads back as the object.",
        SDK,
    ),
    not_yet(
        "models:effort:default",
        "A left out `effort` reads back as the model's default, and may be absent for models without it.",
        SDK,
    ),
    met(
        "models:speed",
        "`speed` is `standard` or `fast`.",
        SDK,
    ),
    not_yet(
        "models:inference-geo",
        "`inference_geo` pins where a model runs and is checked at save, at create and on each turn.",
        docs("Multiagent orchestration"),
    ),
    not_yet(
        "models:inference-geo:one-pin",
        "A coordinator and its roster carry one pin or none, else 400.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "models:unknown",
        "A model that no configured endpoint serves is 400.",
        INFERRED,
    ),
    not_yet(
        "models:any-configured",
        "Any model name that a configured endpoint serves is accepted.",
        INFERRED,
    ),
)
