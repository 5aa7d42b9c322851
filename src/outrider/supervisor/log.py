"""One line an event on stderr: time, process, event, facts. Written in one call, so lines never mix."""

from __future__ import annotations

import json
import os
import time


def say(event: str, **facts: object) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    words = [f"{name}={_shown(value)}" for name, value in facts.items() if value is not None]
    line = " ".join([f"{stamp}Z", f"supervisor[{os.getpid()}]", event, *words])
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:
        return  # whoever read our log has left; that must not take the server down


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not any(c in ' "=' or not c.isprintable() for c in text) else json.dumps(text)
