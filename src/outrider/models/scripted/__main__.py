"""`python -m outrider.models.scripted`: the server in a process of its own. Prints `{"url": ...}` once it listens."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import socket
import sys
from pathlib import Path

import anyio
import uvloop

from outrider.models.scripted.builtin import BUILTIN
from outrider.models.scripted.script import Script
from outrider.models.scripted.serving import loopback, running


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m outrider.models.scripted", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--socket", type=Path, help="listen on this unix socket instead")
    parser.add_argument("--script", help="module:name of a Script; the built-in ones if left out")
    parser.add_argument("--key", help="the only key to let in")
    parser.add_argument("--control", action="store_true", help="offer /control: kept requests and barriers")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    return parser.parse_args(words)


def find_script(named: str | None) -> Script:
    if named is None:
        return BUILTIN
    module, _, name = named.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    if not isinstance(found, Script):
        raise SystemExit(f"{named} is no Script")
    return found


def listener(given: argparse.Namespace) -> socket.socket:
    if given.socket is None:
        return loopback(given.port)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(str(given.socket))
    return unix


async def main(given: argparse.Namespace) -> None:
    script = find_script(given.script)
    async with running(
        script, listener=listener(given), key=given.key, control_routes=given.control, keep=given.control
    ) as server:
        sys.stdout.write(json.dumps({"url": server.url or f"unix:{given.socket}"}) + "\n")
        sys.stdout.flush()
        if given.until_eof:
            await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        else:
            await anyio.sleep_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments(sys.argv[1:])))
