"""Model settings of an agent, and which models a server takes."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met, not_yet

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
    differs(
        "models:effort:default",
        "A left out `effort` reads back as the model's default, and may be absent for models without it.",
        SDK,
        "it is always absent: what a configured model's own default is, this server doesn't know, so it sends none",
    ),
    met(
        "models:speed",
        "`speed` is `standard` or `fast`.",
        SDK,
    ),
    met(
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
    met(
        "models:list",
        "`GET /v1/models` lists the models that are configured by name, page by page, and returns one by its id.",
        SDK,
    ),
    met(
        "models:unknown",
        "A model that no configured endpoint serves is 400.",
        INFERRED,
    ),
    met(
        "models:any-configured",
        "Any model name that a configured endpoint serves is accepted.",
        INFERRED,
    ),
)
