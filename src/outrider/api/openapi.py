"""The API's own description (OpenAPI 3.1), made from the table of routes and the compiled types of requests: it says
what is checked, because it is made of what checks. Of answers it says what the SDK's own models do; it has no models of
those beyond the API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from outrider import __version__
from outrider.api.endpoint import Route
from outrider.wire.answers import answers
from outrider.wire.queries import parameters
from outrider.wire.requests import REQUESTS, adapter

NAMED: dict[str, str] = {"events.send_events": "events.send"}
"""Handlers whose request has another name than theirs."""
STREAMS = frozenset({"events.stream_events", "events.stream_thread_events"})
BINARY = frozenset({"files.content", "skills.content"})
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_SKILL: dict[str, Any] = {"files[]": {"type": "array", "items": _BINARY, "minItems": 1}}
FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "files.upload": ({"file": _BINARY, "expires_in_seconds": {"type": "string"}}, "file"),
    "skills.create": (_SKILL | {"display_name": {"type": "string"}}, "files[]"),
    "skills.create_version": (_SKILL, "files[]"),
}
"""By handler the fields of its form, and the one that is required."""
PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
REF = "#/components/schemas/{model}"

ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "request_id": {"type": "string"},
        "error": {
            "type": "object",
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            "required": ["type", "message"],
        },
    },
    "required": ["type", "error"],
}


def handler_of(route: Route) -> str:
    """`agents.create` of the function `create` in the module for agents."""
    return f"{route.handler.__module__.rpartition('.')[2]}.{getattr(route.handler, '__name__', '')}"


def request_of(route: Route) -> str | None:
    """The name of the compiled type of its body; None if it has none."""
    name = NAMED.get(handler_of(route), handler_of(route))
    return name if name in REQUESTS else None


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document."""
    schemas: dict[str, Any] = {"Error": ERROR, **_in_order(answers()[1])}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Outrider", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    handler = handler_of(route)
    operation: dict[str, Any] = {
        "operationId": handler.replace(".", "_"),
        "tags": [handler.partition(".")[0]],
        "parameters": [*_in_path(route), *_in_query(handler), *_in_headers(route)],
        "responses": {"200": _answer(handler), "default": _json("An error.", {"$ref": "#/components/schemas/Error"})},
    }
    body = _body(route, schemas)
    return operation if body is None else operation | {"requestBody": body}


def _in_path(route: Route) -> list[dict[str, Any]]:
    names = [found[1] for found in PARAMETER.finditer(route.path)]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(handler: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in parameters(handler)]


def _in_headers(route: Route) -> list[dict[str, Any]]:
    if not route.betas:
        return []
    schema = {"type": "string", "enum": sorted(route.betas)}
    return [{"name": "anthropic-beta", "in": "header", "required": True, "schema": schema}]


def _body(route: Route, schemas: dict[str, Any]) -> dict[str, Any] | None:
    if route.streamed:
        fields, required = FORMS[handler_of(route)]
        form = {"type": "object", "properties": fields, "required": [required], "additionalProperties": False}
        return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    name = request_of(route)
    if name is None:
        return None
    schema = _in_order(adapter(name).json_schema(ref_template=REF))
    schemas |= schema.pop("$defs", {})
    schemas[name] = schema
    return {"required": True, "content": {"application/json": {"schema": {"$ref": REF.format(model=name)}}}}


def _in_order(schema: Any) -> Any:
    """With sorted choices: Python remembers `Optional` of a literal in the order in which it met it first, wherever."""
    if isinstance(schema, list):
        return [_in_order(one) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    ordered = {key: _in_order(one) for key, one in cast("dict[str, Any]", schema).items()}
    return ordered | {"enum": sorted(ordered["enum"])} if isinstance(ordered.get("enum"), list) else ordered


def _answer(handler: str) -> dict[str, Any]:
    if handler in STREAMS:
        return {"description": "Events as they come.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    if handler in BINARY:
        return {"description": "The content.", "content": {"application/octet-stream": {}}}
    return _json("The thing, or a page of them.", _in_order(answers()[0].get(handler, {"type": "object"})))


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
