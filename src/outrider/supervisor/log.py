"""One line an event on stderr: time, process, event, facts. Written in one call, so lines never mix.

The children's `logging` comes out in the same form.
"""

from __future__ import annotations

import json
import logging
import os
import time

_STAMP = "%Y-%m-%dT%H:%M:%S"


def open_child_log(name: str) -> None:
    """What our own modules log from INFO on, and others' from WARNING on, goes to stderr."""
    form = logging.Formatter(f"%(asctime)sZ {name}[%(process)d] %(levelname)s %(name)s: %(message)s", _STAMP)
    form.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("outrider").setLevel(logging.INFO)


def say(event: str, **facts: object) -> None:
    stamp = time.strftime(_STAMP, time.gmtime())
    words = [f"{name}={_shown(value)}" for name, value in facts.items() if value is not None]
    line = " ".join([f"{stamp}Z", f"supervisor[{os.getpid()}]", event, *words])
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:
        return  # whoever read our log has left; that must not take the server down


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not any(c in ' "=' or not c.isprintable() for c in text) else json.dumps(text)
