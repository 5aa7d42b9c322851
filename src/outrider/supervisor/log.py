"""One line an event on stderr: as text, or as one JSON object. Written in one call, so lines never mix.

The children's `logging` comes out in the same form. The form is the process's own, chosen once and inherited by forks.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from outrider import subject
from outrider.clock import rfc3339

Form = Literal["text", "json"]

WARNINGS = ("died", "not-started", "unpublished")
_STAMP = "%Y-%m-%dT%H:%M:%S"
_form: list[Form] = ["text"]
_OWN_FACTS = ("time", "level", "logger", "message", "role", "pid")


def choose(form: Form) -> None:
    """For this process and its children. Text unless chosen."""
    _form[0] = form


def open_child_log(name: str) -> None:
    """What our own modules log from INFO on, and others' from WARNING on, goes to stderr; so does what ends the
    process."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(name) if _form[0] == "json" else _text(name))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("outrider").setLevel(logging.INFO)
    if _form[0] == "json":
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught


def _text(name: str) -> logging.Formatter:
    form = logging.Formatter(f"%(asctime)sZ {name}[%(process)d] %(levelname)s %(name)s: %(message)s", _STAMP)
    form.converter = time.gmtime
    return form


class JsonLines(logging.Formatter):
    """time (RFC 3339, UTC), level, logger, message, role, pid, the request's and the session's id if known, exception.

    Only these: what a caller puts into `extra` stays out, so that nothing gets into the log that its line doesn't say.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, object] = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "role": self._role,
            "pid": record.process,
            **subject.current(),
        }
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("outrider").critical("the process ends by an error", exc_info=(kind, error, trace))


def say(event: str, **facts: object) -> None:
    """A line of the supervisor's own. In JSON its facts stand beside the others, and `message` is the event."""
    known = {name: value for name, value in facts.items() if value is not None}
    line = _json_line(event, known) if _form[0] == "json" else _text_line(event, known)
    try:
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    except OSError:
        return  # whoever read our log has left; that must not take the server down


def _text_line(event: str, facts: dict[str, object]) -> str:
    stamp = time.strftime(_STAMP, time.gmtime())
    words = [f"{name}={_shown(value)}" for name, value in facts.items()]
    return " ".join([f"{stamp}Z", f"supervisor[{os.getpid()}]", event, *words])


def _json_line(event: str, facts: dict[str, object]) -> str:
    plain = {name: value if isinstance(value, int | float) else str(value) for name, value in facts.items()}
    named = {f"child_{name}" if name in _OWN_FACTS else name: value for name, value in plain.items()}
    own = {
        "time": rfc3339(datetime.now(UTC)),
        "level": "error" if event in ("refused", "gave-up") else "warning" if event in WARNINGS else "info",
        "logger": "outrider.supervisor",
        "message": event,
        "role": "supervisor",
        "pid": os.getpid(),
    }
    return json.dumps(own | named, ensure_ascii=False)


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not any(c in ' "=' or not c.isprintable() for c in text) else json.dumps(text)
