"""The control over HTTP, for a scripted server in a process of its own: /control/... on the same loopback address."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from outrider.models.scripted.control import Control


async def control_route(control: Control, method: str, path: str, query: str) -> tuple[int, object]:
    """Status and body.

    GET  /control/requests, /control/unexpected, /control/barriers (arrivals, in order)
    GET  /control/barriers/<name>/arrived?count=&timeout=   answers when it is so, 408 when it is not in time
    GET  /control/requests/<number>?timeout=                that request, once it is answered
    POST /control/barriers/<name>/release?all=1
    """
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    try:
        found = await _route(control, method, [unquote(part) for part in path.split("/")[2:]], asked)
    except TimeoutError:
        return 408, {"error": "not in time", "arrivals": control.arrivals}
    except ValueError as error:
        return 400, {"error": str(error)}
    return (404, {"error": "no such control"}) if found is None else (200, found)


async def _route(control: Control, method: str, parts: list[str], asked: dict[str, str]) -> Any:
    timeout = float(asked.get("timeout", "10"))
    match method, parts:
        case "GET", ["requests"]:
            return [msgspec.to_builtins(kept) for kept in control.requests]
        case "GET", ["requests", number]:
            return msgspec.to_builtins(await control.answered(int(number), timeout=timeout))
        case "GET", ["unexpected"]:
            return control.unexpected
        case "GET", ["barriers"]:
            return control.arrivals
        case "GET", ["barriers", name, "arrived"]:
            await control.arrived(name, count=int(asked.get("count", "1")), timeout=timeout)
            return control.arrivals
        case "POST", ["barriers", name, "release"]:
            control.release(name, all=asked.get("all") == "1")
            return {}
        case _:
            return None
