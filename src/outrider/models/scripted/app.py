"""The scripted model over HTTP: the Messages API's routes as a plain ASGI application. Keeps state in memory only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

import anyio
import msgspec

from outrider.models.scripted import frames, validation
from outrider.models.scripted.cache import PromptCache, stretches, tokens
from outrider.models.scripted.control import Control, Kept, Shut
from outrider.models.scripted.routes import control_route
from outrider.models.scripted.script import (
    Answer,
    Barrier,
    Cut,
    ErrorEvent,
    HttpError,
    Pause,
    Request,
    Script,
    Stop,
    Turn,
    Unexpected,
    Usage,
)
from outrider.models.scripted.validation import Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
STATUS = {"overloaded_error": 529, "rate_limit_error": 429}


class Broken(Exception):
    """The connection is to break here."""


class ScriptedApp:
    """Answers by `script`. `key` is the only key that is let in (None: any, or none); `control` is for tests.

    `control_routes` offers barriers and kept requests over HTTP, under /control.
    """

    def __init__(
        self,
        script: Script,
        control: Control,
        cache: PromptCache,
        *,
        key: str | None = None,
        control_routes: bool = False,
    ) -> None:
        self.script = script
        self.control = control
        self._cache = cache
        self._key = key
        self._control_routes = control_routes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        method, path = str(scope["method"]), str(scope["path"])
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if self._control_routes and path.startswith("/control/"):
            query = scope["query_string"].decode()
            status, body = await control_route(self.control, method, path, query)
            return await _answer(send, status, body)
        if method == "POST" and path in ("/v1/messages", "/v1/messages/count_tokens"):
            return await self._messages(path, headers, receive, send)
        if method == "GET" and path.startswith("/v1/models"):
            return await self._models(path, send)
        await _refuse(send, HttpError(404, "not_found_error", f"{method} {path}: no such route"))

    async def _messages(self, path: str, headers: dict[str, str], receive: Receive, send: Send) -> None:
        raw = await _body(receive)
        try:
            body = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError:
            return await _refuse(send, HttpError(400, "invalid_request_error", "The request body is not valid JSON."))
        kept = self.control.record(path, headers, body)
        request = Request(body, headers)
        try:
            await self._serve(path, request, kept, receive, send)
        except Refused as refused:
            self.control.close(kept, "refused", refused.answer.status)
            await _refuse(send, refused.answer)
        except Unexpected as unexpected:
            self.control.surprise(str(unexpected))
            self.control.close(kept, "unexpected", 500)
            await _refuse(send, HttpError(500, "api_error", f"Scripted model: {unexpected}"))

    async def _serve(self, path: str, request: Request, kept: Kept, receive: Receive, send: Send) -> None:
        validation.check_headers(request.headers, self._key)
        counting = path.endswith("count_tokens")
        validation.check(request, counting=counting)
        if self.script.models is not None and request.model not in self.script.models:
            raise Refused(f"model: {request.model}", status=404, type="not_found_error")
        if counting:
            prompt = stretches(request)
            self.control.close(kept, "done", 200)
            return await _answer(send, 200, {"input_tokens": prompt[-1].tokens if prompt else 0})
        answer = self._decide(request)
        if isinstance(answer, HttpError):
            self.control.close(kept, "failed", answer.status)
            return await _refuse(send, answer)
        await self._respond(answer, request, kept, receive, send)

    def _decide(self, request: Request) -> Answer:
        answer = self.script.decide(request)
        wrong = answer.expect(request) if isinstance(answer, Turn) and answer.expect else None
        if wrong:
            raise Unexpected(wrong)
        return answer

    async def _respond(self, turn: Turn, request: Request, kept: Kept, receive: Receive, send: Send) -> None:
        """Write the answer while watching for the client to hang up. A break leaves the response unfinished."""
        write = self._stream if request.body.get("stream") else self._whole
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, receive, kept, group.cancel_scope)
            try:
                await write(turn, request, send)
                self.control.close(kept, "done", 200)
            except (Broken, Shut):
                self.control.close(kept, "cut", 200)
            except TimeoutError:
                self.control.surprise("a barrier was never released")
                self.control.close(kept, "unexpected", 200)
            group.cancel_scope.cancel()

    async def _watch(self, receive: Receive, kept: Kept, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not kept.outcome:
            self.control.close(kept, "gone", 0)
        scope.cancel()

    async def _stream(self, turn: Turn, request: Request, send: Send) -> None:
        usage = self._usage(turn, request)
        if turn.first_byte is not None:
            await self._stop(turn.first_byte)
        await _start(send, 200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache"})
        for step in frames.events(turn, request, usage):
            if isinstance(step, ErrorEvent):
                await _chunk(send, frames.encode(_envelope(step.type, step.message)))
                break
            if isinstance(step, Stop):
                await self._stop(step)
                continue
            if turn.delay and step["type"] == "content_block_delta":
                await anyio.sleep(turn.delay)
            await _chunk(send, frames.encode(step))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _whole(self, turn: Turn, request: Request, send: Send) -> None:
        usage = self._usage(turn, request)
        if turn.first_byte is not None:
            await self._stop(turn.first_byte)
        for step in frames.events(turn, request, usage):
            if isinstance(step, ErrorEvent):
                return await _refuse(send, HttpError(STATUS.get(step.type, 500), step.type, step.message))
            if isinstance(step, Stop):
                await self._stop(step)
        await _answer(send, 200, frames.message(turn, request, usage))

    async def _stop(self, stop: Stop) -> None:
        if isinstance(stop, Barrier):
            await self.control.stand_at(stop.name)
        elif isinstance(stop, Pause):
            await anyio.sleep(stop.seconds)
        elif isinstance(stop, Cut):
            raise Broken

    def _usage(self, turn: Turn, request: Request) -> Usage:
        if turn.usage is not None:
            return turn.usage
        counted = self._cache.count(request)
        return Usage(counted.full, tokens(frames.output_text(turn)) or 1, counted.read, counted.created)

    async def _models(self, path: str, send: Send) -> None:
        listed = [_model(name) for name in self.script.models or ()]
        name = path.removeprefix("/v1/models").strip("/")
        if not name:
            ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {}
            page = {"data": listed, "has_more": False, "first_id": None, "last_id": None, **ends}
            return await _answer(send, 200, page)
        one = next((model for model in listed if model["id"] == name), None)
        if one is None:
            return await _refuse(send, HttpError(404, "not_found_error", f"model: {name}"))
        await _answer(send, 200, one)


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": f"Scripted: {name}", "created_at": "2026-01-01T00:00:00Z"}


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        chunks.append(cast(bytes, message.get("body", b"")))
        more = bool(message.get("more_body", False))
    return b"".join(chunks)


def _envelope(type: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message, "details": None}, "request_id": "req_scripted"}


async def _refuse(send: Send, error: HttpError) -> None:
    headers = {} if error.retry_after is None else {"retry-after": error.retry_after}
    await _answer(send, error.status, _envelope(error.type, error.message), headers)


async def _answer(send: Send, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    await _start(send, status, "application/json", headers or {})
    await send({"type": "http.response.body", "body": msgspec.json.encode(body), "more_body": False})


async def _start(send: Send, status: int, kind: str, headers: Mapping[str, str]) -> None:
    all_headers = {"content-type": kind, "request-id": "req_scripted", **headers}
    pairs = [(name.encode(), value.encode()) for name, value in all_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _chunk(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
