"""A model server that answers at once, so that what is measured is the platform. It notes when each request came in.

Not for tests: it checks nothing. One reply a request: text, or one tool call if the prompt asks for it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def frame(kind: str, **fields: object) -> bytes:
    data = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


USAGE = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
MESSAGE: dict[str, object] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "fast",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}
OPENING = frame("message_start", message=MESSAGE) + frame(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)
FIRST = frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
REST = (
    frame("content_block_delta", index=0, delta={"type": "text_delta", "text": ", world."})
    + frame("content_block_stop", index=0)
    + frame("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=USAGE)
    + frame("message_stop")
    + b"0\r\n\r\n"
)
REPLY = HEAD + OPENING + FIRST + REST


def tool_reply(name: str, given: dict[str, object]) -> bytes:
    use: dict[str, object] = {"type": "tool_use", "id": f"toolu_{time.monotonic_ns()}", "name": name, "input": {}}
    return (
        HEAD
        + frame("message_start", message=MESSAGE)
        + frame("content_block_start", index=0, content_block=use)
        + frame("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": json.dumps(given)})
        + frame("content_block_stop", index=0)
        + frame("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage=USAGE)
        + frame("message_stop")
        + b"0\r\n\r\n"
    )


class FastModel:
    """`first_byte[n]`: when the request of the prompt `bench-n` began to arrive (seconds, `time.perf_counter`).

    A prompt `hang-n` is never answered; `tool-n <command>` is answered by a bash call, then by text.
    """

    def __init__(self) -> None:
        self.first_byte: dict[str, float] = {}
        self.arrived: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.url = ""
        self.reply = REPLY

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024 * 1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                first = await reader.readexactly(1)
                at = time.perf_counter()
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                body = await reader.readexactly(length)
                assert first
                await self._answer(body, at, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: bytes, at: float, writer: asyncio.StreamWriter) -> None:
        last: list[dict[str, Any]] | str = json.loads(body)["messages"][-1]["content"]
        text: str = last if isinstance(last, str) else last[-1].get("text", "")
        name = text.split(" ")[0]
        self.first_byte[name] = at
        self.arrived[name].set()
        if name.startswith("hang-"):
            return
        if name.startswith("tool-"):
            writer.write(tool_reply("bash", {"command": text.partition(" ")[2]}))
        else:
            writer.write(self.reply)
        await writer.drain()
